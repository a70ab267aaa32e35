"""Check on an NVIDIA GPU what no other machine can: build, run and time the targets for a GPU.

For every target, precision and task a bundle is exported, its engine is built for this machine's
GPU and opened as a service opens it. Its outputs are compared with those of the same graph on the
processor, two of its profiles are used in turn, and some shapes are timed.

Each of these checks runs in a process of its own: TensorRT's two modules cannot share one, and an
error on the GPU leaves a process that cannot use it any more. A step that fails has its reason in
the result, and the other checks go on.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from bert_export.bundle import EngineOptions
from bert_export.errors import InputError, MeasurementError, TargetError, one_line
from bert_export.exporter.add_targets import build
from bert_export.exporter.exporting import export
from bert_export.measuring.bundle_worker import rows_of_shape
from bert_export.measuring.child import call_apart
from bert_export.measuring.machine import available_cores, describe_machine, installed_versions
from bert_export.measuring.workloads import Shape
from bert_export.runtime.loading import load
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.targets import TARGETS, find_target, load_target
from bert_export.targets.gpu import Gpu, find_gpu
from bert_export.tasks import TASKS, find_task

__all__ = ["BOUNDS", "SHAPES", "CheckStep", "EngineCheck", "GpuCheck", "check_engine", "check_gpu"]

SHAPES = (Shape(1, 16), Shape(1, 128), Shape(8, 128), Shape(32, 64))
BATCH_SIZES, LENGTHS = (1, 8, 64), (16, 128)

BOUNDS: Mapping[str, float] = {"fp32": 0.01, "fp16": 0.02, "bf16": 0.1, "int8": 0.1}
"""Largest error of an output by precision: the root mean square of its difference from the output
of the same graph on the processor, relative to that output's. A wrong kernel is off by about 1."""

_PACKAGES = ("bert-export", "numpy", "onnxruntime")
_RUNS, _WARM_UP = 50, 10

Facts = dict[str, Any]
"""What a step saw, as JSON values."""


class CheckStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a check.

    Args:
        name: What was done.
        passed: Whether it went well.
        reason: Why it did not.
        seconds: Wall time.
        facts: What was seen.
    """

    name: str
    passed: bool
    reason: str | None = None
    seconds: float
    facts: Facts = {}


class EngineCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one engine.

    Args:
        target: Its target.
        precision: Its precision.
        task: The task that was exported.
        passed: Whether every step passed.
        steps: In order; where one failed that others need, it is the last.
    """

    target: str
    precision: str
    task: str
    passed: bool
    steps: tuple[CheckStep, ...]


class GpuCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of all engines.

    Args:
        gpu: The GPU that they ran on.
        machine: See :func:`bert_export.measuring.machine.describe_machine`.
        versions: Of the packages that decide.
        passed: Whether every check passed.
        checks: One for every target, precision and task.
    """

    gpu: Gpu
    machine: dict[str, Any]
    versions: dict[str, str]
    passed: bool
    checks: tuple[EngineCheck, ...]


def check_gpu(
    *,
    model: str = "demo",
    targets: Sequence[str] = (),
    precisions: Sequence[str] = (),
    tasks: Sequence[str] = (),
    find: Callable[[], Gpu | None] = find_gpu,
    report: Callable[[EngineCheck], None] | None = None,
) -> GpuCheck:
    """Check the engines of targets for a GPU on this machine's.

    Args:
        model: The checkpoint, as :func:`bert_export.exporter.export` takes it.
        targets: Those to check; all for a GPU when empty.
        precisions: Those to check, as far as a target has them; each target's own when empty.
        tasks: Those to check; the representative ones when empty.
        find: Finds the GPU.
        report: Called with every check when it is done.

    Raises:
        TargetError: There is no NVIDIA GPU that can be used.
        InputError: A target is unknown, or none of them has a precision.
        TaskError: A task is unknown.
    """
    gpu = find()
    if gpu is None:
        raise TargetError(
            "this machine has no NVIDIA GPU to check",
            expected="a GPU that nvidia-smi lists and CUDA_VISIBLE_DEVICES does not hide",
            got="none",
        )
    pairs = _pairs(targets, precisions)
    names = [find_task(name).name for name in tasks] or [
        task.name for task in TASKS.values() if task.representative
    ]
    checks = []
    for target, precision in pairs:
        for task in names:
            check = _check_apart(model, target, precision, task)
            checks.append(check)
            if report is not None:
                report(check)
    packages = dict.fromkeys(
        (*_PACKAGES, *(package for name, _ in pairs for package in TARGETS[name].packages))
    )
    return GpuCheck(
        gpu=gpu,
        machine=describe_machine(),
        versions=installed_versions(tuple(packages)),
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
    )


def _pairs(targets: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Targets and precisions to check."""
    names = targets or [name for name, target in TARGETS.items() if target.gpu]
    pairs = [
        (name, precision)
        for name in dict.fromkeys(names)
        for precision in find_target(name).precisions
        if not precisions or precision in precisions
    ]
    for precision in precisions:
        if precision not in {known for _, known in pairs}:
            raise InputError(
                f"precision {precision} is in none of the targets",
                expected=f"a precision of {', '.join(dict.fromkeys(names))}",
                got=precision,
            )
    return pairs


