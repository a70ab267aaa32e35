"""Write a test set of a demonstration as the JSON Lines file that ``evaluate`` and ``report`` read.

Usage::

    python scripts/demonstrations/write_data.py snips snips.jsonl
    bert-export report --task text-classification --model demo:snips --data snips.jsonl -o report
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from scripts.demonstrations.data import READERS

_DATA = Path(__file__).parents[3] / "shared" / "data"
_SEED = 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", type=click.Choice(sorted(READERS)))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=_DATA,
    help="Folder of the open data sets.  [default: beside the checkout]",
)
def main(*, name: str, output: Path, data: Path) -> None:
    """Write the first test set of the demonstration NAME to OUTPUT."""
    records = next(iter(READERS[name](data, _SEED).test.values()))
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    output.write_text("".join(lines), encoding="utf-8")
    click.echo(f"wrote {len(lines)} records to {output}")


if __name__ == "__main__":
    main()
