"""The options of commands that build engines for NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bert_export.bundle import EngineOptions
from bert_export.cli.option_groups import add_options, option_group
from bert_export.errors import InputError
from bert_export.target_table import TARGETS

__all__ = ["engine_options", "read_engine_options"]

_FOR_NAMED_GPUS = [
    target.name
    for target in TARGETS.values()
    if target.builder is not None and target.builder.for_named_gpus
]
_option = option_group("Engines for NVIDIA GPUs")
_OPTIONS = (
    _option(
        "--sm",
        "gpus",
        metavar="GPU",
        multiple=True,
        help=f"For {', '.join(_FOR_NAMED_GPUS)}: a GPU's name or compute capability, such as l4 or "
        "89; may be repeated.",
    ),
    _option("--batch-sizes", metavar="N,N,N", help="Smallest, usual, largest.  [default: 1,8,64]"),
    _option("--lengths", metavar="N,...", help="Tokens: one profile up to each.  [default: one]"),
    _option(
        "--profile-from",
        metavar="FILE",
        help="Lengths of your texts, one a line, perhaps with a count: profiles that pad least.",
    ),
    _option(
        "--engine-cache",
        metavar="FOLDER",
        help="Engines built before.  [default: $BERT_EXPORT_CACHE or the user's cache]",
    ),
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options."""
    return add_options(command, _OPTIONS)


def read_engine_options(
    targets: Sequence[str],
    *,
    gpus: Sequence[str],
    batch_sizes: str | None,
    lengths: str | None,
    profile_from: str | None,
    engine_cache: str | None,
    base: EngineOptions | None = None,
) -> EngineOptions | None:
    """What is to be built, as these options say.

    Args:
        targets: That the command was given.
        gpus: As they were typed; so for the rest.
        batch_sizes: Three numbers.
        lengths: Numbers.
        profile_from: A file.
        engine_cache: A folder.
        base: What holds where nothing else is typed.

    Returns:
        The options; ``None`` where there is no ``base`` and none was typed, unless a target has an
        engine to build for the GPU that is here.

    Raises:
        InputError: A size is malformed.
    """
    typed = {
        "gpus": tuple(gpus),
        "batch_sizes": _sizes("batch-sizes", batch_sizes),
        "lengths": _sizes("lengths", lengths),
        "profile_from": profile_from,
    }
    given = {name: value for name, value in typed.items() if value}
    options = msgspec.structs.replace(base or EngineOptions(), **given)
    if given or base is not None or engine_cache is not None:
        return options
    if not any(name in TARGETS and TARGETS[name].builder is not None for name in targets):
        return None
    from bert_export.targets.gpu import find_gpu

    return None if find_gpu() is None else options


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
