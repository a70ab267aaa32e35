"""``bert-export report``: a checkpoint's variants, accuracy beside latency, as a page."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from bert_export.cli import values
from bert_export.cli.checkpoint_options import TypedCheckpointOptions, checkpoint_options
from bert_export.cli.console import (
    FAILED,
    errors_on_one_line,
    fail,
    print_json,
    stderr,
    stdout,
    usage_errors,
)
from bert_export.cli.data_options import DataOptions, data_options
from bert_export.cli.export import parse_share
from bert_export.cli.measuring import MeasuringOptions, drawn, measuring_options
from bert_export.cli.option_groups import Command
from bert_export.cli.tables import print_table, table_of
from bert_export.errors import InputError, shown
from bert_export.target_table import TARGETS
from bert_export.tasks import TASKS

if TYPE_CHECKING:  # numpy is not needed to print the help
    from bert_export.report.markdown import ReportTable

__all__ = ["parse_seconds", "report_command"]

_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|us)\s*")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@click.command("report", cls=Command)
@click.option("--task", type=values.TASK, required=True, help=f"One of {', '.join(TASKS)}.")
@click.option(
    "--model",
    type=values.MODEL,
    default="demo",
    show_default=True,
    help="As of `bert-export export`.",
)
@click.option(
    "--data",
    type=values.DATA,
    help="A labelled data file; without labels, agreement with FP32 counts.  "
    "[default: the task's built-in set]",
)
@click.option(
    "--targets",
    type=values.TARGET_LIST,
    default=(),
    metavar="A,B",
    help=f"Of {', '.join(TARGETS)}.  [default: those that run here]",
)
@click.option(
    "--precisions",
    type=values.PRECISION_LIST,
    default=(),
    metavar="A,B",
    help="Such as fp32,int8.  [default: all]",
)
@click.option(
    "--max-drop",
    metavar="POINTS%",
    help="Loss against FP32 that still counts as the same answers: 0.5% or 0.005.  [default: 1%]",
)
@click.option(
    "--p95-below",
    metavar="TIME",
    help="Choose a variant whose 95th percentile at the longest single row is below 20ms or 0.02s: "
    "the one that loses least, or the fastest that --drop-below allows.",
)
@click.option(
    "--drop-below",
    metavar="POINTS%",
    help="Loss that the chosen variant may have.  [default: --max-drop]",
)
@click.option(
    "--eval-data",
    type=values.DATA,
    help="What INT8 chooses its layers on, so that --max-drop holds; not the file of --data.",
)
@click.option(
    "--calibration",
    type=values.CALIBRATION,
    help="Of the INT8 variants: a built-in set or a file.",
)
@data_options()
@checkpoint_options
@measuring_options
@click.option("--output", "-o", required=True, help="The report's folder; variants are kept there.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of the table.")
def report_command(
    *,
    task: str,
    model: str,
    data: str | None,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    max_drop: str | None,
    p95_below: str | None,
    drop_below: str | None,
    eval_data: str | None,
    calibration: str | None,
    output: str,
    quiet: bool,
    as_json: bool,
    data_options: DataOptions,
    checkpoint: TypedCheckpointOptions,
    measuring: MeasuringOptions,
) -> None:
    """Export, score and time a checkpoint's variants, and write a page that compares them.

    Ctrl-C keeps what was measured; the same command goes on from there. Where no variant is as
    --p95-below and --drop-below ask, the status is 1.
    """
    under = measuring.conditions()
    with usage_errors():
        from bert_export.exporter.request import check_demonstration

        check_demonstration(task, model)
        drop = None if max_drop is None else parse_share(max_drop)
        allowed = None if drop_below is None else parse_share(drop_below, "drop-below")
        p95 = None if p95_below is None else parse_seconds(p95_below)
    with errors_on_one_line():
        from bert_export.bundle import read_manifest
        from bert_export.report.finding import asked_for, headline, noise
        from bert_export.report.markdown import markdown_table, report_table
        from bert_export.report.reporting import make_report

        with drawn(quiet=quiet or as_json) as listener:
            report = make_report(
                task=task,
                output=output,
                listener=listener,
                model=model,
                data=data,
                targets=targets,
                precisions=precisions,
                max_drop=drop,
                p95_below=p95,
                drop_below=allowed,
                eval_data=eval_data,
                calibration=calibration,
                fields=data_options.columns,
                label_map=data_options.label_map,
                checkpoint=checkpoint.read(),
                command=_command(),
                under=under,
            )
        unmet = bool(asked_for(report)) and report.choice(report.main_shape) is None
        if as_json:
            print_json(report)
        elif not quiet:
            if stdout.is_terminal:
                print_table(_table(report_table(report)))
            else:  # for a pull request
                stdout.print(markdown_table(report))
            if not unmet:  # else it is the error
                stderr.print(headline(report), style="bold")
            stderr.print(noise(report))
            made = next(variant for variant in report.variants if variant.failure is None)
            for assumption in read_manifest(Path(output) / made.bundle).assumptions:
                stderr.print(f"assumed: {assumption}", style="yellow")
            for note in report.notes:
                stderr.print(f"note: {note}")
            for line in report.left_out:
                stderr.print(f"left out: {line}")
            stderr.print(f"wrote {Path(output) / 'report.html'}")
        if unmet:
            fail(headline(report), FAILED)


def _table(table: ReportTable) -> Table:
    """The figures for a terminal, the finding in bold."""
    name, *figures = table.header
    drawn_table = table_of("", name, *figures, figures=figures)
    for index, row in enumerate(table.rows):
        drawn_table.add_row(*row, style="bold" if index == table.chosen else None)
    return drawn_table


def parse_seconds(text: str) -> float:
    """Seconds: ``20ms`` and ``0.02s`` are the same.

    Raises:
        InputError: It is neither.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise InputError(
            f"p95-below {shown(text)} is malformed",
            expected="a time such as 20ms or 0.02s",
            got=shown(text),
        )
    return float(match[1]) * _UNITS[match[2]]


def _command() -> str:
    """What was typed."""
    return shlex.join(["bert-export", *sys.argv[1:]])
