"""The parent's side: start a child with its threads pinned, hear it, and account for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measuring.child import CHANNEL, SPAWNED, THREADS

__all__ = ["ChildError", "Message", "Usage", "pinned_environment", "run_command", "run_worker"]

Message = dict[str, Any]

_FOLDER = Path(__file__).parent
_KIB = 1024
_TAIL_LINES = 15
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    THREADS,
)


class ChildError(RuntimeError):
    """A child failed; the message ends with what it printed last."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a finished child took.

    Args:
        seconds: Wall time from before its start until it was gone.
        peak_bytes: Largest resident set of it, or of a process that it waited for. The kernel
            counts from the fork, so it is never below the parent's own size: keep the parent light.
        printed: A command's standard output.
    """

    seconds: float
    peak_bytes: int
    printed: str = ""


def pinned_environment(threads: int) -> dict[str, str]:
    """This process's environment with every thread pool pinned and model hubs out of reach."""
    return {
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(_FOLDER.parent),
    }


def run_worker(
    worker: str,
    request: Mapping[str, Any],
    *,
    threads: int,
    python: str = sys.executable,
    listen: Callable[[Message], None] | None = None,
) -> tuple[list[Message], Usage]:
    """Run a worker of this folder until it ends.

    Args:
        worker: Its module's name, such as ``worker_graphs``.
        request: What it should do, JSON values.
        threads: Threads of every pool in it.
        python: The interpreter, which may be one of another environment.
        listen: Called with every message as it comes.

    Returns:
        The messages, each with ``received``: seconds from the start until the parent had it; and
        what the child took.

    Raises:
        ChildError: It failed.
    """
    # -P keeps this folder's own modules from hiding others of the same name.
    argv = [python, "-P", str(_FOLDER / f"{worker}.py"), json.dumps(request)]
    reading, writing = os.pipe()
    environment = pinned_environment(threads) | {CHANNEL: str(writing)}
    messages: list[Message] = []
    with tempfile.TemporaryFile() as log, os.fdopen(reading, encoding="utf-8") as channel:
        start = time.monotonic()
        process = subprocess.Popen(
            argv,
            env=environment | {SPAWNED: repr(start)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writing,),
        )
        os.close(writing)
        for line in channel:
            message = json.loads(line) | {"received": time.monotonic() - start}
            messages.append(message)
            if listen is not None:
                listen(message)
        usage = _wait(process, start)
        if process.returncode:
            raise ChildError(f"{worker} failed: {_tail(log)}")
    return messages, usage


def run_command(argv: Sequence[str], *, threads: int) -> Usage:
    """Run a command until it ends; what it prints is shown where it fails.

    Raises:
        ChildError: It failed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(
            list(argv),
            env=pinned_environment(threads),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
        )
        usage = _wait(process, start)
        if process.returncode:
            raise ChildError(f"{' '.join(argv)} failed: {_tail(out, log)}")
        out.seek(0)
        return replace(usage, printed=out.read().decode("utf-8", "replace"))


def _wait(process: subprocess.Popen[bytes], start: float) -> Usage:
    """Reap a child by hand: only wait4 tells the resources of this child alone."""
    try:
        _, status, resources = os.wait4(process.pid, 0)
    except BaseException:  # an interrupt must not leave the child running
        process.kill()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(time.monotonic() - start, resources.ru_maxrss * _KIB)


def _tail(*logs: Any) -> str:
    lines: list[str] = []
    for log in logs:
        log.seek(0)
        lines += log.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-_TAIL_LINES:]) or "it printed nothing"
