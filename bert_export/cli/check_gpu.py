"""``bert-export check-gpu``: the engines for NVIDIA GPUs, on the GPU of this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bert_export.bundle import write_whole
from bert_export.cli import values
from bert_export.cli.console import errors_on_one_line, print_json, stdout
from bert_export.cli.option_groups import Command
from bert_export.target_table import TARGETS

if TYPE_CHECKING:  # numpy is not needed to print the help
    from bert_export.exporter.gpu_check import EngineCheck

__all__ = ["check_gpu_command"]

_FOR_GPUS = [name for name, target in TARGETS.items() if target.gpu]


@click.command("check-gpu", cls=Command)
@click.option(
    "--model", type=values.MODEL, default="demo", show_default=True, help="As export takes it."
)
@click.option(
    "--target",
    "targets",
    type=values.TARGET,
    multiple=True,
    help=f"May be repeated.  [default: {', '.join(_FOR_GPUS)}]",
)
@click.option(
    "--precision",
    "precisions",
    type=values.PRECISION,
    multiple=True,
    help="May be repeated.  [default: each target's]",
)
@click.option(
    "--task",
    "tasks",
    type=values.TASK,
    multiple=True,
    help="May be repeated.  [default: one for every way in which a graph reads tokens]",
)
@click.option("--output", type=click.Path(path_type=Path), help="A file for the JSON object, too.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_gpu_command(
    *,
    model: str,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    tasks: tuple[str, ...],
    output: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Check the targets for NVIDIA GPUs on this machine's GPU.

    Every target, precision and task is exported, built, opened, compared with its own graph on the
    processor, and timed. Exits with 1 where a step failed, or where there is no GPU.
    """
    with errors_on_one_line():
        import msgspec

        from bert_export.exporter.gpu_check import check_gpu

        result = check_gpu(
            model=model,
            targets=targets,
            precisions=precisions,
            tasks=tasks,
            report=None if quiet or as_json else _print,
        )
        if output is not None:
            text = msgspec.json.format(msgspec.json.encode(result), indent=2)
            write_whole(output, text + b"\n")
        if as_json:
            print_json(result)
        elif not quiet:
            failed = sum(not check.passed for check in result.checks)
            stdout.print(f"{len(result.checks) - failed} of {len(result.checks)} engines passed")
        if not result.passed:
            sys.exit(1)


def _print(check: EngineCheck) -> None:
    """Print a check: one line, and one more for every step that failed."""
    name = f"{check.target} {check.precision} {check.task}"
    latencies = ", ".join(
        f"{step.name.removeprefix('latency ')} {step.facts['median_ms']:.2f} ms"
        for step in check.steps
        if step.passed and "median_ms" in step.facts
    )
    stdout.print(f"{'passed' if check.passed else 'FAILED'}  {name}  {latencies}".rstrip())
    for step in check.steps:
        if not step.passed:
            stdout.print(f"        {step.name}: {step.reason}")
