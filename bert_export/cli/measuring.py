"""What the commands that measure share: their options, and the bar while they work."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bert_export.cli.console import stderr, usage_errors
from bert_export.cli.option_groups import add_options
from bert_export.measuring.workloads import SHAPES, parse_shapes

if TYPE_CHECKING:
    from bert_export.measuring.timing import Conditions

__all__ = ["MeasuringOptions", "drawn", "measuring_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringOptions:
    """The options of :func:`measuring_options` as typed."""

    shapes: str
    threads: int | None
    texts: int
    seconds: float
    tolerance: float
    lifetimes: int
    cold_starts: int

    def conditions(self) -> Conditions:
        """Settle them on this machine.

        Raises:
            UsageProblem: See :func:`bert_export.measuring.timing.conditions`.
        """
        with usage_errors():
            shapes = parse_shapes(self.shapes)  # before what takes time to import
            from bert_export.measuring.timing import conditions

            return conditions(
                shapes=shapes,
                threads=self.threads,
                texts=self.texts,
                seconds=self.seconds,
                tolerance=self.tolerance,
                lifetimes=self.lifetimes,
                cold_starts=self.cold_starts,
            )


_OPTIONS = (
    click.option(
        "--shapes", default=SHAPES, show_default=True, help="Rows x tokens of the graph alone."
    ),
    click.option(
        "--threads", type=click.IntRange(min=1), help="Of each engine, and cores it is pinned to."
    ),
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
        help="Per contender and workload at most; it ends earlier once the ratio is sure.",
    ),
    click.option(
        "--tolerance",
        type=click.FloatRange(min=0, min_open=True),
        default=0.02,
        show_default=True,
        help="Half a ratio's 95 % interval, as a share of it, at which a process has done enough.",
    ),
    click.option(
        "--lifetimes",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        help="Processes per contender, one after the other: each has its own luck with memory.",
    ),
    click.option(
        "--cold-starts",
        type=click.IntRange(min=0),
        default=5,
        show_default=True,
        help="Processes per contender that answer once, from their start on.",
    ),
)


def measuring_options(command: Command) -> Command:
    """Give a command the options, which reach it as one value, ``measuring``."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        own = {field.name: options.pop(field.name) for field in fields(MeasuringOptions)}
        return command(measuring=MeasuringOptions(**own), **options)

    return add_options(wrapped, _OPTIONS)  # type: ignore[return-value]


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
