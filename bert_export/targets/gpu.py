"""What GPU this machine has, as its driver says."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

__all__ = ["Gpu", "find_gpu"]

_QUERY = ("name", "compute_cap", "driver_version", "memory.total")
_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU.

    Args:
        name: Such as ``NVIDIA A10``.
        capability: Such as ``SM86``.
        driver: Its version.
        memory: In MiB.
    """

    name: str
    capability: str
    driver: str
    memory: int


def find_gpu() -> Gpu | None:
    """The first NVIDIA GPU; ``None`` where the driver's own tool is absent or sees none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    asked = subprocess.run(  # noqa: S603  # a fixed query to the driver's tool
        [tool, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    fields = [field.strip() for field in asked.stdout.partition("\n")[0].split(",")]
    if asked.returncode or len(fields) != len(_QUERY):
        return None
    name, capability, driver, memory = fields
    return Gpu(name, f"SM{capability.replace('.', '')}", driver, int(memory))
