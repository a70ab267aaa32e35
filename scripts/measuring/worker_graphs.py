"""Times one graph at several shapes, or compares the answers that such workers kept."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from measuring.child import read_request, send, threads

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]

_WARM_UPS = 3
_LEAST_RUNS = 5
_MASKS = "masks"  # where feeds keep the places of masks; no graph's input


def open_bundle(folder: str) -> tuple[list[str], Run, Callable[[], None]]:
    """Our graph as a service runs it, checks of its inputs included."""
    from bert_export import load

    pipeline = load(folder, threads=threads(), verify=False)
    names = [spec.name for spec in pipeline.manifest.engine().graph.inputs]
    return names, pipeline.run, pipeline.close


def open_graph(path: str) -> tuple[list[str], Run, Callable[[], None]]:
    """Any ONNX file with ONNX Runtime's own settings."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3
    sessions = [onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])]
    names = [node.name for node in sessions[0].get_inputs()]
    outputs = [node.name for node in sessions[0].get_outputs()]

    def run(feeds: Arrays) -> Arrays:
        return dict(zip(outputs, sessions[0].run(outputs, feeds), strict=True))

    return names, run, sessions.clear


def time_runs(run: Callable[[], object], *, seconds: float, least: int = _LEAST_RUNS) -> float:
    """Median seconds of repeated runs, after some that only warm up."""
    for _ in range(_WARM_UPS):
        run()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < least or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


def measure(request: Mapping[str, Any]) -> None:
    """Open the graph, time each shape, keep the answers where asked."""
    if request["profile"]:
        profile_every_session(request["profile"])
    opener = open_bundle if request["is_bundle"] else open_graph
    names, run, close = opener(request["graph"])
    for shape, file, kept in zip(
        request["shapes"], request["files"], request["answers"], strict=True
    ):
        with np.load(file) as stored:
            arrays = dict(stored)
        feeds = {name: arrays[name] for name in names}
        if request["profile"]:
            run(feeds)
            continue
        send("time", shape=shape, seconds=time_runs(lambda: run(feeds), seconds=request["seconds"]))  # noqa: B023
        if kept:
            np.savez(kept, **keep(run(feeds), arrays))
    close()  # a profile is written now
    if request["profile"]:
        (written,) = Path(request["profile"]).parent.glob(f"{Path(request['profile']).name}*.json")
        events = json.loads(written.read_text(encoding="utf-8"))
        written.unlink()
        send("profile", operators=summarize(events, runs=len(request["shapes"])))


def keep(outputs: Arrays, arrays: Arrays) -> dict[str, Any]:
    """What is compared: outputs without padding, and of a row with masks only those places."""
    masks = arrays[_MASKS]  # (B, S)
    places = masks if masks.any() else arrays["attention_mask"].astype(bool)
    kept: dict[str, Any] = {}
    for name, array in outputs.items():
        per_token = array.shape[:2] == places.shape and array.ndim > places.ndim
        kept[name] = array[places] if per_token else array.reshape(-1, array.shape[-1])
    return kept


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


def compare(request: Mapping[str, Any]) -> None:
    """How far kept answers are from those of a reference."""
    with np.load(request["reference"]) as stored:
        reference = dict(stored)
    with np.load(request["candidate"]) as stored:
        candidate = dict(stored)
    for name in reference.keys() & candidate.keys():
        left, right = candidate[name].astype(np.float64), reference[name].astype(np.float64)
        if left.shape != right.shape:
            send("unlike", output=name)
            continue
        norms = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
        send(
            "alike",
            output=name,
            difference=float(np.abs(left - right).max()),
            cosine=float(((left * right).sum(axis=-1) / np.maximum(norms, 1e-12)).mean()),
        )


if __name__ == "__main__":
    asked = read_request()
    if asked["kind"] == "compare":
        compare(asked)
    else:
        measure(asked)
