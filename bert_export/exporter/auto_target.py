"""``--target auto``: the fastest target, found by measurement.

Every target that can run here gets an engine, or is refused with its reason. The engines of the
finished bundle are then timed on the shapes that the user names; the fastest becomes the bundle's
default, and the manifest keeps the figures. :mod:`bert_export.exporter.auto_precision` times the
engines of several bundles in the same way.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import msgspec

from bert_export.bundle import (
    AUTO,
    AutoTargetRecord,
    CandidateRecord,
    EngineRecord,
    ExportRequest,
    Manifest,
)
from bert_export.errors import InputError, MeasurementError, MissingExtraError
from bert_export.exporter.progress import Progress
from bert_export.exporter.refusal import Refusal
from bert_export.measuring.bundles import BundleEngine, records_to_time, time_bundles
from bert_export.measuring.timing import Conditions, Measured, conditions, speed_up
from bert_export.measuring.workloads import SHAPES, Shape, parse_shapes
from bert_export.targets import TARGETS, Target, load_target
from bert_export.targets.gpu import find_gpu

__all__ = [
    "DEFAULT_SECONDS",
    "Timed",
    "candidates",
    "check_auto",
    "check_named",
    "choose",
    "find_shapes",
    "not_installed",
    "record_refusals",
    "time_engines",
]

DEFAULT_SECONDS = 2.0
"""Of measuring per target and shape at most."""

_RECORDS = 64
"""Records whose text fills the shapes."""


def check_auto(request: ExportRequest) -> None:
    """Refuse what auto cannot do, before anything is exported.

    Raises:
        InputError: Another target stands beside it, a shape is malformed or longer than a row, this
            machine has fewer processors than threads, or none of its targets has the precision.
    """
    if len(request.targets) > 1:
        raise InputError(
            f"target {AUTO} is given beside others", expected=AUTO, got=", ".join(request.targets)
        )
    _check_conditions(request)
    if not candidates(request.precision, texts=request.text_input is not False):
        able = [target.name for target in TARGETS.values() if _has(target, request.precision)]
        raise InputError(
            f"no target that runs here has the precision {request.precision}",
            expected=f"one of {', '.join(able)}, installed",
            got="none of them",
        )


def check_named(request: ExportRequest, targets: Sequence[Target]) -> None:
    """Refuse named targets whose precision cannot be found here, before anything is exported.

    Raises:
        InputError: A target is for a GPU that is not here, a shape is malformed or longer than a
            row, or this machine has fewer processors than threads.
    """
    for target in targets:
        if target.gpu and find_gpu() is None:
            raise InputError(
                f"target {target.name} cannot be timed here",
                expected="an NVIDIA GPU, or a target for the processor",
                got="no GPU",
                fix="Name its precision, or run this on the machine with the GPU",
            )
    _check_conditions(request)


def _check_conditions(request: ExportRequest) -> None:
    """Refuse shapes and threads that nothing can be timed with."""
    _conditions(find_shapes(request.shapes, request.max_length), request.threads, DEFAULT_SECONDS)


def candidates(precision: str, *, texts: bool = False) -> tuple[Target, ...]:
    """Targets that have the precision, whose packages are installed and whose processor is here.

    Args:
        precision: Such as ``int8``; :data:`bert_export.bundle.AUTO` for any.
        texts: Whether they must have graphs that take texts.
    """
    return tuple(target for target in _fitting(precision, texts=texts) if _missing(target) is None)


def not_installed(precision: str, *, texts: bool = False) -> tuple[Refusal, ...]:
    """Targets that lack their packages alone to be :func:`candidates`, each with what to do."""
    missing = ((target, _missing(target)) for target in _fitting(precision, texts=texts))
    return tuple(Refusal(target.name, error) for target, error in missing if error is not None)


def _fitting(precision: str, *, texts: bool) -> tuple[Target, ...]:
    """Targets that have the precision and whose processor is here."""
    gpu = find_gpu() is not None
    return tuple(
        target
        for target in TARGETS.values()
        if _has(target, precision)
        and (gpu or not target.gpu)
        and (not texts or target.text_session is not None)
    )


def _has(target: Target, precision: str) -> bool:
    return precision == AUTO or precision in target.precisions


def _missing(target: Target) -> MissingExtraError | None:
    """What a target lacks here."""
    try:
        load_target(target).check_installed()
    except MissingExtraError as error:
        return error
    return None


def find_shapes(text: str | None, max_length: int | None) -> tuple[Shape, ...]:
    """Shapes as typed, or the usual ones cut to rows of ``max_length``, where that is known.

    Raises:
        InputError: One that is typed is malformed, or longer than a row.
    """
    shapes = parse_shapes(SHAPES if text is None else text)
    if max_length is None:
        return shapes
    if text is None:
        cut = (Shape(shape.batch, min(shape.sequence, max_length)) for shape in shapes)
        return tuple(dict.fromkeys(cut))
    for shape in shapes:
        if shape.sequence > max_length:
            raise InputError(
                f"shape {shape} is longer than a row of the bundle",
                expected=f"at most {max_length} tokens",
                got=shape.sequence,
                fix="Name shorter ones in --shapes, or drop it",
            )
    return shapes


@dataclass(frozen=True, slots=True)
class Timed:
    """What was found by timing.

    Args:
        bundle: Which of the bundles holds the fastest engine, by its index.
        record: The figures, for the manifest.
    """

    bundle: int
    record: AutoTargetRecord


def time_engines(
    bundles: Sequence[tuple[Path, Manifest]],
    *,
    shapes: Sequence[Shape],
    threads: int | None,
    seconds: float,
    progress: Progress,
) -> Timed:
    """Time the engines of bundles against each other, and choose the fastest.

    Args:
        bundles: The folder of each, whole, and its manifest; of one task and one checkpoint. No
            two hold the same target in the same precision.
        shapes: That count; none is longer than a row of the bundles.
        threads: Inside an operator.
        seconds: Of measuring per target and shape at most.
        progress: Hears of it as one stage.

    Raises:
        MeasurementError: No engine has a figure for every shape.
    """
    under = _conditions(shapes, threads, seconds)
    engines = {
        _name(engine): (index, engine)
        for index, (_, manifest) in enumerate(bundles)
        for engine in manifest.engines
    }
    with progress.stage("time") as facts:
        measured = _measure(bundles, shapes, under, progress)
        chosen = choose(tuple(engines), measured, shapes)
        facts["fastest"] = chosen
    bundle, fastest = engines[chosen]
    record = AutoTargetRecord(
        chosen=fastest.target,
        shapes=under.shapes,
        threads=under.threads,
        processors=os.cpu_count() or 1,
        candidates=tuple(
            CandidateRecord(
                target=engine.target,
                precision=engine.precision,
                milliseconds={
                    label: round(1000 * timing.summary.p50, 4)
                    for label, timing in measured[name].timings.items()
                },
                refusal=_reason(measured[name]),
            )
            for name, (_, engine) in engines.items()
        ),
    )
    return Timed(bundle, record)


def _name(engine: EngineRecord) -> str:
    """As the timing calls an engine."""
    return f"{engine.target} {engine.precision}"


def record_refusals(
    record: AutoTargetRecord, refusals: Sequence[Refusal], precision: str
) -> AutoTargetRecord:
    """The record with the targets that got no engine, each with its reason."""
    left_out = [
        CandidateRecord(target=refusal.target, precision=precision, refusal=str(refusal.error))
        for refusal in refusals
    ]
    return msgspec.structs.replace(record, candidates=(*record.candidates, *left_out))


def choose(names: Sequence[str], measured: Mapping[str, Measured], shapes: Sequence[Shape]) -> str:
    """The fastest engine by the ratios of neighbouring turns, every shape weighing the same.

    Args:
        names: Of the engines that were measured.
        measured: By name.
        shapes: All that count; an engine without a figure for one of them is out.

    Raises:
        MeasurementError: No engine has a figure for every shape.
    """
    labels = tuple(map(str, shapes))
    timed = [name for name in names if all(label in measured[name].timings for label in labels)]
    if not timed:
        raise MeasurementError(
            "no target can be timed",
            expected=f"figures for {', '.join(labels)}",
            got="; ".join(f"{name}: {_reason(result)}" for name, result in measured.items()),
            fix="Name a --target, which is not timed",
        )
    first = measured[timed[0]]
    gains = {name: _log_speed_up(measured[name], first, labels) for name in timed}
    return max(timed, key=lambda name: gains[name])


def _log_speed_up(measured: Measured, over: Measured, labels: Sequence[str]) -> float:
    """The mean logarithm of how many times as fast one target is as another."""
    ratios = [speed_up(measured.timings[label], over.timings[label]) for label in labels]
    return fmean(math.log(ratio.value) for ratio in ratios if ratio is not None)


def _conditions(shapes: Sequence[Shape], threads: int | None, seconds: float) -> Conditions:
    """Graphs alone, without whole answers and cold starts."""
    return conditions(shapes=shapes, threads=threads, texts=0, seconds=seconds, cold_starts=0)


def _measure(
    bundles: Sequence[tuple[Path, Manifest]],
    shapes: Sequence[Shape],
    under: Conditions,
    progress: Progress,
) -> dict[str, Measured]:
    """The figures of every engine, by name."""
    engines = [
        BundleEngine(_name(engine), folder, engine.target)
        for folder, manifest in bundles
        for engine in manifest.engines
    ]
    results = {engine.name: Measured() for engine in engines}
    _, records = records_to_time(bundles[0][1], None, _RECORDS)
    time_bundles(
        engines,
        shapes=shapes,
        under=under,
        records=records,
        listener=_TimingListener(progress),
        results=results,
    )
    return results


class _TimingListener:
    """Tells the steps of the timing as progress of the export's stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, what: str, *, done: int, total: int) -> None:
        self._progress.advance(done, total)

    def measured(self) -> None:
        """Nothing is saved in between."""


def _reason(result: Measured) -> str | None:
    """Why something of a target was not measured."""
    refusals = [f"{label}: {why}" for label, why in result.refusals.items()]
    return result.failure or ("; ".join(refusals) if refusals else None)
