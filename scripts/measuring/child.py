"""The child's side of a measurement: read the request, do the work, send messages.

Messages are JSON lines on a pipe of their own, so that whatever a library prints does no harm. Only
the standard library is imported, and little of it: a child's start is part of what is measured.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

__all__ = [
    "CHANNEL",
    "SPAWNED",
    "THREADS",
    "peak_bytes",
    "read_request",
    "send",
    "since_spawn",
    "threads",
]

CHANNEL = "MEASURING_CHANNEL"
"""Environment: the descriptor that messages are written to."""

SPAWNED = "MEASURING_SPAWNED"
"""Environment: the parent's ``time.monotonic()`` just before it started the child."""

THREADS = "MEASURING_THREADS"
"""Environment: how many threads the contender may use."""

_KIB = 1024


def read_request() -> dict[str, Any]:
    """What the parent asks for."""
    request: dict[str, Any] = json.loads(sys.argv[1])
    return request


def threads() -> int:
    """How many threads the contender may use."""
    return int(os.environ[THREADS])


def send(event: str, **fields: Any) -> None:
    """Send one message to the parent.

    Args:
        event: What it is about, such as ``answer`` or ``result``.
        fields: JSON values.
    """
    os.write(int(os.environ[CHANNEL]), (json.dumps({"event": event, **fields}) + "\n").encode())


def since_spawn() -> float:
    """Seconds since the parent started this process; the monotonic clock is the machine's."""
    return time.monotonic() - float(os.environ[SPAWNED])


def peak_bytes() -> int:
    """This process's largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
