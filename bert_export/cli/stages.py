"""How an export's stages are shown: a bar while one runs, a line when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from bert_export.cli.console import size_text, stderr

if TYPE_CHECKING:  # the export needs PyTorch, its drawing does not
    from bert_export.exporter import Stage
    from bert_export.exporter.progress import Fact

__all__ = ["DrawnStages"]


class DrawnStages:
    """Draws the stages of an export on standard error.

    Args:
        quiet: Draws nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._row: TaskID | None = None
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=stderr,
            transient=True,
            disable=quiet or not stderr.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, stage: str) -> None:
        """Draw a bar, in the place of that of a stage that failed."""
        self._clear()
        self._row = self._progress.add_task(stage, total=None)

    def advance(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._row is not None:
            self._progress.update(self._row, completed=done, total=total)

    def finish(self, stage: Stage) -> None:
        """Write a line in the place of the bar."""
        self._clear()
        if not self._quiet:
            stderr.print(f"{stage.name:<10} {stage.seconds:6.1f} s   {_facts(stage.facts)}")

    def _clear(self) -> None:
        if self._row is not None:
            self._progress.remove_task(self._row)
            self._row = None


def _facts(facts: Mapping[str, Fact]) -> str:
    """A stage's facts in words."""
    words = []
    for name, value in facts.items():
        if name == "size":
            words.append(size_text(int(value)))
        elif name == "drop":
            words.append(f"{facts['metric']} {0.0 - 100 * float(value):+.2f} points")
        elif name == "difference":
            words.append(f"largest difference from PyTorch {value:.2g}")
        elif name == "agreement":
            words.append(f"{facts['agreement_kind']} agreement {100 * float(value):.2f} %")
        elif name not in ("agreement_kind", "metric"):
            words.append(f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}")
    return ", ".join(words)
