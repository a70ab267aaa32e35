"""Golden graphs: regenerate ``graphs/``, or show what would change.

Usage::

    python scripts/goldens/update_graphs.py
    python scripts/goldens/update_graphs.py --check
    python scripts/goldens/update_graphs.py --task fill-mask

Graphs change only by this command; review its diff as you review code.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bert_export.tasks import TASKS
from scripts.goldens.folder import (
    GRAPHS,
    ONE_GRAPH,
    UPDATE,
    diff,
    expected_files,
    stale_files,
    traced_elsewhere,
)
from scripts.goldens.tiny import TinyTrace


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 on a difference.")
@click.option("--task", "names", multiple=True, type=click.Choice(ONE_GRAPH), help="Only these.")
@click.option("--folder", type=click.Path(path_type=Path), default=GRAPHS, show_default="graphs/")
def main(*, check: bool, names: tuple[str, ...], folder: Path) -> None:
    """Trace a tiny head per task, run every recipe, write the graphs as text."""
    changed = 0
    for name in names or ONE_GRAPH:
        for file, new in expected_files(TinyTrace(TASKS[name])):
            path = folder / file
            old = path.read_text(encoding="utf-8") if path.is_file() else ""
            if old == new:
                continue
            if check and old and traced_elsewhere(old, new):
                print(f"skipped  {file}: {old.splitlines()[0]}", file=sys.stderr)
                continue
            changed += 1
            if check:
                print(diff(file, old, new), end="")
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(new, encoding="utf-8")
                print(f"{'changed' if old else 'added'}  {file}")
    for path in stale_files(folder):
        changed += 1
        if not check:
            path.unlink()
        print(f"{'stale' if check else 'removed'}  {path.relative_to(folder)}")
    if not changed:
        print("golden graphs are as emitted")
    elif check:
        print(f"golden graphs differ; if that is meant, run: {UPDATE}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
