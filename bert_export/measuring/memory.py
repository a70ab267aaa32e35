"""How much memory this process took at most."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["peak_bytes"]

_KIB = 1024
_STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """This process's largest resident set so far.

    The kernel's own count (``VmHWM``) starts at the exec; ``ru_maxrss`` starts at the fork and is
    never below the parent's size, so it is only asked where there is no ``/proc``.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