def _check_apart(
    model: str, target: str, precision: str, task: str, *, worker: str | Path = __name__
) -> EngineCheck:
    """Check one engine in a process of its own, which may die of it."""
    request = {"model": model, "target": target, "precision": precision, "task": task}
    start = time.perf_counter()
    try:
        job = call_apart(worker, "check_engine", request, threads=len(available_cores()))
        steps = msgspec.convert(job.reply["steps"], tuple[CheckStep, ...])
    except MeasurementError as error:
        seconds = round(time.perf_counter() - start, 3)
        steps = (CheckStep(name="process", passed=False, reason=str(error), seconds=seconds),)
    return EngineCheck(
        target=target,
        precision=precision,
        task=task,
        passed=all(step.passed for step in steps),
        steps=steps,
    )


def check_engine(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check one engine; this is what the process of its own runs.

    Args:
        request: ``model``, ``target``, ``precision`` and ``task``.

    Returns:
        ``steps``, as JSON values.
    """
    recorder = _Recorder()
    with tempfile.TemporaryDirectory(prefix="gpu-check.") as holder:
        _check(recorder, Path(holder), request)
    return {"steps": msgspec.to_builtins(recorder.steps)}


def _check(recorder: _Recorder, holder: Path, request: Mapping[str, Any]) -> None:
    """Export, build, open, compare, switch profiles and time."""
    bundle, target = holder / "bundle", find_target(request["target"])
    with recorder.step("export") as facts:
        done = export(
            task=request["task"],
            model=request["model"],
            output=bundle,
            precision=request["precision"],
            targets=(target.name,),
        )
        facts["parity"] = msgspec.to_builtins(done.manifest.engine().parity)
    if recorder.has_failed():
        return
    longest = done.manifest.tokenizer.max_length
    if target.builder is not None:
        with recorder.step("build") as facts:
            done = build(
                bundle,
                target.name,
                engines=EngineOptions(batch_sizes=BATCH_SIZES, lengths=_lengths(longest)),
                engine_cache=holder / "cache",
            )
            facts |= msgspec.to_builtins(done.manifest.engine().build.engine)
        if recorder.has_failed():
            return
    with recorder.step("open"):
        pipeline = load(bundle)
    if recorder.has_failed():
        return
    with pipeline:
        with recorder.step("outputs") as facts:
            _compare(bundle, pipeline, facts)
        with recorder.step("profiles in turn"):
            _switch_profiles(pipeline, longest)
        for shape in _shapes(longest):
            with recorder.step(f"latency {shape}") as facts:
                facts |= _latency(pipeline, shape)


class _Recorder:
    """The steps of a check, in order."""

    def __init__(self) -> None:
        self.steps: list[CheckStep] = []

    def has_failed(self) -> bool:
        """Whether the last step failed."""
        return not self.steps[-1].passed

    def step(self, name: str) -> _Step:
        """Run a step: what it raises becomes its reason."""
        return _Step(self, name)


class _Step:
    """A step that runs; leaving it records it, whatever was raised."""

    def __init__(self, recorder: _Recorder, name: str) -> None:
        self._recorder, self._name = recorder, name
        self._facts: Facts = {}

    def __enter__(self) -> Facts:
        self._start = time.perf_counter()
        return self._facts

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._recorder.steps.append(
            CheckStep(
                name=self._name,
                passed=error is None,
                reason=None if error is None else f"{type(error).__name__}: {one_line(error)}",
                seconds=round(time.perf_counter() - self._start, 3),
                facts=self._facts,
            )
        )
        return isinstance(error, Exception)  # an interrupt goes on


def _lengths(longest: int) -> tuple[int, ...]:
    """Upper ends of the profiles of a bundle, in tokens."""
    return tuple(sorted({min(length, longest) for length in (*LENGTHS, longest)}))


def _shapes(longest: int) -> Iterator[Shape]:
    """The shapes that are tried, cut to the bundle's longest row."""
    cut = (Shape(shape.batch, min(shape.sequence, longest)) for shape in SHAPES)
    yield from dict.fromkeys(cut)


def _compare(bundle: Path, pipeline: Pipeline[Any, Any, Any], facts: Facts) -> None:
    """Compare the engine's outputs with those of its graph on the processor, at every shape."""
    engine = pipeline.manifest.engine()
    module = load_target(find_target(engine.target))
    with module.open_written(bundle, engine, threads=None) as reference:
        for shape in _shapes(pipeline.tokenizer.max_length):
            feeds = _feeds(pipeline, shape)
            error = _relative_error(pipeline.run(feeds), reference.run(feeds))
            facts[str(shape)] = error
            bound = BOUNDS[engine.precision]
            if not error <= bound:  # also where it is not a number
                raise TargetError(
                    f"outputs at {shape} differ from the same graph's on the processor",
                    expected=f"a relative error of at most {bound}",
                    got=f"{error:.3g}",
                )


def _relative_error(outputs: Outputs, expected: Outputs) -> float:
    """The largest error of an output; see :data:`BOUNDS`."""
    errors = []
    for name, reference in expected.items():
        difference = outputs[name].astype(np.float64) - reference
        size = np.sqrt(np.mean(np.square(reference, dtype=np.float64)))
        errors.append(float(np.sqrt(np.mean(np.square(difference))) / size))
    return max(errors, key=lambda error: (np.isnan(error), error))


def _switch_profiles(pipeline: Pipeline[Any, Any, Any], longest: int) -> None:
    """Run a short, a long and the short row again, whose outputs must come back bit for bit."""
    short = _feeds(pipeline, Shape(1, min(LENGTHS[0], longest)))
    first = pipeline.run(short)
    pipeline.run(_feeds(pipeline, Shape(1, longest)))
    again = pipeline.run(short)
    changed = [name for name in first if not np.array_equal(first[name], again[name])]
    if changed:
        raise TargetError(
            f"outputs {', '.join(changed)} changed after another profile was used",
            expected="the same numbers",
            got="others",
        )


def _latency(pipeline: Pipeline[Any, Any, Any], shape: Shape) -> Facts:
    """Median time of a call, copies to and from the GPU included."""
    feeds = _feeds(pipeline, shape)
    for _ in range(_WARM_UP):
        pipeline.run(feeds)
    milliseconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        pipeline.run(feeds)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return {"median_ms": round(statistics.median(milliseconds), 4), "runs": _RUNS}


def _feeds(pipeline: Pipeline[Any, Any, Any], shape: Shape) -> Feeds:
    """The graph's inputs for the task's example text, every second row half of it padding."""
    example = dict(pipeline.definition.example)
    rows = rows_of_shape(pipeline, [example], shape.batch, shape.sequence)
    half = max(1, shape.sequence // 2)
    for index in range(1, len(rows), 2):
        row = rows[index]
        rows[index] = replace(
            row,
            input_ids=row.input_ids[:half],
            token_type_ids=row.token_type_ids[:half],
            extra=None
            if row.extra is None
            else {name: values[:half] for name, values in row.extra.items()},
        )
    return pipeline.feeds(rows, length=shape.sequence)
