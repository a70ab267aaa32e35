"""The child's side of a measurement: one worker in a process of its own, asked line by line.

``python serving.py WORKER CHANNEL CORES``. WORKER is a module's name or a Python file. Requests are
JSON lines on standard input, replies are JSON lines on the descriptor CHANNEL, so that whatever a
library prints does no harm. CORES (``0,1``) are the processors that the process is pinned to before
the worker is imported; ``-`` leaves it free. The end of the input ends the process.

Only the standard library is imported: the file runs in interpreters that have nothing of this
project, and a child's start is part of what is measured. A worker is a module that has

- any function ``job(request) -> reply``, for work that is done once;
- ``open_contender(request) -> contender``, to be timed. The contender has
  ``calls(request) -> [call, ...]``: what one pass over a workload runs, each call on its own. Any
  other method ``method(request) -> reply`` of it can be asked for;
- ``EXPECTED_ERRORS``, a tuple of exceptions whose text alone tells the user what is wrong.

Requests and replies are JSON objects. A request that fails is answered with its reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Service", "load_worker", "main", "peak_bytes", "probe_calls", "take_turn"]

_WORKER = "served_worker"
_PROBE_SECONDS = 0.2
_PROBE_CALLS = 3
_KIB = 1024
_STATUS = Path("/proc/self/status")

Calls = Sequence[Callable[[], object]]
Clock = Callable[[], float]


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


def load_worker(worker: str) -> ModuleType:
    """Import a worker by the name of its module, or from its file."""
    if not worker.endswith(".py"):
        return importlib.import_module(worker)
    # A file may be named after the library that it opens, so it is imported under another name.
    spec = importlib.util.spec_from_file_location(_WORKER, worker)
    if spec is None or spec.loader is None:
        raise ImportError(worker)
    module = importlib.util.module_from_spec(spec)
    sys.modules[_WORKER] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def take_turn(
    calls: Calls, *, start: int, count: int, warm_ups: int, clock: Clock = time.perf_counter
) -> list[float]:
    """Seconds of each of ``count`` calls, from the one at ``start`` on, round and round.

    Args:
        calls: What one pass runs.
        start: Index of the first call; counted on past the end of a pass.
        count: How many are clocked.
        warm_ups: How often the first of them runs before, unclocked.
        clock: Gives seconds.
    """
    first = start % len(calls)
    for _ in range(warm_ups):
        calls[first]()
    return [_clock(call, clock) for call in islice(cycle(calls), first, first + count)]


def probe_calls(calls: Calls, clock: Clock = time.perf_counter) -> float:
    """About how many seconds a call takes, after a whole pass that warms every call up.

    Args:
        calls: What one pass runs.
        clock: Gives seconds.
    """
    for call in calls:
        call()
    taken: list[float] = []
    for call in islice(cycle(calls), max(len(calls), _PROBE_CALLS)):
        taken.append(_clock(call, clock))
        if sum(taken) > _PROBE_SECONDS:
            break
    return min(taken) if len(calls) == 1 else sum(taken) / len(taken)


def _clock(call: Callable[[], object], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


class Service:
    """Answers requests; holds the worker, its contender and the prepared workloads between them.

    Args:
        worker: The worker's name or file; it is imported with the first request that needs it, so
            that an import that fails is a reply as well.
    """

    def __init__(self, worker: str) -> None:
        self._name = worker
        self._module: ModuleType | None = None
        self._contender: Any = None
        self._calls: dict[str, Calls] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request, or the reason why there is none."""
        actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "call": self._call,
            "open": self._open,
            "ask": self._ask,
            "prepare": self._prepare,
            "turn": self._turn,
            "usage": self._usage,
        }
        try:
            return actions[request["do"]](request)
        except Exception as error:  # noqa: BLE001  an engine may raise anything; the parent says it
            expected = getattr(self._module, "EXPECTED_ERRORS", ())
            name = "" if isinstance(error, expected) else f"{type(error).__name__}: "
            return {"error": f"{name}{error}"}

    @property
    def _worker(self) -> Any:
        if self._module is None:
            self._module = load_worker(self._name)
        return self._module

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        reply = getattr(self._worker, request["function"])(request["request"])
        return {"reply": reply, **self._usage(request)}

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        self._contender = self._worker.open_contender(request["request"])
        return self._usage(request)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        reply = getattr(self._contender, request["method"])(request["request"])
        return {"reply": reply, **self._usage(request)}

    def _prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        calls = self._contender.calls(request["request"])
        self._calls[request["workload"]] = calls
        return {"calls": len(calls), "seconds": probe_calls(calls)}

    def _turn(self, request: dict[str, Any]) -> dict[str, Any]:
        calls = self._calls[request["workload"]]
        start, count, warm_ups = request["start"], request["count"], request["warm_ups"]
        return {"seconds": take_turn(calls, start=start, count=count, warm_ups=warm_ups)}

    def _usage(self, request: dict[str, Any]) -> dict[str, Any]:
        del request
        return {"ended": time.monotonic(), "peak_bytes": peak_bytes()}


def main() -> None:
    """Answer requests until there are no more."""
    worker, channel, cores = sys.argv[1:4]
    if cores != "-" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    service = Service(worker)
    for line in sys.stdin.buffer:
        _write(int(channel), json.dumps(service.answer(json.loads(line))).encode() + b"\n")


def _write(channel: int, line: bytes) -> None:
    """All of it: a pipe takes a long line in pieces."""
    while line:
        line = line[os.write(channel, line) :]


if __name__ == "__main__":
    main()
