"""``bert-export bench``: bundles timed against each other."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING

import click
from rich.table import Table

from bert_export.cli import values
from bert_export.cli.console import errors_on_one_line, print_json, size_text, stdout
from bert_export.cli.data_options import DataOptions, data_options
from bert_export.cli.measuring import MeasuringOptions, drawn, measuring_options
from bert_export.cli.option_groups import Command
from bert_export.cli.tables import print_table
from bert_export.measuring.workloads import MANY_TEXTS, ONE_TEXT

if TYPE_CHECKING:  # numpy is not needed to print the help
    from bert_export.measuring.bench import Bench, Entry

__all__ = ["bench_command"]

_KINDS = {ONE_TEXT: "one text, tokenized and decoded", MANY_TEXTS: "{} texts in one call"}


@click.command("bench", cls=Command)
@click.argument("bundles", type=values.BUNDLE, nargs=-1, required=True, metavar="BUNDLE...")
@click.option(
    "--target",
    "targets",
    type=values.TARGET,
    multiple=True,
    help="May be repeated.  [default: all in each bundle]",
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="What the others are compared with, named as in the table.  [default: the first]",
)
@click.option(
    "--data",
    type=values.DATA,
    help="A file of records to answer.  [default: the task's calibration set]",
)
@data_options(labels=False)
@measuring_options
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, raw samples too.")
def bench_command(
    *,
    bundles: tuple[str, ...],
    targets: tuple[str, ...],
    baseline: str | None,
    data: str | None,
    quiet: bool,
    as_json: bool,
    data_options: DataOptions,
    measuring: MeasuringOptions,
) -> None:
    """Time BUNDLEs of one task against each other.

    Each runs in a process of its own; all are alive at once, pinned to the same cores, and take
    turns of a fifth of a second at most. What counts is the ratio of neighbouring turns to the
    baseline's, with its 95 % interval: milliseconds follow the machine's speed, ratios do not.
    Shapes time the graph alone, texts the whole answer with tokenization and post-processing.
    """
    under = measuring.conditions()
    with errors_on_one_line():
        from bert_export.measuring.bench import bench

        with drawn(quiet=quiet or as_json) as listener:
            comparison = bench(
                bundles,
                listener=listener,
                targets=targets,
                baseline=baseline,
                data=data,
                fields=data_options.columns,
                under=under,
            )
        if as_json:
            print_json(comparison)
        elif not quiet:
            _print(comparison)


def _print(comparison: Bench) -> None:
    machine = comparison.machine
    stdout.print(
        f"{comparison.task} on {machine['cpu']} ({machine['processor']}), "
        f"{comparison.conditions.threads} threads, {machine['system']}, "
        f"load {machine['load']} before",
    )
    print_table(_timings(comparison))
    print_table(_starts(comparison))
    for entry in comparison.entries:
        for label, reason in entry.measured.refusals.items():
            stdout.print(f"{entry.name}, {label}: {reason}")
        if entry.measured.failure is not None:
            stdout.print(f"{entry.name}: {entry.measured.failure}", style="red")


def _timings(comparison: Bench) -> Table:
    """A row per workload and contender."""
    baseline, *_ = comparison.entries
    table = Table(title="\nms per call", title_justify="left", show_edge=False)
    table.add_column("workload", no_wrap=True)
    table.add_column("bundle", overflow="fold")
    table.add_column(f"times as fast as {baseline.name}", justify="right")
    for column in ("95 % interval", "p50", "p95", "p99", "calls", "rows/s"):
        table.add_column(column, justify="right")
    labels = dict.fromkeys(
        label for entry in comparison.entries for label in entry.measured.timings
    )
    for label in labels:
        for entry in comparison.entries:
            if label in entry.measured.timings:
                table.add_row(*_timing(entry, label), end_section=entry is comparison.entries[-1])
    return table


def _timing(entry: Entry, label: str) -> Iterator[str]:
    timing = entry.measured.timings[label]
    summary = timing.summary
    yield _KINDS.get(label, label).format(timing.rows)
    yield entry.name
    ratio = entry.measured.speed_ups.get(label)
    yield "-" if ratio is None else f"{ratio.value:.2f}"
    yield "-" if ratio is None else ratio.interval_text
    yield _ms(summary.p50)
    yield _ms(summary.p95)
    yield _ms(summary.p99)
    yield str(summary.calls)
    yield f"{timing.rows_per_second:,.0f}"


def _starts(comparison: Bench) -> Table:
    table = Table(title="\nsize, start and memory", title_justify="left", show_edge=False)
    table.add_column("bundle", overflow="fold")
    for column in ("size", "first answer", "memory then", "peak memory"):
        table.add_column(column, justify="right")
    for entry in comparison.entries:
        measured = entry.measured
        starts = measured.first_answers
        table.add_row(
            entry.name,
            size_text(entry.bytes),
            f"{median(starts):.3f} s" if starts else "-",
            _size(measured.first_answer_bytes),
            _size(measured.peak_bytes),
        )
    return table


def _size(size: int | None) -> str:
    return "-" if size is None else size_text(size)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}" if seconds < 1 else f"{1000 * seconds:.0f}"
