"""What an export compares of a tokenizer's graph, for any tokenizer and texts of your own.

``python scripts/check_text_input.py TOKENIZER_JSON... [--questions FILE.json]``: singles and pairs,
without offsets, then with them. The questions are a JSON list of objects whose ``original`` is a
text.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import tokenizers

from bert_export.bundle import TokenizerRecord
from bert_export.text_input.check import HOSTILE, check_tokenizer
from bert_export.text_input.plan import make_plan

__all__ = ["main"]

_OWN_LENGTH = 512


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--questions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--hostile", default=HOSTILE, show_default=True, help="Over all lengths.")
def main(files: tuple[Path, ...], questions: Path | None, hostile: int) -> None:
    """Compare graphs with the library; the first difference is an error."""
    texts = (
        []
        if questions is None
        else [one["original"] for one in json.loads(questions.read_text(encoding="utf-8"))]
    )
    for file in files:
        text = file.read_text(encoding="utf-8")
        lower = bool(json.loads(text)["normalizer"]["lowercase"])
        record = TokenizerRecord(file=file.name, max_length=_OWN_LENGTH, do_lower_case=lower)
        for offsets in (False, True):
            plan = make_plan(text, record, offsets=offsets)
            for pairs in (False, True):
                begin = time.process_time()
                done = check_tokenizer(plan, text, pairs=pairs, texts=texts, hostile=hostile)
                print(
                    f"{file}: tokenizers {tokenizers.__version__}, pairs {pairs}, offsets "
                    f"{offsets}: {done}, {time.process_time() - begin:.0f} s of processor",
                    flush=True,
                )


if __name__ == "__main__":
    main()
