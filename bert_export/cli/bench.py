"""``bert-export bench``: bundles timed against each other."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from bert_export.cli.console import errors_on_one_line, print_json, size_text, stdout
from bert_export.cli.measuring import drawn, measuring_options
from bert_export.measuring.workloads import MANY_TEXTS, ONE_TEXT

if TYPE_CHECKING:  # numpy is not needed to print the help
    from bert_export.measuring.bench import Bench, Entry

__all__ = ["bench_command"]

_KINDS = {ONE_TEXT: "one text, tokenized and decoded", MANY_TEXTS: "{} texts in one call"}


@click.command("bench")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option(
    "--target", "targets", multiple=True, help="May be repeated.  [default: all in each bundle]"
)
@click.option("--data", help="A file of records to answer.  [default: the task's calibration set]")
@measuring_options
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, raw samples too.")
def bench_command(
    *,
    bundles: tuple[str, ...],
    targets: tuple[str, ...],
    data: str | None,
    quiet: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Time BUNDLEs of one task against each other.

    Each runs in a process of its own; they take turns and are pinned to the same cores. Shapes time
    the graph alone, texts the whole answer with tokenization and post-processing.
    """
    with errors_on_one_line():
        from bert_export.measuring.bench import bench

        with drawn(quiet=quiet or as_json) as listener:
            found = bench(bundles, listener=listener, targets=targets, data=data, **limits)
        if as_json:
            print_json(found)
        elif not quiet:
            _print(found)


def _print(found: Bench) -> None:
    machine = found.machine
    stdout.print(
        f"{found.task} on {machine['cpu']}, {found.conditions.threads} threads, "
        f"{machine['system']}, load {machine['load']} before",
    )
    stdout.print(_timings(found))
    stdout.print(_starts(found))
    for entry in found.entries:
        for label, reason in entry.measured.refusals.items():
            stdout.print(f"{entry.name}, {label}: {reason}")
        if entry.measured.failure is not None:
            stdout.print(f"{entry.name}: {entry.measured.failure}", style="red")


def _timings(found: Bench) -> Table:
    """A row per workload and contender; ratios are to the first contender."""
    first = found.entries[0]
    table = Table(title="\nms per call", title_justify="left", show_edge=False)
    table.add_column("workload", no_wrap=True)
    table.add_column("bundle", overflow="fold")
    for column in ("p50", "95 % interval", "p95", "p99", "runs", "rows/s", f"times {first.name}"):
        table.add_column(column, justify="right")
    labels = list(dict.fromkeys(one for entry in found.entries for one in entry.measured.timings))
    for label in labels:
        for entry in found.entries:
            if label in entry.measured.timings:
                table.add_row(*_timing(entry, label, first), end_section=entry is found.entries[-1])
    return table


def _timing(entry: Entry, label: str, first: Entry) -> Iterator[str]:
    timing = entry.measured.timings[label]
    summary = timing.summary
    yield _KINDS.get(label, label).format(timing.rows)
    yield entry.name
    yield _ms(summary.p50)
    yield f"{_ms(summary.low)} to {_ms(summary.high)}{'' if summary.tight else ' (wide)'}"
    yield _ms(summary.p95)
    yield _ms(summary.p99)
    yield str(summary.runs)
    yield f"{timing.rows_per_second:,.0f}"
    reference = first.measured.timings.get(label)
    yield "-" if reference is None else f"{reference.summary.p50 / summary.p50:.2f}"


def _starts(found: Bench) -> Table:
    table = Table(title="\nsize, start and memory", title_justify="left", show_edge=False)
    table.add_column("bundle", overflow="fold")
    for column in ("size", "first answer", "memory then", "peak memory"):
        table.add_column(column, justify="right")
    for entry in found.entries:
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
