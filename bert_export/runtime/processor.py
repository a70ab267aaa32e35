"""Which integer instructions a processor has: INT8 is made for one kind and should run on it.

Without VNNI, x86-64 adds two products of 8-bit numbers in 16 bits, which saturates unless weights
keep to 7 bits; with it, unsigned activations are fast and signed ones are not. On Arm it is the
other way round.
"""

from __future__ import annotations

import platform
import warnings
from functools import cache
from pathlib import Path

__all__ = [
    "PROCESSORS",
    "detect_processor",
    "processor_flags",
    "saturates",
    "warn_if_unsuited",
]

PROCESSORS = ("x86-64-vnni", "x86-64", "arm64")
"""Kinds of processor that INT8 distinguishes."""

_CPUINFO = Path("/proc/cpuinfo")
_VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni"})
_ARM_MACHINES = ("arm64", "aarch64")

_UNSUITED = {
    ("x86-64-vnni", "x86-64"): (
        "its 8-bit weights are slow there, and in OpenVINO they saturate and answers may be wrong"
    ),
    ("x86-64-vnni", "arm64"): "unsigned activations are slow there",
    ("x86-64", "arm64"): "unsigned activations are slow there",
    ("arm64", "x86-64-vnni"): "signed activations are many times slower there",
    ("arm64", "x86-64"): "signed activations are many times slower there",
}


@cache
def detect_processor() -> str:
    """The kind of this machine's processor, one of :data:`PROCESSORS`.

    Where the flags cannot be read, an x86-64 processor is taken to have no VNNI: what is made for
    that is right everywhere.
    """
    if platform.machine().lower() in _ARM_MACHINES:
        return "arm64"
    return "x86-64-vnni" if processor_flags() & _VNNI_FLAGS else "x86-64"


def processor_flags() -> frozenset[str]:
    """What Linux says that this machine's x86-64 processor has; nothing where it says nothing."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, values = line.partition(":")
            if name.strip() == "flags":
                return frozenset(values.split())
    return frozenset()


def saturates(made_for: str | None, here: str) -> bool:
    """Whether products of a bundle's 8-bit numbers exceed what this machine adds them in.

    Args:
        made_for: Of the quantization plan; ``None`` where it names no processor.
        here: This machine's.
    """
    return (made_for, here) == ("x86-64-vnni", "x86-64")


def warn_if_unsuited(made_for: str, here: str) -> None:
    """Warn when a quantized bundle meets a processor that its numbers were not chosen for.

    Args:
        made_for: Of the quantization plan.
        here: This machine's.
    """
    reason = _UNSUITED.get((made_for, here))
    if reason is not None:
        warnings.warn(
            f"INT8 bundle was made for {made_for} and runs on {here}: {reason}. "
            f"Export it again with --cpu {here}.",
            RuntimeWarning,
            stacklevel=3,
        )
