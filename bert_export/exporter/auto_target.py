"""The fastest target, found by measurement: the library call behind ``--target auto``.

Every target that can run here is built, and stays in the bundle where it passes the gate. Those
engines are then timed on the shapes that the user names, one process each, taking turns; the
fastest becomes the bundle's default, and the manifest keeps the figures.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from bert_export.bundle import (
    AutoTargetRecord,
    CandidateRecord,
    Manifest,
    replace_folder,
    write_manifest,
)
from bert_export.errors import (
    BudgetError,
    BundleError,
    InputError,
    MeasurementError,
    MissingExtraError,
    TargetError,
    VerificationError,
)
from bert_export.exporter import PRECISIONS, Export, Listener, Stage, export
from bert_export.measuring.bundles import BundleEngine, records_to_time, time_bundles
from bert_export.measuring.timing import Conditions, Measured, conditions
from bert_export.measuring.workloads import SHAPES, Shape, parse_shapes
from bert_export.runtime.checks import check_whole_or_none
from bert_export.targets import DEFAULT_TARGET, TARGETS, Target
from bert_export.targets.gpu import find_gpu

__all__ = ["AUTO", "candidates", "choose", "export_fastest", "export_for"]

AUTO = "auto"
"""Typed in the place of a target: the fastest that is found."""

_REFUSALS = (BudgetError, BundleError, MissingExtraError, TargetError, VerificationError)
"""Reasons to go on without a target."""
_RECORDS = 64
"""Records whose text fills the shapes."""


def export_for(
    *, targets: Sequence[str] = (DEFAULT_TARGET,), shapes: str | None = None, **options: Any
) -> Export:
    """Export for targets that are named, or for the fastest where :data:`AUTO` is.

    Args:
        targets: See :func:`bert_export.exporter.export`; :data:`AUTO` stands alone.
        shapes: See :func:`export_fastest`.
        options: Of either.

    Raises:
        InputError: ``shapes`` are given beside named targets, or :data:`AUTO` beside another.
        BertExportError: See the two.
    """
    if AUTO in targets:
        if len(targets) > 1:
            raise InputError(
                f"target {AUTO} is given beside others", expected=AUTO, got=", ".join(targets)
            )
        return export_fastest(shapes=shapes, **options)
    if shapes is not None:
        raise InputError(
            "shapes have no use for named targets", expected=f"target {AUTO}", got=shapes
        )
    return export(targets=targets, **options)


def export_fastest(
    *,
    shapes: str | None = None,
    seconds: float = 2.0,
    output: str | Path | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    force: bool = False,
    listener: Listener,
    **options: Any,
) -> Export:
    """Export a checkpoint for every target that runs here, and find the fastest.

    Args:
        shapes: Rows x tokens that count, such as ``1x16,8x128``; when ``None``, the usual ones
            as far as the checkpoint's rows reach.
        seconds: Of measuring per target and shape at most.
        output: See :func:`bert_export.exporter.export`, as for the rest.
        precision: Of all targets.
        threads: Inside an operator, in the export and in the timing.
        force: Replace a bundle that exists.
        listener: Hears how the export and the timing proceed.
        options: Of the export.

    Returns:
        The bundle; its manifest's ``auto_target`` holds the figures.

    Raises:
        BertExportError: No target is left, or anything else is wrong; nothing is left behind.
    """
    max_length = check_whole_or_none("max_length", options.get("max_length"), least=1)
    wanted = _find_shapes(shapes, max_length)
    if precision not in PRECISIONS:
        raise InputError(
            f"precision {precision!r} is unknown",
            expected=f"one of {', '.join(PRECISIONS)}",
            got=repr(precision),
        )
    names = [target.name for target in candidates(precision)]
    if not names:
        others = [target.name for target in TARGETS.values() if precision in target.precisions]
        raise InputError(
            f"no target that runs here has the precision {precision}",
            expected=f"one of {', '.join(others)}, installed",
            got="none of them",
        )
    under = conditions(shapes=wanted, threads=threads, texts=0, seconds=seconds, cold_starts=0)
    final = Path(output) if output is not None else None
    if final is None and options.get("task") is not None:
        final = Path(f"{options['task']}-{precision}")
    with ExitStack() as stack:
        if final is not None:
            folder = stack.enter_context(replace_folder(final, force=force))
        beside = Path() if final is None else final.parent
        holder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".auto.", dir=beside))
        work = Path(holder) / "bundle"
        settings = {"precision": precision, "threads": threads, "listener": listener, **options}
        done, refused = _export_all(names, work, settings)
        wanted = _find_shapes(shapes, done.manifest.tokenizer.max_length)
        auto_target, stage = _time(done, wanted, under, listener)
        left_out = [
            CandidateRecord(target=name, precision=precision, refusal=reason)
            for name, reason in refused.items()
        ]
        auto_target = msgspec.structs.replace(
            auto_target, candidates=(*auto_target.candidates, *left_out)
        )
        manifest = msgspec.structs.replace(
            done.manifest, default_target=auto_target.chosen, auto_target=auto_target
        )
        if final is None:
            final = Path(f"{manifest.task}-{precision}")
            folder = stack.enter_context(replace_folder(final, force=force))
        for name in manifest.files:
            shutil.move(work / name, folder / name)
        write_manifest(folder, manifest)
    return Export(final, manifest, (*done.stages, stage))


def candidates(precision: str) -> tuple[Target, ...]:
    """Targets that have the precision, whose packages are installed and whose processor is here."""
    found = []
    gpu = find_gpu() is not None
    for target in TARGETS.values():
        if precision not in target.precisions or (target.gpu and not gpu):
            continue
        try:
            target.load().check_installed()
        except MissingExtraError:
            continue
        found.append(target)
    return tuple(found)


def choose(manifest: Manifest, measured: Mapping[str, Measured], shapes: Sequence[Shape]) -> str:
    """The target whose medians are the least, every shape weighing the same.

    Args:
        manifest: Whose engines were measured.
        measured: By target.
        shapes: All that count; a target without a figure for one of them is out.

    Raises:
        MeasurementError: No target has a figure for every shape.
    """
    means = {}
    for engine in manifest.engines:
        timings = measured[engine.target].timings
        if all(str(shape) in timings for shape in shapes):
            logs = [math.log(timings[str(shape)].summary.p50) for shape in shapes]
            means[engine.target] = sum(logs) / len(logs)
    if not means:
        raise MeasurementError(
            "no target can be timed",
            expected=f"figures for {', '.join(map(str, shapes))}",
            got="; ".join(f"{name}: {_reason(result)}" for name, result in measured.items()),
            fix="Name a --target, which is not timed",
        )
    return min(means, key=lambda name: means[name])


def _find_shapes(text: str | None, max_length: int | None) -> tuple[Shape, ...]:
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


def _export_all(
    names: Sequence[str], work: Path, settings: Mapping[str, Any]
) -> tuple[Export, dict[str, str]]:
    """One export for all; where it is refused, for those that alone are not."""
    try:
        return export(targets=names, output=work, **settings), {}
    except _REFUSALS:
        if len(names) == 1:
            raise
    kept, refused = _try_each(names, work.parent, settings)
    while True:
        try:
            return export(targets=kept, output=work, **settings), refused
        except _REFUSALS as error:  # each stands alone, and they do not stand together
            if len(kept) == 1:
                raise
            refused[kept.pop()] = str(error)


def _try_each(
    names: Sequence[str], beside: Path, settings: Mapping[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """The targets whose export alone passes, and why the others' does not.

    Raises:
        BertExportError: None passes; the last one's error.
    """
    kept: list[str] = []
    refused: dict[str, str] = {}
    for name in names:
        with tempfile.TemporaryDirectory(dir=beside) as holder:
            try:
                export(targets=(name,), output=Path(holder) / "bundle", **settings)
            except _REFUSALS as error:
                if name == names[-1] and not kept:
                    raise
                refused[name] = str(error)
            else:
                kept.append(name)
    return kept, refused


def _time(
    done: Export, shapes: Sequence[Shape], under: Conditions, listener: Listener
) -> tuple[AutoTargetRecord, Stage]:
    """Time the engines of a bundle against each other."""
    manifest = done.manifest
    under = msgspec.structs.replace(under, shapes=tuple(map(str, shapes)))
    results = {engine.target: Measured() for engine in manifest.engines}
    heard = _Heard(listener)
    _, records = records_to_time(manifest, None, _RECORDS)
    time_bundles(
        [BundleEngine(engine.target, done.path, engine.target) for engine in manifest.engines],
        shapes=shapes,
        under=under,
        records=records,
        listener=heard,
        results=results,
    )
    chosen = choose(manifest, results, shapes)
    auto_target = AutoTargetRecord(
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
                    for label, timing in results[engine.target].timings.items()
                },
                refusal=_reason(results[engine.target]),
            )
            for engine in manifest.engines
        ),
    )
    return auto_target, heard.finish({"fastest": chosen})


def _reason(result: Measured) -> str | None:
    """Why something of a target was not measured."""
    refusals = [f"{label}: {why}" for label, why in result.refusals.items()]
    return result.failure or ("; ".join(refusals) if refusals else None)


class _Heard:
    """The timing's progress, told as one stage of an export."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self._begun = listener, time.perf_counter()
        listener.start("time")

    def begin(self, what: str, *, done: int, total: int) -> None:
        self._listener.advance(done, total)

    def measured(self) -> None:
        """Nothing is saved in between."""

    def finish(self, facts: Mapping[str, Any]) -> Stage:
        stage = Stage("time", time.perf_counter() - self._begun, facts)
        self._listener.finish(stage)
        return stage
