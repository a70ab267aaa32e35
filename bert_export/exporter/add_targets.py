"""Further targets for a bundle that is there: the library call behind ``bert-export build``.

The stages of an export run again for the new targets alone, with the request that the bundle's
manifest keeps. Calibration with the same text and options gives the same INT8 weights, so that only
what is new takes space; the layers that an accuracy budget left in float stay so, and the new
engines are measured against the budget too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bert_export.bundle import (
    DEFAULT_OBSERVER,
    DEFAULT_OPSET,
    AutoTargetRecord,
    EngineOptions,
    EngineRecord,
    ExportRequest,
    Manifest,
    QuantizationOptions,
    QuantizationPlan,
    check_unchanged,
    hash_file,
    read_bundle,
    replace_folder,
    write_manifest,
)
from bert_export.datasets import Records
from bert_export.datasets.memory import records_of, source_name
from bert_export.datasets.samples import find_sample
from bert_export.errors import (
    BundleError,
    CheckpointError,
    DatasetError,
    InputError,
    TargetError,
)
from bert_export.exporter.accuracy_budget import keep_known_layers
from bert_export.exporter.bundle_files import hash_files
from bert_export.exporter.calibrate import calibrate
from bert_export.exporter.engine import (
    answer_reference,
    build_engines,
    copy_graphs,
    verify_engines,
    write_engines,
)
from bert_export.exporter.exporting import Export
from bert_export.exporter.float_graph import make_float_graph
from bert_export.exporter.progress import Listener, Progress
from bert_export.exporter.refusal import Refusals
from bert_export.exporter.request import check_request, find_form, find_targets
from bert_export.exporter.source import Source, load_source
from bert_export.exporter.text_graphs import plan_texts, write_text_graphs
from bert_export.passes.lower_opset import LowerOpset
from bert_export.quantization.linear_layers import QUANTIZED_PREFIXES
from bert_export.target_table import TARGETS, find_target
from bert_export.targets.engines import (
    EngineBuilder,
    build_into,
    check_engines,
    find_profiles,
)
from bert_export.targets.weights import WEIGHTS_FILE, WeightStore
from bert_export.tasks import PostProcessing, TextForm, find_task

__all__ = ["build", "request_of"]


def build(
    path: str | Path,
    targets: str | Sequence[str] = (),
    *,
    precision: str | None = None,
    model: str | Path | None = None,
    calibration: str | Path | Records | None = None,
    eval_data: str | Path | Records | None = None,
    threads: int | None = None,
    engines: EngineOptions | None = None,
    engine_cache: str | Path | None = None,
    text_input: bool | TextForm = False,
    force: bool = False,
    build_engine: EngineBuilder = build_into,
    listener: Listener | None = None,
) -> Export:
    """Add targets to a bundle.

    Args:
        path: The bundle's folder; it is replaced when all is done, and untouched before.
        targets: Names in :data:`bert_export.targets.TARGETS`, or one.
        precision: Of the targets; when ``None``, the default engine's for new ones.
        model: Where the checkpoint is now; where the manifest says when ``None``.
        calibration: Where the calibration text is now, for INT8; as above. Or the records that were
            in memory then.
        eval_data: Where the data of the bundle's accuracy budget is now, likewise.
        threads: Threads inside an operator while calibrating and verifying.
        engines: For which GPUs and shapes targets with a builder of their own get their engine. One
            that the bundle serves already is then not exported again but built.
        engine_cache: Folder of engines that were built before; see
            :func:`bert_export.targets.engines.build_into`.
        text_input: Whether the engines get graphs that take texts too, see
            :class:`bert_export.bundle.ExportRequest`; as the bundle was exported when false.
        force: Make targets anew that the bundle serves already.
        build_engine: Builds the engines.
        listener: Hears how the export proceeds.

    Returns:
        The bundle's path, its new manifest and the stages of the export.

    Raises:
        InputError: Neither a target nor text input is named, or the bundle serves one already, or
            serves the one that is to be built in another precision.
        TargetError: There is nothing to do but build an engine, and nothing says for which GPU.
        CheckpointError: The checkpoint is not the one that the bundle was made of.
        DatasetError: The data of the bundle's accuracy budget is gone or another.
        BudgetError: A new engine does not keep the bundle's accuracy budget.
        BertExportError: Anything else that is wrong; the bundle is as it was.
    """
    folder = Path(path)
    targets = (targets,) if isinstance(targets, str) else tuple(dict.fromkeys(targets))
    manifest = before = read_bundle(folder)
    if not targets and text_input is False:
        raise InputError("targets is empty", expected="at least one", got="none")
    new_precision = precision or manifest.engine().precision
    for name in targets:
        find_target(name, new_precision)
    served = {engine.target for engine in manifest.engines}
    missing = [name for name in targets if force or name not in served]
    for engine in manifest.engines:
        if engine.target in targets and engine.target not in missing:
            _check_buildable(folder, engine, precision, engines)
    if engines is not None:
        check_engines(targets, engines)
        find_profiles(engines, manifest.tokenizer.max_length)
    manifest = _ask_for_texts(folder, manifest, text_input, new=missing)
    request = _request_for(manifest, missing, new_precision)
    request = msgspec.structs.replace(
        request,
        model=request.model if model is None else os.fspath(model),
        calibration=source_name(calibration) or request.calibration,
        eval_data=source_name(eval_data) or request.eval_data,
        threads=threads,
    )
    if missing:
        request = check_request(request)
        if records_of(eval_data) is None:
            _check_eval_data(folder, request)
    progress = Progress(listener)
    given = records_of(calibration), records_of(eval_data)
    with replace_folder(folder, force=True) as new:
        _copy_files(folder, new, manifest, dropped=missing)
        added = _add(folder, new, manifest, request, given, progress) if missing else manifest
        added = _add_texts(folder, new, added, progress)
        if engines is not None:
            built = build_engines(
                [engine for engine in added.engines if engine.target in targets],
                engines,
                folder=new,
                max_length=manifest.tokenizer.max_length,
                cache=engine_cache,
                build_engine=build_engine,
                progress=progress,
            )
            by_target = {engine.target: engine for engine in (*added.engines, *built)}
            added = msgspec.structs.replace(added, engines=tuple(by_target.values()))
        written = msgspec.structs.replace(added, files=hash_files(new))
        write_manifest(new, written)
        check_unchanged(folder, before, f"built for {', '.join(targets) or 'texts'}")
    return Export(folder, written, tuple(progress.stages))


def _ask_for_texts(
    folder: Path,
    manifest: Manifest,
    asked: bool | TextForm,  # noqa: FBT001 - as the request has it
    *,
    new: Sequence[str],
) -> Manifest:
    """The manifest with a request for graphs that take texts, where it is asked for.

    Args:
        folder: Of the bundle.
        manifest: As it is.
        asked: As :class:`bert_export.bundle.ExportRequest` has it.
        new: Targets that are made anew.

    Raises:
        InputError: The task or no target has such graphs, or there are some already.
        TokenizerError: The tokenizer has no exact form in a graph.
    """
    form = find_form(find_task(manifest.task), asked)
    if form is None:
        return manifest
    stay = [engine for engine in manifest.engines if engine.target not in new]
    able = [name for name, target in TARGETS.items() if target.text_session is not None]
    served = [*(engine.target for engine in stay), *new]
    if not any(name in able for name in served):
        raise InputError(
            "bundle serves no target that has a graph that takes texts",
            expected=" or ".join(able),
            got=", ".join(served),
            fix=f"Add --target {able[0]}",
        )
    for engine in stay:
        if engine.text is not None:
            raise InputError(
                f"bundle {folder} has a graph that takes texts already",
                expected="none",
                got=engine.text.graph.file,
                fix=f"Leave --text-input out, or add --target {engine.target} --force",
            )
    request = msgspec.structs.replace(request_of(manifest), text_input=form)
    plan_texts(folder, manifest)
    return msgspec.structs.replace(manifest, request=request)


def _add_texts(old: Path, new: Path, manifest: Manifest, progress: Progress) -> Manifest:
    """Write the graphs that take texts, where the bundle's request asks for them."""
    if manifest.request is None or manifest.request.text_input is False:
        return manifest
    if not (new / WEIGHTS_FILE).exists():
        graphs = [file for engine in manifest.engines for file in engine.graph_files]
        _lay_down_again(old, new, manifest, graphs)
    engines = write_text_graphs(new, manifest, manifest.engines, progress=progress)
    return msgspec.structs.replace(manifest, engines=engines)


