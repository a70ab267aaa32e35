"""Options that every benchmark has."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bert_export.cli.measuring import drawn
from bert_export.errors import BertExportError
from bert_export.measuring.timing import Conditions, conditions
from scripts.benchmarks.common.numbers_page import typed_command, write_numbers
from scripts.benchmarks.common.places import NUMBERS, WORK
from scripts.benchmarks.common.report import Report, show
from scripts.benchmarks.making.environments import Environments, parse_pythons

__all__ = ["Announce", "Common", "benchmark"]

Announce = Callable[[str], None]
"""Called with what is being made now."""

_QUICK_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The options that every benchmark has.

    Args:
        under: Threads, seconds, lifetimes and cold starts of every contender.
        work: Where checkpoints, bundles and foreign exports are put.
        environments: Interpreters of other tools.
        quick: Whether the run is only to show that everything works.
        reuse: Whether bundles that are there are taken.
    """

    under: Conditions
    work: Path
    environments: Environments
    quick: bool
    reuse: bool

    @property
    def threads(self) -> int:
        """Threads of every contender."""
        return self.under.threads

    @property
    def settings(self) -> dict[str, Any]:
        """How contenders are timed, as a reader is told."""
        return {
            "threads": self.under.threads,
            "lifetimes": self.under.lifetimes,
            "seconds": self.under.seconds,
        }


def benchmark(
    script: str, *, lifetimes: int = 3, seconds: float = 4.0, cold_starts: int = 5
) -> Callable[[Callable[..., Report]], click.Command]:
    """Make a function that gives a report into the script's command.

    Args:
        script: Its path in the checkout.
        lifetimes: The default.
        seconds: The default.
        cold_starts: The default.
    """

    def decorate(function: Callable[..., Report]) -> click.Command:
        @functools.wraps(function)
        def run(
            *,
            threads: int,
            seconds: float,
            lifetimes: int,
            cold_starts: int,
            work: Path,
            pythons: Sequence[str],
            quick: bool,
            reuse: bool,
            destination: str | None,
            write: bool,
            strict: bool,
            **options: Any,
        ) -> None:
            if quick and write:
                raise click.UsageError("--quick is no measurement that --write could keep")
            work.mkdir(parents=True, exist_ok=True)
            os.environ["HF_HUB_OFFLINE"] = "1"  # what is compared is on this disk
            try:
                common = Common(
                    under=conditions(
                        threads=threads,
                        texts=0,
                        seconds=_QUICK_SECONDS if quick else seconds,
                        lifetimes=1 if quick else lifetimes,
                        cold_starts=1 if quick else cold_starts,
                    ),
                    work=work,
                    environments=Environments(work, parse_pythons(pythons)),
                    quick=quick,
                    reuse=reuse,
                )
                with drawn(quiet=False) as listener:
                    report = function(common, listener, **options)
            except (BertExportError, OSError) as error:
                raise click.ClickException(str(error)) from error
            show(report, destination)
            if write:
                write_numbers(NUMBERS, report, typed_command(script, sys.argv[1:]))
                click.echo(f"wrote {NUMBERS}", err=True)
            if strict and report.missed:
                raise SystemExit(1)

        for option in reversed(_options(lifetimes, seconds, cold_starts)):
            run = option(run)
        return click.command(context_settings={"help_option_names": ["-h", "--help"]})(run)

    return decorate


def _options(lifetimes: int, seconds: float, cold_starts: int) -> list[Callable[[Any], Any]]:
    return [
        click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True),
        click.option(
            "--seconds",
            type=click.FloatRange(min=0),
            default=seconds,
            show_default=True,
            help="Per contender and workload at most.",
        ),
        click.option(
            "--lifetimes",
            type=click.IntRange(min=1),
            default=lifetimes,
            show_default=True,
            help="Processes of each contender, one after the other.",
        ),
        click.option(
            "--cold-starts",
            type=click.IntRange(min=1),
            default=cold_starts,
            show_default=True,
            help="Processes that answer once, where first answers are measured.",
        ),
        click.option("--quick", is_flag=True, help="A moment of each: whether everything runs."),
        click.option("--reuse", is_flag=True, help="Take what was made before, outdated or not."),
        click.option(
            "--python",
            "pythons",
            multiple=True,
            metavar="NAME=PATH",
            help="Interpreter of another tool's environment.  [default: made below --work]",
        ),
        click.option(
            "--work",
            type=click.Path(file_okay=False, path_type=Path),
            default=WORK,
            help="Folder of checkpoints and bundles.  [default: build/benchmarks]",
        ),
        click.option("--json", "destination", metavar="FILE", help="JSON too; - for stdout."),
        click.option("--write", is_flag=True, help="Put the tables into scripts/NUMBERS.md."),
        click.option("--strict", is_flag=True, help="Exit with 1 where a bound is missed."),
    ]
