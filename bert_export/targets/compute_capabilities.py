"""GPUs by name: which compute capability ("SM") an engine must be built for.

Source: https://developer.nvidia.com/cuda-gpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from bert_export.errors import InputError

__all__ = ["GPUS", "find_capabilities"]

GPUS: Mapping[str, tuple[str, ...]] = {
    "SM75": ("t4", "rtx2060", "rtx2070", "rtx2080", "rtx2080ti", "rtx4000", "rtx5000", "rtx8000"),
    "SM80": ("a30", "a100"),
    "SM86": (
        *("a2", "a10", "a10g", "a16", "a40", "rtxa2000", "rtxa4000", "rtxa5000", "rtxa6000"),
        *("rtx3050", "rtx3060", "rtx3070", "rtx3070ti", "rtx3080", "rtx3080ti", "rtx3090"),
    ),
    "SM87": ("orin", "agxorin", "orinnano", "orinnx"),
    "SM89": (
        *("l4", "l40", "l40s", "rtx4000ada", "rtx5000ada", "rtx6000ada"),
        *("rtx4050", "rtx4060", "rtx4060ti", "rtx4070", "rtx4070ti", "rtx4080", "rtx4090"),
    ),
    "SM90": ("h100", "h200", "gh200"),
    "SM100": ("b100", "b200", "gb200"),
    "SM103": ("b300", "gb300"),
    "SM110": ("thor", "agxthor"),
    "SM120": (
        *("rtx5050", "rtx5060", "rtx5060ti", "rtx5070", "rtx5070ti", "rtx5080", "rtx5090"),
        *("rtxpro2000", "rtxpro4000", "rtxpro4500", "rtxpro5000", "rtxpro6000"),
    ),
    "SM121": ("gb10", "dgxspark"),
}
"""Data-centre, workstation and consumer GPUs since Turing, by compute capability."""

_MAKER = re.compile(r"nvidia|geforce|tesla|quadro|jetson|[^a-z0-9]")


def find_capabilities(names: Iterable[str], nameable: Sequence[str]) -> tuple[str, ...]:
    """Compute capabilities that a user named, each once and in rising order.

    Args:
        names: Names of GPUs (``a10``, ``RTX 4090``) or capabilities (``86``, ``sm_86``, ``8.6``).
        nameable: Capabilities that the builder can build for, such as ``SM86``.

    Raises:
        InputError: A name is unknown, or the builder cannot build for it.
    """
    capabilities = {_find_capability(name, nameable) for name in names}
    return tuple(sorted(capabilities, key=lambda capability: int(capability[2:])))


def _find_capability(name: str, nameable: Sequence[str]) -> str:
    short = _MAKER.sub("", name.lower())
    number = re.fullmatch(r"(?:sm|compute)?(\d{2,3})", short)
    capability = (
        f"SM{number[1]}"
        if number
        else next((sm for sm, names in GPUS.items() if short in names), None)
    )
    choices = ", ".join(f"{sm} ({', '.join(GPUS.get(sm, ())[:2])} ...)" for sm in nameable)
    if capability is None:
        raise InputError(
            f"GPU {name!r} is unknown",
            expected=f"a capability or a GPU of {choices}",
            got=name,
            fix="Name its compute capability, as nvidia-smi --query-gpu=compute_cap prints it",
        )
    if capability not in nameable:
        raise InputError(
            f"compute capability {capability} cannot be named to this builder",
            expected=f"one of {choices}",
            got=name if capability.lower() in short else f"{name}, which is {capability}",
            fix="Run bert-export build with --target tensorrt on a machine that has that GPU",
        )
    return capability