def request_of(manifest: Manifest) -> ExportRequest:
    """The request that a bundle answers: the one that it keeps, or what its entries tell of it.

    Bundles of before schema version 3 keep none.
    """
    if manifest.request is not None:
        return manifest.request
    request = ExportRequest(
        task=manifest.task,
        model=manifest.model.source,
        max_length=manifest.tokenizer.max_length,
        precision=manifest.engine().precision,
        targets=tuple(engine.target for engine in manifest.engines),
        opset=_opset(manifest),
    )
    plan = _plan(manifest)
    return request if plan is None else _with_plan(request, plan)


def _request_for(manifest: Manifest, targets: Sequence[str], precision: str) -> ExportRequest:
    """The bundle's request for further targets; INT8 as its INT8 engines have it, if it has any."""
    request, plan = request_of(manifest), _plan(manifest)
    if plan is not None and request.precision != "int8":
        request = _with_plan(request, plan)
    request = request.for_targets(targets, precision)
    # Not every target has graphs that take texts; those that have get theirs at the end.
    return msgspec.structs.replace(request, engines=None, text_input=False)


def _with_plan(request: ExportRequest, plan: QuantizationPlan) -> ExportRequest:
    """The request with the options of INT8 that give this plan again."""
    search = plan.search
    return msgspec.structs.replace(
        request,
        calibration=None if plan.calibration is None else plan.calibration.source,
        quantization=_options(plan),
        cpu=plan.processor,
        max_drop=None if search is None else search.budget,
        eval_data=None if search is None else search.data,
        keep_best=search is not None and not search.met,
    )


