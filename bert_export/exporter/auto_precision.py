"""``--precision auto``: the fastest precision that keeps the accuracy budget, by measurement.

From one float graph every precision that a target has becomes a bundle of its own, verified as
every bundle is. Where there is an accuracy budget each is measured against it: INT8 leaves layers
in float until it holds, other precisions keep it as they are or are left out, and FP32 is what all
are measured against. The engines are then timed against each other; the precision of the fastest is
the bundle's, and the manifest says how the others did.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from bert_export.bundle import AutoTargetRecord, EngineRecord, Manifest
from bert_export.errors import BertExportError, CalibrationError, QuantizationError
from bert_export.exporter.accuracy_budget import keep_budget
from bert_export.exporter.auto_target import (
    find_shapes,
    not_installed,
    record_refusals,
    time_engines,
)
from bert_export.exporter.bundle_files import write_bundle, write_tokenizer
from bert_export.exporter.calibrate import calibrate
from bert_export.exporter.engine import (
    Engine,
    Reference,
    answer_reference,
    verify_engines,
    write_engines,
)
from bert_export.exporter.float_graph import FloatGraph
from bert_export.exporter.progress import Progress
from bert_export.exporter.refusal import REFUSALS, Refusals
from bert_export.exporter.request import find_targets
from bert_export.exporter.source import Source
from bert_export.quantization.calibration.rows import check_known
from bert_export.target_table import PRECISIONS, Target

__all__ = ["Fastest", "find_precision"]

_LEFT_OUT = (*REFUSALS, CalibrationError, QuantizationError)
"""Errors that are about one precision, so that others may still be served."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Fastest:
    """The engines of the fastest precision; their files lie in the bundle's folder.

    Args:
        engines: Their entries, the fastest first.
        record: The figures of all engines and precisions, for the manifest.
    """

    engines: tuple[EngineRecord, ...]
    record: AutoTargetRecord


@dataclass(slots=True)
class _Trial:
    """One precision.

    Args:
        precision: Its name.
        targets: That have it.
        folder: Of its bundle.
        refusals: Its targets that were left out.
        engines: Those that are left, once they are written.
        manifest: Of its bundle, once that is whole.
    """

    precision: str
    targets: tuple[Target, ...]
    folder: Path
    refusals: Refusals = field(default_factory=lambda: Refusals(tolerated=True))
    engines: tuple[Engine, ...] = ()
    manifest: Manifest | None = None

    def attempt(self, step: Callable[[], Result]) -> Result | None:
        """The result of a step; ``None`` where it leaves no target of this precision."""
        try:
            return step()
        except _LEFT_OUT as error:
            known = {refusal.target for refusal in self.refusals.refusals}
            for target in self.targets:
                if target.name not in known:
                    self.refusals.add(target, error)
            return None

    @property
    def error(self) -> BertExportError:
        """The last reason for which a target was left out."""
        return self.refusals.refusals[-1].error


def find_precision(
    float_graph: FloatGraph, *, folder: Path, seconds: float, progress: Progress
) -> Fastest:
    """Make a bundle of every precision, and keep the one with the fastest engine.

    Args:
        float_graph: That all engines are made of.
        folder: Of the bundle that is made; it gets the engines' files.
        seconds: Of measuring per engine and shape at most.
        progress: Hears of the stages of every precision, and of the timing as one.

    Raises:
        BertExportError: No precision is left.
        MeasurementError: No engine has a figure for every shape.
    """
    source = float_graph.source
    with tempfile.TemporaryDirectory(dir=folder) as name:
        trials = _trials(source, Path(name))
        for trial in trials:
            trial.engines = trial.attempt(partial(_write, trial, float_graph, progress)) or ()
        pipeline, rows, unseen = float_graph.pipeline, float_graph.rows, float_graph.unseen
        del float_graph  # memory: the head is all that is needed from here
        reference = answer_reference(source, pipeline, unseen, rows, progress=progress)
        for trial in trials:
            if trial.engines:
                trial.manifest = trial.attempt(partial(_verify, trial, reference, progress))
        return _keep_fastest(trials, source, folder=folder, seconds=seconds, progress=progress)


def _trials(source: Source, folder: Path) -> list[_Trial]:
    """A trial for every precision that a target has, each with its folder."""
    trials = []
    for precision in PRECISIONS:
        targets = tuple(
            target for target in find_targets(source.request) if precision in target.precisions
        )
        if targets:
            trials.append(_Trial(precision, targets, folder / precision))
    for trial in trials:
        trial.folder.mkdir()
        write_tokenizer(trial.folder, source)
    return trials


def _write(trial: _Trial, float_graph: FloatGraph, progress: Progress) -> tuple[Engine, ...]:
    """The engines of a precision that keep the budget."""
    request = msgspec.structs.replace(float_graph.source.request, precision=trial.precision)
    if trial.precision == "int8":
        check_known(float_graph.rows.record)
    calibrated = calibrate(
        replace(float_graph, source=replace(float_graph.source, request=request)),
        trial.targets,
        folder=trial.folder,
        progress=progress,
        refusals=trial.refusals,
    )
    calibrated = keep_budget(
        calibrated, folder=trial.folder, progress=progress, refusals=trial.refusals
    )
    return write_engines(
        calibrated, folder=trial.folder, progress=progress, refusals=trial.refusals
    )


def _verify(trial: _Trial, reference: Reference, progress: Progress) -> Manifest:
    """The bundle of a precision, of the engines that answer as the head does."""
    if trial.precision != "int8":
        reference = replace(reference, warnings=())  # they are of what set INT8's ranges
    engines = verify_engines(
        trial.engines,
        reference,
        folder=trial.folder,
        progress=progress,
        refusals=trial.refusals,
    )
    records = [engine.record for engine in engines]
    return write_bundle(trial.folder, records, reference.source, progress)


def _keep_fastest(
    trials: Sequence[_Trial],
    source: Source,
    *,
    folder: Path,
    seconds: float,
    progress: Progress,
) -> Fastest:
    """Time what is left, and move the fastest precision's files to where the bundle is made."""
    bundles = [(trial.folder, trial.manifest) for trial in trials if trial.manifest is not None]
    if not bundles:
        raise trials[-1].error
    request = source.request
    timed = time_engines(
        bundles,
        shapes=find_shapes(request.shapes, source.max_length),
        threads=request.threads,
        seconds=seconds,
        progress=progress,
    )
    record = timed.record
    for trial in trials:
        record = record_refusals(record, trial.refusals.refusals, trial.precision)
    if request.is_auto:
        missing = not_installed(request.precision, texts=request.text_input is not False)
        record = record_refusals(record, missing, request.precision)
    where, manifest = bundles[timed.bundle]
    for path in where.iterdir():
        path.replace(folder / path.name)
    engines = sorted(manifest.engines, key=lambda engine: engine.target != record.chosen)
    return Fastest(tuple(engines), record)
