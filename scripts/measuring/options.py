"""Options and progress that every benchmark has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from measuring.children import ChildError
from measuring.report import Report, show

__all__ = ["PEERS_PYTHON", "Common", "Steps", "benchmark", "steps"]

_WORK = Path(__file__).parents[2] / "build" / "benchmarks"

PEERS_PYTHON = click.option(
    "--peers-python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="BERT_EXPORT_PEERS_PYTHON",
    help="Interpreter of an environment with optimum-onnx.",
)


@dataclass(frozen=True, slots=True)
class Common:
    """The options that every benchmark has.

    Args:
        threads: Threads of every contender.
        rounds: Turns of every contender.
        work: Where checkpoints, bundles and foreign exports are put.
    """

    threads: int
    rounds: int
    work: Path


def benchmark(*, rounds: int) -> Callable[[Callable[..., Report]], click.Command]:
    """Make a function that gives a report into the script's command.

    Args:
        rounds: The default number of turns.
    """

    def decorate(function: Callable[..., Report]) -> click.Command:
        @functools.wraps(function)
        def run(
            *,
            threads: int,
            runs: int,
            work: Path,
            destination: str | None,
            strict: bool,
            **options: Any,
        ) -> None:
            work.mkdir(parents=True, exist_ok=True)
            try:
                report = function(Common(threads, runs, work), **options)
            except ChildError as error:
                raise click.ClickException(str(error)) from error
            show(report, destination)
            if strict and report.missed:
                raise SystemExit(1)

        for option in (
            click.option("--strict", is_flag=True, help="Exit with 1 where a bound is missed."),
            click.option("--json", "destination", metavar="FILE", help="JSON too; - for stdout."),
            click.option(
                "--work",
                type=click.Path(file_okay=False, path_type=Path),
                default=_WORK,
                help="Folder of checkpoints and bundles.  [default: build/benchmarks]",
            ),
            click.option(
                "--runs",
                type=click.IntRange(min=1),
                default=rounds,
                show_default=True,
                help="Turns of each contender; medians are over them.",
            ),
            click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True),
        ):
            run = option(run)
        return click.command(context_settings={"help_option_names": ["-h", "--help"]})(run)

    return decorate


class Steps:
    """A bar on standard error with what is being done now."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._row = progress.add_task("", total=total)
        self._begun = 0

    def __call__(self, what: str) -> None:
        """A step begins; the one before it is done."""
        self._progress.update(self._row, completed=self._begun, description=what)
        self._begun += 1


@contextmanager
def steps(total: int) -> Iterator[Steps]:
    """Show a bar of so many steps."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Steps(progress, total)