def _check_buildable(
    folder: Path, engine: EngineRecord, precision: str | None, engines: EngineOptions | None
) -> None:
    """A target that is served already has an engine to get, of the graph that is there."""
    target = engine.target
    builder = find_target(target).builder
    if builder is not None and engines is None and engine.build.engine is None:
        named = builder.for_named_gpus
        raise TargetError(
            f"engine for {target} cannot be built",
            expected="an NVIDIA GPU, or --sm" if named else "an NVIDIA GPU",
            got="neither" if named else "none",
            fix="Name its GPU with --sm" if named else "Run it on the machine with the GPU",
        )
    if builder is None or engines is None:
        raise InputError(
            f"bundle {folder} serves the target {target} already",
            expected="another target",
            got=target,
            fix="Pass --force to make it anew",
        )
    if precision is not None and precision != engine.precision:
        raise InputError(
            f"bundle {folder} serves the target {target} in another precision",
            expected=engine.precision,
            got=precision,
            fix="Pass --force to make it anew",
        )


def _check_eval_data(folder: Path, request: ExportRequest) -> None:
    """New engines are measured against the bundle's budget, on the same data."""
    data = request.eval_data
    if data is not None and find_sample(data) is None and not Path(data).exists():
        raise DatasetError(
            f"accuracy budget of bundle {folder} cannot be measured",
            expected=f"the data that it was kept on, {data}",
            got="no such file",
            fix="Pass --eval with the place where it is now",
        )


def _copy_files(folder: Path, new: Path, manifest: Manifest, *, dropped: Sequence[str]) -> None:
    """Copy the bundle's files but for those of the engines that are made anew."""
    dead = {
        name for engine in manifest.engines if engine.target in dropped for name in engine.files
    }
    for name in manifest.files.keys() - dead:
        shutil.copyfile(folder / name, new / name)


def _add(
    old: Path,
    new: Path,
    manifest: Manifest,
    request: ExportRequest,
    given: tuple[Records | None, Records | None],
    progress: Progress,
) -> Manifest:
    """Run the stages for the request's targets, and write beside what the bundle holds.

    ``given`` are the records of calibration and of the accuracy budget that are in memory.
    """
    refusals = Refusals()
    plan = _plan(manifest) if request.precision == "int8" else None
    calibration_records, eval_records = given
    source = load_source(
        request,
        progress=progress,
        calibration_records=calibration_records,
        eval_records=eval_records,
    )
    _check_same(manifest, source, plan, new)
    float_graph = make_float_graph(source, progress=progress)
    calibrated = calibrate(
        float_graph, find_targets(request), folder=new, progress=progress, refusals=refusals
    )
    if plan is not None and plan.search is not None:
        calibrated = keep_known_layers(calibrated, plan.search, folder=new, progress=progress)
    others = [engine for engine in manifest.engines if engine.target not in request.targets]
    graphs = [file for engine in others for file in engine.graph_files]
    if len(others) < len(manifest.engines) or WEIGHTS_FILE not in manifest.files:
        _lay_down_again(old, new, manifest, graphs)
    written = write_engines(
        calibrated, folder=new, progress=progress, refusals=refusals, graphs=graphs
    )
    pipeline, rows, unseen = float_graph.pipeline, float_graph.rows, float_graph.unseen
    del float_graph, calibrated  # memory
    reference = answer_reference(source, pipeline, unseen, rows, progress=progress)
    engines = verify_engines(written, reference, folder=new, progress=progress, refusals=refusals)
    return msgspec.structs.replace(
        manifest,
        engines=(*others, *(engine.record for engine in engines)),
        auto_target=_still_true(manifest.auto_target, request.targets),
        versions=manifest.versions | source.manifest.versions,
    )


