"""``bert-export build``: further targets for a bundle that is there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from bert_export.bundle import read_manifest
from bert_export.cli.console import errors_on_one_line, print_json, stdout
from bert_export.cli.engine_options import (
    check_engine_possible,
    engine_options,
    take_engine_options,
)
from bert_export.cli.stages import DrawnStages
from bert_export.errors import MissingExtraError
from bert_export.targets import TARGETS

__all__ = ["build_command"]


@click.command("build")
@click.argument("bundle")
@click.option(
    "--target",
    "targets",
    multiple=True,
    required=True,
    help=f"May be repeated: {', '.join(TARGETS)}.",
)
@click.option("--precision", help="Of the targets.  [default: the default engine's]")
@click.option("--model", help="Where the checkpoint is now.  [default: where it was]")
@click.option("--calibration", help="Where the calibration text of INT8 is now.  [the same]")
@click.option("--threads", type=int, help="Threads while calibrating and verifying.")
@engine_options
@click.option("--force", is_flag=True, help="Make targets anew that BUNDLE serves already.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def build_command(
    bundle: str, *, targets: tuple[str, ...], quiet: bool, as_json: bool, **options: Any
) -> None:
    """Add targets to BUNDLE, from the checkpoint that it was made of.

    The settings are those of the bundle's manifest, so that INT8 weights come out the same and are
    stored once. The bundle is replaced when everything is verified, and untouched before. A target
    that BUNDLE has the graph of already gets its engine, for the GPUs and shapes that are named.
    """
    with errors_on_one_line():
        build = _import_build()
        engines = take_engine_options(options, targets)
        if engines is not None:
            options["finish"] = _finisher(bundle, engines)
        elif not options["force"]:
            check_engine_possible(read_manifest(Path(bundle)), targets)
        with DrawnStages(quiet=quiet or as_json) as listener:
            done = build(bundle, targets, listener=listener, **options)
        if as_json:
            print_json(
                {
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
            )
        elif not quiet:
            served = ", ".join(
                f"{engine.target} {engine.precision}" for engine in done.manifest.engines
            )
            stdout.print(f"{done.path} serves {served}")


def _finisher(bundle: str, engines: Any) -> Any:
    """Builds engines with these options for rows as long as the bundle takes."""
    from bert_export.targets.engines import build_into

    longest = read_manifest(Path(bundle)).tokenizer.max_length
    return partial(build_into, options=engines, max_length=longest)


def _import_build() -> Any:
    """The library call; PyTorch is only needed here."""
    try:
        from bert_export.exporter.add_targets import build
    except MissingExtraError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"build ({error.name})", extra="export") from error
    return build
