"""``bert-export build``: further targets for a bundle that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bert_export.cli import values
from bert_export.cli.console import errors_on_one_line, print_json, stdout, usage_errors
from bert_export.cli.doubts import print_doubts
from bert_export.cli.engine_options import engine_options, read_engine_options
from bert_export.cli.extras import export_extra
from bert_export.cli.option_groups import Command, option_group
from bert_export.errors import InputError
from bert_export.target_table import TARGETS, find_target
from bert_export.tasks import TextForm

if TYPE_CHECKING:  # building needs PyTorch, the help does not
    from bert_export.exporter import Export

__all__ = ["build_command"]

_input = option_group("What goes in")
_output = option_group("What comes out")
_running = option_group("Running and printing")


@click.command("build", cls=Command)
@click.argument("bundle", type=values.BUNDLE)
@_output(
    "--target",
    "targets",
    type=values.TARGET,
    multiple=True,
    help=f"May be repeated: {', '.join(TARGETS)}.",
)
@_output(
    "--precision", type=values.PRECISION, help="Of the targets.  [default: the default engine's]"
)
@_output(
    "--text-input",
    "text_input",
    flag_value="task",
    help="A second graph for each target that can have one, which takes texts.",
)
@_output(
    "--text-pair-input",
    "text_input",
    flag_value="pair",
    help="The same for pairs of texts, where the task takes either.",
)
@_output("--force", is_flag=True, help="Make targets anew that BUNDLE serves already.")
@_input("--model", type=values.MODEL, help="Where the checkpoint is now.  [default: where it was]")
@_input(
    "--calibration",
    type=values.CALIBRATION,
    help="Where the calibration text of INT8 is now.  [the same]",
)
@_input(
    "--eval",
    "eval_data",
    type=values.DATA,
    metavar="FILE",
    help="Where the data of INT8's accuracy budget is now.  [the same]",
)
@engine_options
@_running("--threads", type=click.IntRange(min=1), help="Threads while calibrating and verifying.")
@_running("--quiet", is_flag=True, help="Print nothing but errors.")
@_running("--json", "as_json", is_flag=True, help="Print one JSON object.")
def build_command(
    bundle: str,
    *,
    targets: tuple[str, ...],
    precision: str | None,
    text_input: str | None,
    force: bool,
    model: str | None,
    calibration: str | None,
    eval_data: str | None,
    gpus: tuple[str, ...],
    batch_sizes: str | None,
    lengths: str | None,
    profile_from: str | None,
    engine_cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Add targets to BUNDLE, from the checkpoint that it was made of.

    The options are those that the bundle's manifest keeps, so that INT8 weights come out the same
    and are stored once; an accuracy budget holds for the new engines too. The bundle is replaced
    when everything is verified, and untouched before. A target that BUNDLE has the graph of already
    gets its engine, for the GPUs and shapes that are named. Text input alone needs no checkpoint.
    """
    from bert_export.cli.search import broken_budget_shown
    from bert_export.cli.stages import DrawnStages

    with usage_errors():
        if not targets and text_input is None:
            raise InputError(
                "target is not given", expected=f"--target, one of {', '.join(TARGETS)}", got="none"
            )
        for target in targets:
            find_target(target, precision)
        engines = read_engine_options(
            targets,
            gpus=gpus,
            batch_sizes=batch_sizes,
            lengths=lengths,
            profile_from=profile_from,
            engine_cache=engine_cache,
        )
    with errors_on_one_line():
        with export_extra("build"):
            from bert_export.exporter.add_targets import build
        silent = quiet or as_json
        with broken_budget_shown(quiet=silent), DrawnStages(quiet=silent) as listener:
            done = build(
                bundle,
                targets,
                precision=precision,
                model=model,
                calibration=calibration,
                eval_data=eval_data,
                threads=threads,
                engines=engines,
                engine_cache=engine_cache,
                text_input=_form(text_input),
                force=force,
                listener=listener,
            )
        if as_json:
            print_json(_told(done))
        elif not quiet:
            served = ", ".join(
                f"{engine.target} {engine.precision}" for engine in done.manifest.engines
            )
            print_doubts([engine for engine in done.manifest.engines if engine.target in targets])
            stdout.print(f"{done.path} serves {served}")


def _form(typed: str | None) -> bool | TextForm:
    """The text input that was typed in one of its forms."""
    if typed is None:
        return False
    return "pair" if typed == "pair" else True


def _told(done: Export) -> dict[str, object]:
    """What ``--json`` prints."""
    return {
        "bundle": str(done.path),
        "engines": [
            {
                "target": engine.target,
                "precision": engine.precision,
                "parity": engine.parity,
                "build": engine.build,
            }
            for engine in done.manifest.engines
        ],
        "bytes": sum(record.bytes for record in done.manifest.files.values()),
    }
