"""From a checkpoint to a verified bundle: the library call behind the command.

::

    ExportRequest -> Source -> FloatGraph -> Calibrated -> engine or refusal per target -> bundle

Where the precision is found by measurement, :mod:`bert_export.exporter.auto_precision` takes the
float graph through the stages after it, once for each precision.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bert_export.bundle import (
    DEFAULT_OPSET,
    AutoTargetRecord,
    CheckpointOptions,
    EngineOptions,
    EngineRecord,
    ExportRequest,
    Manifest,
    QuantizationOptions,
    replace_folder,
    write_manifest,
)
from bert_export.datasets import Records
from bert_export.datasets.label_map import LabelMap, plain_label_map
from bert_export.datasets.memory import records_of, source_name
from bert_export.exporter.accuracy_budget import keep_budget
from bert_export.exporter.auto_precision import find_precision
from bert_export.exporter.auto_target import (
    DEFAULT_SECONDS,
    find_shapes,
    not_installed,
    record_refusals,
    time_engines,
)
from bert_export.exporter.bundle_files import write_bundle, write_tokenizer
from bert_export.exporter.calibrate import calibrate
from bert_export.exporter.default_targets import targets_to_build
from bert_export.exporter.engine import (
    answer_reference,
    build_engines,
    verify_engines,
    write_engines,
)
from bert_export.exporter.float_graph import FloatGraph, make_float_graph
from bert_export.exporter.progress import Listener, Progress, Stage
from bert_export.exporter.refusal import Refusal, Refusals
from bert_export.exporter.request import check_output, check_request, find_folder, find_targets
from bert_export.exporter.source import Source, check_target, load_source
from bert_export.exporter.text_graphs import plan_texts, write_text_graphs
from bert_export.targets.engines import EngineBuilder, build_into, find_profiles
from bert_export.tasks import TextForm
from bert_export.tasks.interface import named_outputs
from bert_export.text_input.model import check_inputs

__all__ = ["Export", "export", "export_request"]


@dataclass(frozen=True, slots=True)
class Export:
    """What an export wrote.

    Args:
        path: The bundle's folder.
        manifest: Of the bundle.
        stages: What was done, in order.
        left_out: Targets that were tried or would be had though nobody named them, each with the
            reason; those of ``--target auto`` are in the manifest.
    """

    path: Path
    manifest: Manifest
    stages: tuple[Stage, ...]
    left_out: tuple[Refusal, ...] = ()


def export(
    *,
    task: str | None = None,
    model: str | Path = "demo",
    checkpoint: CheckpointOptions | None = None,
    output: str | Path | None = None,
    precision: str = "fp32",
    targets: str | Sequence[str] = (),
    shapes: str | None = None,
    calibration: str | Path | Records | None = None,
    quantization: QuantizationOptions | None = None,
    cpu: str | None = None,
    max_length: int | None = None,
    opset: int = DEFAULT_OPSET,
    text_input: bool | TextForm = False,
    threads: int | None = None,
    outputs: str | Sequence[str] = (),
    pooled_layers: int | None = None,
    max_drop: float | None = None,
    eval_data: str | Path | Records | None = None,
    keep_best: bool = False,
    fields: Mapping[str, str] | None = None,
    label_map: LabelMap | None = None,
    engines: EngineOptions | None = None,
    engine_cache: str | Path | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Export:
    """Export a checkpoint into a bundle: :func:`export_request` with options one by one.

    ``output``, ``force``, ``engine_cache`` and ``listener`` are that function's; the other options
    are the fields of :class:`bert_export.bundle.ExportRequest`, where a single target may be a
    string, as may ``outputs`` with commas, ``calibration`` and ``eval_data`` may be records in
    memory (see :func:`bert_export.datasets.read_dataset`), and ``label_map`` may be a file.

    Returns:
        Path, manifest and stages of the bundle.

    Raises:
        BertExportError: Anything that is wrong; nothing is left behind and what existed is kept.
    """
    request = ExportRequest(
        task=task,
        model=os.fspath(model),
        checkpoint=checkpoint,
        max_length=max_length,
        precision=precision,
        targets=(targets,) if isinstance(targets, str) else tuple(targets),
        shapes=shapes,
        opset=opset,
        text_input=text_input,
        calibration=source_name(calibration),
        quantization=quantization,
        cpu=cpu,
        max_drop=max_drop,
        eval_data=source_name(eval_data),
        keep_best=keep_best,
        fields=dict(fields or {}),
        label_map=plain_label_map(label_map),
        engines=engines,
        threads=threads,
        outputs=named_outputs(outputs),
        pooled_layers=pooled_layers,
    )
    return export_request(
        request,
        output=output,
        force=force,
        engine_cache=engine_cache,
        listener=listener,
        calibration_records=records_of(calibration),
        eval_records=records_of(eval_data),
    )


def export_request(
    request: ExportRequest,
    *,
    output: str | Path | None = None,
    force: bool = False,
    engine_cache: str | Path | None = None,
    listener: Listener | None = None,
    build_engine: EngineBuilder = build_into,
    seconds: float = DEFAULT_SECONDS,
    calibration_records: Records | None = None,
    eval_records: Records | None = None,
) -> Export:
    """Export a checkpoint into a bundle.

    Args:
        request: What is exported.
        output: The bundle's folder; ``<task>-<precision>`` here when ``None``.
        force: Replace a bundle that exists.
        engine_cache: Folder of engines that were built before; see
            :func:`bert_export.targets.engines.build_into`.
        listener: Hears how the export proceeds.
        build_engine: Builds the engines that the request names.
        seconds: Of measuring per target and shape at most, where the target is found by
            measurement.
        calibration_records: What calibrates, where the request says that it is in memory.
        eval_records: What an accuracy budget is measured on, likewise.

    Returns:
        Path, manifest and stages of the bundle.

    Raises:
        BertExportError: Anything that is wrong; nothing is left behind and what existed is kept.
    """
    none_named = not request.targets
    request = check_request(request)
    check_output(request, output, force=force)
    added = request.targets[1:] if none_named else ()
    progress, refusals = Progress(listener), Refusals(tolerated=request.is_auto or added)
    source = load_source(
        request,
        progress=progress,
        calibration_records=calibration_records,
        eval_records=eval_records,
    )
    _check_source(source, refusals)
    path = find_folder(source.request, output)
    with replace_folder(path, force=force) as folder:
        write_tokenizer(folder, source)
        if source.request.text_input is not False:  # or it is said before the trace
            check_inputs(tensor.name for tensor in source.task.interface(source.facts).inputs)
            plan_texts(folder, source.manifest)
        found: AutoTargetRecord | None = None
        if request.finds_precision:
            fastest = find_precision(
                make_float_graph(source, progress=progress),
                folder=folder,
                seconds=seconds,
                progress=progress,
            )
            records, found = fastest.engines, fastest.record
        else:
            records = _make_engines(
                make_float_graph(source, progress=progress),
                folder=folder,
                progress=progress,
                refusals=refusals,
            )
        if source.request.text_input is not False:
            records = write_text_graphs(folder, source.manifest, records, progress=progress)
        if request.engines is not None:
            records = build_engines(
                records,
                request.engines,
                folder=folder,
                max_length=source.max_length,
                cache=engine_cache,
                build_engine=build_engine,
                progress=progress,
            )
        if added:
            source = source.for_targets([record.target for record in records])
        manifest = write_bundle(folder, records, source, progress)
        if found is None and request.is_auto:
            found = _time_targets(folder, manifest, source, refusals, seconds, progress)
        if found is not None:
            manifest = _put_fastest(folder, manifest, found, progress)
    left_out = (*refusals.refusals, *targets_to_build(source.request)) if none_named else ()
    return Export(path, manifest, tuple(progress.stages), left_out)


def _check_source(source: Source, refusals: Refusals) -> None:
    """Targets, shapes and profiles fit the checkpoint, or it is said before the trace."""
    request = source.request
    for target in find_targets(request):
        if not refusals.tolerates(target):
            check_target(source.task, target)
    if request.is_measured:
        find_shapes(request.shapes, source.max_length)
    if request.engines is not None:
        find_profiles(request.engines, source.max_length)


def _make_engines(
    float_graph: FloatGraph, *, folder: Path, progress: Progress, refusals: Refusals
) -> tuple[EngineRecord, ...]:
    """The entries of engines in the request's precision, written and verified."""
    source = float_graph.source
    calibrated = calibrate(
        float_graph,
        find_targets(source.request),
        folder=folder,
        progress=progress,
        refusals=refusals,
    )
    calibrated = keep_budget(calibrated, folder=folder, progress=progress, refusals=refusals)
    written = write_engines(calibrated, folder=folder, progress=progress, refusals=refusals)
    pipeline, rows, unseen = float_graph.pipeline, float_graph.rows, float_graph.unseen
    del float_graph, calibrated  # memory: the head is all that is needed from here
    reference = answer_reference(source, pipeline, unseen, rows, progress=progress)
    engines = verify_engines(
        written, reference, folder=folder, progress=progress, refusals=refusals
    )
    return tuple(engine.record for engine in engines)


def _time_targets(
    folder: Path,
    manifest: Manifest,
    source: Source,
    refusals: Refusals,
    seconds: float,
    progress: Progress,
) -> AutoTargetRecord:
    """Time the engines; what has none is in the record with its reason."""
    request = source.request
    timed = time_engines(
        [(folder, manifest)],
        shapes=find_shapes(request.shapes, source.max_length),
        threads=request.threads,
        seconds=seconds,
        progress=progress,
    )
    missing = not_installed(request.precision, texts=request.text_input is not False)
    return record_refusals(timed.record, (*refusals.refusals, *missing), request.precision)


def _put_fastest(
    folder: Path, manifest: Manifest, record: AutoTargetRecord, progress: Progress
) -> Manifest:
    """Make the fastest target the bundle's default."""
    manifest = msgspec.structs.replace(
        manifest, default_target=record.chosen, auto_target=record, stages=progress.seconds()
    )
    write_manifest(folder, manifest)
    return manifest
