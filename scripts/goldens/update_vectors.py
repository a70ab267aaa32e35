"""Vectors of post-processing: regenerate ``tests/vectors/``, or show what would change.

Usage::

    python scripts/goldens/update_vectors.py
    python scripts/goldens/update_vectors.py --check
    python scripts/goldens/update_vectors.py --task fill-mask

Answers are those of transformers. A file whose numbers differ in their last bits alone, as those of
another processor do, is left as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from scripts.goldens.vectors.tasks import RECORDERS
from scripts.goldens.vectors.writing import UPDATE, VECTORS, expected_files, same_text


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 on a difference.")
@click.option(
    "--task", "names", multiple=True, type=click.Choice(list(RECORDERS)), help="Only these."
)
@click.option(
    "--folder", type=click.Path(path_type=Path), default=VECTORS, show_default="tests/vectors/"
)
def main(*, check: bool, names: tuple[str, ...], folder: Path) -> None:
    """Ask the original, write its answers beside what it was asked."""
    changed = 0
    for name, new in expected_files(names):
        path = folder / name
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
        if same_text(old, new):
            continue
        changed += 1
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(new, encoding="utf-8")
        print(f"{'differs' if check else 'changed' if old else 'added'}  {name}")
    if not changed:
        print("vectors are as recorded now")
    elif check:
        print(f"vectors differ; if that is meant, run: {UPDATE}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
