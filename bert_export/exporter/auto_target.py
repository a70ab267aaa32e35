"""``--target auto``: the fastest target, found by measurement.

Every target that can run here gets an engine, or is refused with its reason. The engines of the
finished bundle are then timed on the shapes that the user names; the fastest becomes the bundle's
default, and the manifest keeps the figures.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import msgspec

from bert_export.bundle import (
    AUTO,
    AutoTargetRecord,
    CandidateRecord,
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
    "candidates",
    "check_auto",
    "choose",
    "find_shapes",
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
    _conditions(find_shapes(request.shapes, request.max_length), request.threads, DEFAULT_SECONDS)
    if not candidates(request.precision, texts=request.text_input is not False):
        able = [
            target.name for target in TARGETS.values() if request.precision in target.precisions
        ]
        raise InputError(
            f"no target that runs here has the precision {request.precision}",
            expected=f"one of {', '.join(able)}, installed",
            got="none of them",
        )


def candidates(precision: str, *, texts: bool = False) -> tuple[Target, ...]:
    """Targets that have the precision, whose packages are installed and whose processor is here.

    Args:
        precision: Such as ``int8``.
        texts: Whether they must have graphs that take texts.
    """
    able = []
    gpu = find_gpu() is not None
    for target in TARGETS.values():
        if precision not in target.precisions or (target.gpu and not gpu):
            continue
        if texts and target.text_session is None:
            continue
        try:
            load_target(target).check_installed()
        except MissingExtraError:
            continue
        able.append(target)
    return tuple(able)


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


def time_engines(
    folder: Path,
    manifest: Manifest,
    *,
    shapes: Sequence[Shape],
    threads: int | None,
    seconds: float,
    progress: Progress,
) -> AutoTargetRecord:
    """Time the engines of a bundle against each other, and choose the fastest.

    Args:
        folder: Of the bundle, whole.
        manifest: As it stands there.
        shapes: That count; none is longer than a row of the bundle.
        threads: Inside an operator.
        seconds: Of measuring per target and shape at most.
        progress: Hears of it as one stage.

    Raises:
        MeasurementError: No engine has a figure for every shape.
    """
    under = _conditions(shapes, threads, seconds)
    with progress.stage("time") as facts:
        measured = _measure(folder, manifest, shapes, under, progress)
        chosen = choose(manifest, measured, shapes)
        facts["fastest"] = chosen
    return AutoTargetRecord(
        chosen=chosen,
        shapes=under.shapes,
        threads=under.threads,
        processors=os.cpu_count() or 1,
        candidates=tuple(
            CandidateRecord(
                target=engine.target,
                precision=engine.precision,
                milliseconds={
                    label: round(1000 * timing.summary.p50, 4)
                    for label, timing in measured[engine.target].timings.items()
                },
                refusal=_reason(measured[engine.target]),
            )
            for engine in manifest.engines
        ),
    )


def record_refusals(
    record: AutoTargetRecord, refusals: Sequence[Refusal], precision: str
) -> AutoTargetRecord:
    """The record with the targets that got no engine, each with its reason."""
    left_out = [
        CandidateRecord(target=refusal.target, precision=precision, refusal=str(refusal.error))
        for refusal in refusals
    ]
    return msgspec.structs.replace(record, candidates=(*record.candidates, *left_out))


def choose(manifest: Manifest, measured: Mapping[str, Measured], shapes: Sequence[Shape]) -> str:
    """The fastest target by the ratios of neighbouring turns, every shape weighing the same.

    Args:
        manifest: Whose engines were measured.
        measured: By target.
        shapes: All that count; a target without a figure for one of them is out.

    Raises:
        MeasurementError: No target has a figure for every shape.
    """
    labels = tuple(map(str, shapes))
    timed = [
        engine.target
        for engine in manifest.engines
        if all(label in measured[engine.target].timings for label in labels)
    ]
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
    folder: Path,
    manifest: Manifest,
    shapes: Sequence[Shape],
    under: Conditions,
    progress: Progress,
) -> dict[str, Measured]:
    """The figures of every engine, by target."""
    results = {engine.target: Measured() for engine in manifest.engines}
    _, records = records_to_time(manifest, None, _RECORDS)
    time_bundles(
        [BundleEngine(engine.target, folder, engine.target) for engine in manifest.engines],
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
