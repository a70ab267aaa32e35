"""Everything that needs an NVIDIA GPU, in one command, with the result as JSON.

Usage::

    pip install 'bert-export[export,demo,tensorrt-rtx]'
    python scripts/check_gpu.py --output gpu.json
    python scripts/check_gpu.py --target tensorrt --precision fp16 --task sentence-embedding

For every target, precision and task: export, build the engine for this machine's GPU, run it, and
compare it with the same graph in ONNX Runtime on the processor; switch profiles there and back;
take the median latency of some shapes. A step that fails is a row with its reason, and the others
go on.

Exit codes: 0 every step passed, 1 a step failed, 2 the options are wrong, 3 there is no GPU.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import msgspec
import numpy as np

from bert_export.bundle import EngineRecord, read_manifest
from bert_export.exporter import export
from bert_export.runtime.sessions import open_session
from bert_export.runtime.sessions.session import Feeds, Outputs, Session
from bert_export.targets import TARGETS, load_target
from bert_export.targets.engines import EngineOptions
from bert_export.targets.gpu import Gpu, find_gpu

NO_GPU = 3
TASKS = ("sentence-embedding", "text-classification", "fill-mask", "question-answering")
SHAPES = ((1, 16), (1, 128), (8, 128), (32, 64))
BATCH_SIZES, LENGTHS = (1, 8, 64), (16, 128, 512)
BOUNDS = {"fp32": 0.01, "fp16": 0.05, "bf16": 0.5, "int8": 0.5}
"""Largest difference of an output from the same graph on the processor, by precision."""

_PACKAGES = ("bert-export", "onnxruntime", "onnxruntime-gpu", "polygraphy", "tensorrt")
_RUNS, _WARM_UP = 50, 10


@dataclass
class Step:
    """One row of the result."""

    name: str
    ok: bool = True
    reason: str | None = None
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


class Running:
    """A step under way; leaving it writes its row, whatever was raised."""

    def __init__(self, report: Report, step: Step) -> None:
        self._report, self._step = report, step

    def __enter__(self) -> dict[str, Any]:
        self._start = time.perf_counter()
        return self._step.facts

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        step = self._step
        step.seconds = round(time.perf_counter() - self._start, 3)
        if error is not None:
            step.ok, step.reason = False, f"{type(error).__name__}: {error}"
        self._report.steps.append(step)
        print(f"{'ok    ' if step.ok else 'FAILED'} {step.name}  {step.reason or step.facts}")
        return isinstance(error, Exception)  # not an interrupt


class Report:
    """Rows in the order of the steps; printed as they come."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def step(self, name: str) -> Running:
        """Run a step: what it raises is its reason, and the next one runs."""
        return Running(self, Step(name))

    def result(self, gpu: Gpu | None) -> dict[str, Any]:
        """The whole, as JSON takes it."""
        return {
            "gpu": None if gpu is None else asdict(gpu),
            "machine": platform.platform(),
            "versions": {name: _version(name) for name in (*_PACKAGES, "tensorrt-rtx")},
            "passed": all(step.ok for step in self.steps),
            "steps": [asdict(step) for step in self.steps],
        }


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="Where the JSON goes as well.")
@click.option("--model", default="demo", show_default=True, help="As bert-export export takes it.")
@click.option("--target", "targets", multiple=True, type=click.Choice(list(TARGETS)))
@click.option("--precision", "precisions", multiple=True, type=click.Choice(list(BOUNDS)))
@click.option("--task", "tasks", multiple=True, help=f"[default: {', '.join(TASKS)}]")
def main(
    *,
    output: Path | None,
    model: str,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    tasks: tuple[str, ...],
) -> None:
    """Check engines on this machine's GPU."""
    report, gpu = Report(), find_gpu()
    with report.step("gpu") as facts:
        if gpu is None:
            raise LookupError("no NVIDIA GPU: nvidia-smi is absent or lists none")
        facts |= asdict(gpu)
    wanted = targets or tuple(name for name, target in TARGETS.items() if target.gpu)
    with tempfile.TemporaryDirectory() as holder:
        if gpu is None:
            pass
        elif len(wanted) > 1:
            for target in wanted:
                _check_apart(report, Path(holder), model, target, precisions, tasks)
        else:
            for task in tasks or TASKS:
                for precision in precisions or TARGETS[wanted[0]].precisions:
                    _check(report, Path(holder), model, task, wanted[0], precision)
    result = report.result(gpu)
    text = json.dumps(result, indent=2)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    print(text)
    sys.exit(NO_GPU if gpu is None else int(not result["passed"]))


