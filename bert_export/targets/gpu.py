"""The GPU of this machine, as its driver's tool ``nvidia-smi`` describes it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

__all__ = ["Gpu", "find_gpu"]

_QUERY = ("name", "compute_cap", "driver_version", "memory.total")
_SECONDS = 20
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU that CUDA may use.

    Args:
        name: Such as ``NVIDIA A10``.
        capability: Compute capability, such as ``SM86``.
        driver: Version of the driver.
        memory: MiB; ``None`` where the driver does not say, as for memory shared with the
            processor.
    """

    name: str
    capability: str
    driver: str
    memory: int | None


def find_gpu() -> Gpu | None:
    """The first NVIDIA GPU that ``CUDA_VISIBLE_DEVICES`` leaves.

    ``None`` where there is none, or where the driver's tool is absent, fails, takes too long or
    prints something unexpected.
    """
    tool = shutil.which("nvidia-smi")
    visible = os.environ.get(_VISIBLE)
    first = None if visible is None else visible.partition(",")[0].strip()
    if tool is None or first == "":
        return None
    asked = _ask(tool, first)
    if asked is None:
        return None
    fields = [field.strip() for field in asked.stdout.partition("\n")[0].split(",")]
    if asked.returncode or len(fields) != len(_QUERY):
        return None
    name, capability, driver, memory = fields
    if re.fullmatch(r"[0-9]+\.[0-9]+", capability) is None:
        return None
    size = int(memory) if re.fullmatch(r"[0-9]+", memory) else None
    return Gpu(name, f"SM{capability.replace('.', '')}", driver, size)


def _ask(tool: str, gpu: str | None) -> subprocess.CompletedProcess[str] | None:
    """Ask the tool about one GPU, or about all: it does not take the name of a part (MIG)."""
    named = [] if gpu is None or gpu.startswith("MIG-") else [f"--id={gpu}"]
    try:
        return subprocess.run(  # noqa: S603  # a fixed query to the driver's tool
            [tool, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits", *named],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
