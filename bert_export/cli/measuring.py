"""What the commands that measure share: their options, and the bar while they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bert_export.cli.console import stderr
from bert_export.measuring.workloads import SHAPES

__all__ = ["drawn", "measuring_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--shapes", default=SHAPES, show_default=True, help="Rows x tokens of the graph alone."
    ),
    click.option("--threads", type=int, help="Of each engine, and cores it is pinned to."),
    click.option(
        "--texts",
        type=click.IntRange(min=0),
        default=64,
        show_default=True,
        help="Real texts that whole answers are timed with; 0 times the graphs alone.",
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(min=0),
        default=4.0,
        show_default=True,
        help="Per contender and workload at most; it ends earlier once the interval is tight.",
    ),
    click.option(
        "--tolerance",
        type=click.FloatRange(min=0, min_open=True),
        default=0.02,
        show_default=True,
        help="Half the median's 95 % interval, as a share of it, that counts as tight.",
    ),
    click.option(
        "--cold-starts",
        type=click.IntRange(min=0),
        default=5,
        show_default=True,
        help="Fresh processes per contender.",
    ),
)


def measuring_options(command: Command) -> Command:
    """Give a command the options of :func:`bert_export.measuring.timing.conditions`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class _Bar:
    """Shows what is measured now."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._row = progress.add_task("", total=None)

    def begin(self, what: str, *, done: int, total: int) -> None:
        self._progress.update(self._row, description=what, completed=done, total=total)

    def measured(self) -> None:
        """Nothing is kept here."""


@contextmanager
def drawn(*, quiet: bool) -> Iterator[_Bar]:
    """A bar on standard error while the block measures."""
    progress = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=stderr,
        transient=True,
        disable=quiet or not stderr.is_terminal,
    )
    with progress:
        yield _Bar(progress)