def _check_apart(
    report: Report,
    holder: Path,
    model: str,
    target: str,
    precisions: Sequence[str],
    tasks: Sequence[str],
) -> None:
    """One target in a process of its own: TensorRT's two modules do not share one."""
    output = holder / f"{target}.json"
    command = [sys.executable, __file__, "--model", model, "--target", target]
    for option, values in (("--precision", precisions), ("--task", tasks)):
        for value in values:
            if option == "--task" or value in TARGETS[target].precisions:
                command += [option, value]
    ended = subprocess.run([*command, "--output", str(output)], check=False)
    if output.is_file():
        rows = json.loads(output.read_text(encoding="utf-8"))["steps"]
        report.steps += [Step(**row) for row in rows if row["name"] != "gpu"]
        return
    with report.step(f"{target}: process"):
        raise ChildProcessError(f"ended with {ended.returncode} and wrote no result")


def _check(
    report: Report, holder: Path, model: str, task: str, target: str, precision: str
) -> None:
    """One bundle: export and build, run and compare, switch profiles, time."""
    name = f"{task} {target} {precision}"
    folder = holder / name.replace(" ", "-")
    with report.step(f"{name}: export and build") as facts:
        done = export(
            task=task,
            model=model,
            output=folder,
            precision=precision,
            targets=(target,),
            engines=EngineOptions(batch_sizes=BATCH_SIZES, lengths=LENGTHS),
            engine_cache=holder / "cache",
        )
        facts |= msgspec.to_builtins(done.manifest.engine().build)
    if not report.steps[-1].ok:
        return
    engine = read_manifest(folder).engine()
    session: Session | None = None
    with report.step(f"{name}: open"):
        session = open_session(folder, engine)
    if session is None:
        return
    with session:
        with report.step(f"{name}: answers") as facts:
            _compare(folder, engine, session, facts)
        with report.step(f"{name}: profiles there and back"):
            _switch(session)
        for shape in SHAPES:
            with report.step(f"{name}: latency {shape[0]}x{shape[1]}") as facts:
                facts |= _latency(session, _feeds(session, shape))


def _compare(folder: Path, engine: EngineRecord, session: Session, facts: dict[str, Any]) -> None:
    """The engine's outputs beside those of its graph on the processor, on all shapes."""
    bound = BOUNDS[engine.precision]
    with load_target(TARGETS[engine.target]).open_written(folder, engine, threads=None) as graph:
        for shape in SHAPES:
            feeds = _feeds(session, shape)
            found, expected = session.run(feeds), graph.run(feeds)
            difference = max(float(np.abs(found[name] - expected[name]).max()) for name in expected)
            facts[f"{shape[0]}x{shape[1]}"] = difference
            if not difference <= bound:  # also where it is not a number
                raise ValueError(f"difference {difference:.3g} on {shape}, at most {bound}")


def _switch(session: Session) -> None:
    """Short, long and short rows again: the first answer must come back bit for bit."""
    short, long = _feeds(session, (1, LENGTHS[0])), _feeds(session, (1, LENGTHS[-1]))
    first = session.run(short)
    session.run(long)
    again = session.run(short)
    changed = [name for name in first if not np.array_equal(first[name], again[name])]
    if changed:
        raise ValueError(f"outputs {', '.join(changed)} changed after another profile")


def _latency(session: Session, feeds: Feeds) -> dict[str, float]:
    """Median milliseconds of a call, copies to and from the GPU included."""
    times = []
    for run in range(_WARM_UP + _RUNS):
        start = time.perf_counter()
        session.run(feeds)
        if run >= _WARM_UP:
            times.append(1000 * (time.perf_counter() - start))
    return {"median_ms": statistics.median(times), "runs": len(times)}


def _feeds(session: Session, shape: Sequence[int]) -> dict[str, np.ndarray[Any, Any]]:
    """Random ids, every second row half padding."""
    rng = np.random.default_rng(0)
    sizes = {"batch": shape[0], "sequence": shape[1], "choices": 2, "masked": shape[0]}
    feeds: Outputs = {}
    for spec in session.inputs:
        axes = [axis if isinstance(axis, int) else sizes[axis] for axis in spec.shape]
        if spec.name == "input_ids":
            feeds[spec.name] = rng.integers(0, spec.below or 1000, axes)
        elif spec.name == "token_type_ids":
            feeds[spec.name] = np.zeros(axes, np.int64)
        elif "masked" in spec.shape:
            feeds[spec.name] = np.arange(axes[0]) * shape[1] + 1
        else:
            feeds[spec.name] = np.ones(axes, np.int64)
            feeds[spec.name][1::2, ..., shape[1] // 2 :] = 0
    return feeds


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
