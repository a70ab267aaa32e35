"""Commands that a user would type, run to their end and accounted for."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from bert_export.errors import MeasurementError
from bert_export.measuring.child import pinned_environment

__all__ = ["Usage", "run_command"]

_KIB = 1024
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class Usage:
    """What a finished command took.

    Args:
        seconds: Wall time from before its start until it was gone.
        peak_bytes: Largest resident set of it, or of a process that it waited for. The kernel
            counts from the fork, so it is never below the parent's own size: keep the parent light.
        printed: Its standard output.
    """

    seconds: float
    peak_bytes: int
    printed: str = ""


def run_command(argv: Sequence[str], *, threads: int) -> Usage:
    """Run a command until it ends.

    Args:
        argv: The command.
        threads: Of every thread pool in it.

    Raises:
        MeasurementError: It failed; what it printed last is shown.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(
            list(argv),
            env=pinned_environment(threads, python=argv[0]),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
        )
        seconds, peak_bytes = _wait(process, start)
        if process.returncode:
            raise MeasurementError(
                f"command {' '.join(argv)} ended with status {process.returncode}",
                got=_tail(out, log),
            )
        out.seek(0)
        return Usage(seconds, peak_bytes, out.read().decode("utf-8", "replace"))


def _wait(process: subprocess.Popen[bytes], start: float) -> tuple[float, int]:
    """Reap a child by hand: only wait4 tells the resources of this child alone."""
    try:
        _, status, resources = os.wait4(process.pid, 0)
    except BaseException:  # an interrupt must not leave the child running
        process.kill()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - start, resources.ru_maxrss * _KIB


def _tail(*logs: IO[bytes]) -> str:
    lines: list[str] = []
    for log in logs:
        log.seek(0)
        lines += log.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-_TAIL_LINES:]) or "it printed nothing"
