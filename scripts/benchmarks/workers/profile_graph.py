"""The job that tells where a graph's time goes, by operator, as ONNX Runtime profiles it."""

from __future__ import annotations

import json
import runpy
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

__all__ = ["profile", "summarize"]

_CONTENDERS = Path(__file__).with_name("contenders.py")


def profile(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a contender some times and give milliseconds and calls per run by operator.

    Args:
        request: ``contender``, as ``contenders.open_contender`` takes it; ``feeds``, a file;
            ``runs``; ``prefix`` of the file that ONNX Runtime writes meanwhile.
    """
    profile_every_session(request["prefix"])
    contender = runpy.run_path(str(_CONTENDERS))["open_contender"](request["contender"])
    (call,) = contender.calls({"feeds": request["feeds"]})
    for _ in range(request["runs"]):
        call()
    del call, contender  # a session's profile is written at its end
    prefix = Path(request["prefix"])
    (written,) = prefix.parent.glob(f"{prefix.name}*.json")
    events = json.loads(written.read_text(encoding="utf-8"))
    written.unlink()
    return {"operators": summarize(events, runs=request["runs"])}


def profile_every_session(prefix: str) -> None:
    """Make ONNX Runtime profile whatever session this process opens.

    A bundle's session chooses its own options, so the class of options is what has to be changed.
    """
    plain = onnxruntime.SessionOptions

    def profiled() -> Any:
        options = plain()
        options.enable_profiling = True
        options.profile_file_prefix = prefix
        return options

    onnxruntime.SessionOptions = profiled


def summarize(events: list[dict[str, Any]], *, runs: int) -> list[dict[str, Any]]:
    """Milliseconds per run and calls per run of each operator, largest first.

    An operator with a body of its own, such as If, counts without what runs inside it.
    """
    taken: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    kernels = [
        event
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    around: list[dict[str, Any]] = []  # those that the current one may run inside, outermost first
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        while around and _end(around[-1]) < _end(event):
            around.pop()
        if around:
            taken[around[-1]["args"]["op_name"]] -= event["dur"] / 1000
        around.append(event)
        operator = event["args"]["op_name"]
        taken[operator] += event["dur"] / 1000
        calls[operator] += 1
    return [
        {"operator": name, "ms": taken[name] / runs, "calls": calls[name] / runs}
        for name in sorted(taken, key=lambda name: -taken[name])
    ]


def _end(event: Mapping[str, Any]) -> int:
    end: int = event["ts"] + event["dur"]
    return end
