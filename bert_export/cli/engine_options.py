"""The options of commands that build engines for NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bert_export.bundle import Manifest
from bert_export.errors import InputError, TargetError
from bert_export.targets import TARGETS

if TYPE_CHECKING:
    from bert_export.targets.engines import EngineOptions

__all__ = ["check_engine_possible", "engine_options", "take_engine_options"]

_BUILT = tuple(name for name, target in TARGETS.items() if target.builder is not None)
_OPTIONS = (
    click.option(
        "--sm",
        "gpus",
        metavar="GPU",
        multiple=True,
        help="For tensorrt-rtx: a GPU's name or compute capability, such as l4 or 89; may be "
        "repeated.",
    ),
    click.option(
        "--batch-sizes", metavar="N,N,N", help="Smallest, usual, largest.  [default: 1,8,64]"
    ),
    click.option(
        "--lengths", metavar="N,...", help="Tokens: one profile up to each.  [default: one]"
    ),
    click.option(
        "--profile-from",
        type=click.Path(path_type=Path),
        help="Lengths of your texts, one a line, perhaps with a count: profiles that pad least.",
    ),
    click.option(
        "--engine-cache",
        type=click.Path(path_type=Path),
        help="Folder of engines built before.  [default: $BERT_EXPORT_CACHE or the user's cache]",
    ),
)
_NAMES = ("gpus", "batch_sizes", "lengths", "profile_from", "engine_cache")


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_engine_options(options: dict[str, Any], targets: Sequence[str]) -> EngineOptions | None:
    """Take these options out of a command's.

    Args:
        options: Of the command; without these afterwards.
        targets: That the command was given.

    Returns:
        What is to be built; ``None`` where no target has an engine to build, or there is neither an
        option nor a GPU that says for what.

    Raises:
        InputError: A size is malformed, or the options have no use for the targets.
    """
    given = {name: options.pop(name) for name in _NAMES}
    built = [name for name in targets if name in _BUILT]
    if not built:
        if any(given.values()):
            raise InputError(
                "options for engines have no use",
                expected=f"--target {' or '.join(_BUILT)}",
                got=", ".join(targets) or "none",
            )
        return None
    from bert_export.targets.engines import EngineOptions, can_build

    chosen = EngineOptions(
        gpus=tuple(given["gpus"]),
        batch_sizes=_sizes("batch-sizes", given["batch_sizes"]),
        lengths=_sizes("lengths", given["lengths"]),
        profile_from=given["profile_from"],
        cache=given["engine_cache"],
    )
    return chosen if can_build(built, chosen) else None


def check_engine_possible(manifest: Manifest, targets: Sequence[str]) -> None:
    """Where no engine can be built, refuse targets that lack nothing but theirs.

    Raises:
        TargetError: A target is among them.
    """
    for engine in manifest.engines:
        lacking = engine.target in _BUILT and engine.build.engine is None
        if lacking and engine.target in targets:
            builder = TARGETS[engine.target].builder
            named = builder is not None and builder.for_named_gpus
            raise TargetError(
                f"engine for {engine.target} cannot be built",
                expected="an NVIDIA GPU, or --sm" if named else "an NVIDIA GPU",
                got="neither" if named else "none",
                fix="Name its GPU with --sm" if named else "Run it on the machine with the GPU",
            )


def _sizes(name: str, text: str | None) -> tuple[int, ...]:
    """Numbers parted by commas."""
    if not text:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(
            f"{name} is malformed", expected="numbers parted by commas, such as 1,8", got=text
        )
    return tuple(map(int, parts))
