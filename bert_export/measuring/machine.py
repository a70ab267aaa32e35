"""What a figure depends on besides the code: the machine, the versions, the day."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bert_export.target_table import TARGETS

__all__ = ["available_cores", "describe_machine", "installed_versions", "processor_kind"]

_CPU_INFO = Path("/proc/cpuinfo")
# The instructions that integer and low-precision kernels are chosen by.
_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp")
# What INT8 runs on, by the best of those instructions.
_KINDS = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX512",
    "avx2": "AVX2",
    "asimddp": "Arm",
}
_PACKAGES = (
    "bert-export",
    "numpy",
    *dict.fromkeys(package for target in TARGETS.values() for package in target.packages),
    "tokenizers",
    "torch",
    "transformers",
    "sentence-transformers",
)
_GIB = 1 << 30


def available_cores() -> tuple[int, ...]:
    """Numbers of the processors that this process may run on, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def describe_machine() -> dict[str, Any]:
    """CPU, its kind, cores, memory, load, interpreter and date.

    ``processor`` is that of :func:`processor_kind`. ``load`` is the load average of the last
    minute before the measurement: well above zero means that somebody else was working too.
    """
    facts = _cpu_facts()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    instructions = [flag for flag in _FLAGS if flag in flags]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": len(available_cores()),
        "processor": processor_kind(instructions),
        "instructions": instructions,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 1),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def processor_kind(instructions: Sequence[str]) -> str:
    """The kind of processor that figures are grouped by, such as ``AVX512-VNNI`` or ``AMX``.

    Args:
        instructions: As :func:`describe_machine` lists them.
    """
    names = (name for flag, name in _KINDS.items() if flag in instructions)
    return next(names, platform.machine())


def installed_versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Versions of those packages that this environment has."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _cpu_facts() -> dict[str, str]:
    """The first processor's entry, where the kernel lists processors."""
    if not _CPU_INFO.is_file():
        return {}
    first = _CPU_INFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