def _lay_down_again(old: Path, new: Path, manifest: Manifest, graphs: Sequence[str]) -> None:
    """Write the weights of some of the bundle's graphs into one file that holds no others.

    Tensors that only a graph made anew had go with it, and weights that an older bundle keeps under
    another name come to where the new graphs share them.
    """
    with WeightStore(new) as store:
        copy_graphs(old, graphs, store)
    named = {manifest.tokenizer.file, WEIGHTS_FILE}
    named |= {name for engine in manifest.engines for name in engine.files}
    for name in manifest.files.keys() - named:
        (new / name).unlink()


def _still_true(
    auto_target: AutoTargetRecord | None, made: Sequence[str]
) -> AutoTargetRecord | None:
    """How the default was found; none where a target that was tried for it is another now."""
    tried = (
        () if auto_target is None else (candidate.target for candidate in auto_target.candidates)
    )
    return auto_target if set(made).isdisjoint(tried) else None


def _check_same(
    manifest: Manifest, source: Source, plan: QuantizationPlan | None, new: Path
) -> None:
    """Before anything takes time: the sources are those that the bundle was made of.

    The engines of a bundle share tokenizer, labels and post-processing.
    """
    made = source.manifest
    if made.model.weights_sha256 != manifest.model.weights_sha256:
        raise CheckpointError(
            f"checkpoint {source.request.model} is not the one that the bundle was made of",
            expected=f"weights of sha256 {manifest.model.weights_sha256}",
            got=made.model.weights_sha256,
            fix="Pass --model with the right one, or export anew",
        )
    file = manifest.tokenizer.file
    (new / file).write_text(source.checkpoint.tokenizer.json, encoding="utf-8")
    pairs: dict[str, tuple[object, object]] = {
        "another tokenizer": (manifest.tokenizer, made.tokenizer),
        f"another {file}": (manifest.files[file], hash_file(new / file)),
        "other labels": (manifest.labels, made.labels),
        "other post-processing": (_parameters(manifest), _parameters(made)),
    }
    if plan is not None and plan.calibration is not None:
        sha256 = plan.calibration.sha256
        pairs["other calibration text"] = (sha256, source.calibration.sha256)
    for what, (expected, got) in pairs.items():
        if expected != got:
            raise BundleError(
                f"checkpoint would give the bundle {what}",
                expected=expected,
                got=got,
                fix="Export all targets anew",
            )
    search, data = None if plan is None else plan.search, source.eval_data
    if search is not None and data is not None and search.sha256 != data.sha256:
        raise DatasetError(
            f"data file {data.source} is not what the bundle's accuracy budget was kept on",
            expected=f"sha256 {search.sha256}",
            got=data.sha256,
            fix="Pass --eval with the right one, or export all targets anew",
        )


def _parameters(manifest: Manifest) -> PostProcessing:
    """The task's parameters, of which older bundles do not name the defaults."""
    return find_task(manifest.task).postprocessing.from_manifest(manifest.postprocessing)


def _plan(manifest: Manifest) -> QuantizationPlan | None:
    """The plan that the bundle's INT8 engines share; none where it has no such engine."""
    plans = [engine.quantization for engine in manifest.engines]
    return next((plan for plan in plans if plan is not None), None)


def _options(plan: QuantizationPlan) -> QuantizationOptions:
    """The options that give this plan again. A remedy that no layer shows did nothing."""
    searched = () if plan.search is None else plan.search.excluded_layers
    words = [layer for layer in plan.layers if "embeddings" in layer.layer]
    return QuantizationOptions(
        mode=plan.mode,
        observer=plan.observer or DEFAULT_OBSERVER,
        channel_shifting=any(layer.channel_shifted for layer in plan.layers),
        smoothquant=any(layer.smoothquant is not None for layer in plan.layers),
        channel_splitting=any(layer.split_channels for layer in plan.layers),
        gptq=any(layer.gptq for layer in plan.layers),
        bias_correction=any(layer.bias_corrected for layer in plan.layers),
        embeddings=any(layer.precision == "int8" for layer in words),
        excluded_layers={
            layer.layer: layer.reason or ""
            for layer in plan.layers
            if layer.precision != "int8"
            and layer.layer.startswith(QUANTIZED_PREFIXES)
            and layer.layer not in searched
        },
    )


def _opset(manifest: Manifest) -> int:
    """Of the trace, where a graph still has it; the default where every target lowered its own."""
    traced = [
        engine.graph.opset
        for engine in manifest.engines
        if not any(step.name == LowerOpset.name and step.rewritten for step in engine.passes)
    ]
    return max(traced, default=DEFAULT_OPSET)
