"""``bert-export hand-over``: a folder that another tool loads."""

from __future__ import annotations

import contextlib

import click

from bert_export.cli import values
from bert_export.cli.console import errors_on_one_line, print_json, stderr, stdout
from bert_export.cli.option_groups import Command

__all__ = ["hand_over_command"]


@click.command("hand-over", cls=Command)
@click.argument("bundle", type=values.BUNDLE)
@click.option("--to", "consumer", type=values.CONSUMER, required=True, help="Who will load it.")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="It must not exist yet.")
@click.option(
    "--opset",
    type=click.IntRange(min=13),
    help="The graph's opset is not above it; 20 is for ONNX Runtime 1.22, in FP32.  "
    "[default: the lowest that the fast graph can have]",
)
@click.option(
    "--python",
    metavar="FILE",
    help="The interpreter of an environment that has the tool.  [default: this one]",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def hand_over_command(
    bundle: str,
    *,
    consumer: str,
    output: str,
    opset: int | None,
    python: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a folder that another tool loads, and prove that it answers as BUNDLE does.

    The graph runs in a default ONNX Runtime session, and the folder is loaded in the tool where
    that is installed here. Where the answers differ nothing is written.
    """
    with errors_on_one_line():
        from bert_export.hand_over import hand_over

        with contextlib.ExitStack() as stack:
            if not (quiet or as_json):
                stack.enter_context(stderr.status(f"handing over to {consumer}"))
            done = hand_over(bundle, consumer, output, opset=opset, python=python)
        if as_json:
            print_json(
                {
                    "bundle": bundle,
                    "consumer": done.consumer,
                    "folder": str(done.folder),
                    "opset": done.opset,
                    "largest_difference": done.largest_difference,
                    "loaded": done.loaded,
                    "use": done.use,
                    "notes": done.notes,
                }
            )
            return
        if quiet:
            return
        if done.largest_difference is not None:
            stdout.print(
                f"opset {done.opset}; in a default session the outputs differ from the bundle's "
                f"by {done.largest_difference:.1e} at most"
            )
        for line in (done.loaded, *done.notes):
            stdout.print(line)
        stdout.print(f"wrote {done.folder}; use it by:")
        for line in done.use:
            stdout.out(f"  {line}", highlight=False)
