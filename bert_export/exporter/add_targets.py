"""Further targets for a bundle that is there: the library call behind ``bert-export build``.

The checkpoint is exported again for the new target alone, with the settings that the bundle's
manifest holds, and what comes out is verified as ever. Its tensors are then laid beside those that
the bundle has: calibration with the same text and options gives the same INT8 weights, so that only
what is new takes space.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx_ir as ir

from bert_export.bundle import (
    MANIFEST,
    AutoTargetRecord,
    EngineRecord,
    Manifest,
    QuantizationPlan,
    hash_file,
    read_manifest,
    replace_folder,
    verify_files,
    write_manifest,
)
from bert_export.checkpoints import load_checkpoint
from bert_export.errors import BundleError, CheckpointError, InputError
from bert_export.exporter import Export, Listener, export
from bert_export.passes.lower_opset import LowerOpset
from bert_export.quantization.linear_layers import QUANTIZED_PREFIXES
from bert_export.quantization.options import QuantizationOptions
from bert_export.targets import find_target
from bert_export.targets.weights import WeightStore
from bert_export.tasks import PostProcessing, find_task
from bert_export.tracing import DEFAULT_OPSET

__all__ = ["Finish", "build"]

Finish = Callable[[Path, EngineRecord], EngineRecord]
"""Given the bundle's folder and an entry, builds what the target's own builder makes of its graph,
writes it into the folder and gives the entry that tells of it."""


def build(
    path: str | Path,
    targets: str | Sequence[str],
    *,
    precision: str | None = None,
    model: str | None = None,
    calibration: str | None = None,
    threads: int | None = None,
    force: bool = False,
    finish: Finish | None = None,
    listener: Listener | None = None,
) -> Export:
    """Add targets to a bundle.

    Args:
        path: The bundle's folder; it is replaced when all is done, and untouched before.
        targets: Names in :data:`bert_export.targets.TARGETS`, or one.
        precision: Of the targets; when ``None``, the default engine's for new ones.
        model: Where the checkpoint is now; where the manifest says when ``None``.
        calibration: Where the calibration text is now, for INT8; as above.
        threads: Threads inside an operator while calibrating and verifying.
        force: Make targets anew that the bundle serves already.
        finish: Called for every named target; one that the bundle serves already and that has a
            builder of its own is then not exported again but finished.
        listener: Hears how the export proceeds.

    Returns:
        The bundle's path, its new manifest and the stages of the export.

    Raises:
        InputError: No target is named, or the bundle serves one already, or serves the one that
            is to be finished in another precision.
        CheckpointError: The checkpoint is not the one that the bundle was made of.
        BertExportError: Anything else that is wrong; the bundle is as it was.
    """
    folder = Path(path)
    targets = (targets,) if isinstance(targets, str) else tuple(targets)
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    if not targets:
        raise InputError("targets is empty", expected="at least one", got="none")
    served = {engine.target for engine in manifest.engines}
    wanted = precision or manifest.engine().precision
    for name in targets:
        find_target(name, wanted)
    missing = [name for name in dict.fromkeys(targets) if force or name not in served]
    for engine in manifest.engines:
        if engine.target in targets and engine.target not in missing:
            _check_finishable(folder, engine, precision, finish)
    with replace_folder(folder, force=True) as new:
        dead = {
            name
            for engine in manifest.engines
            if engine.target in missing
            for name in _files(engine)
        }
        for name in manifest.files.keys() - dead:
            shutil.copyfile(folder / name, new / name)
        done = Export(folder, manifest, ())
        if missing:
            settings = _Settings(
                precision=wanted,
                model=model or manifest.model.source,
                calibration=calibration,
                threads=threads,
            )
            done = _add(folder, new, missing, settings, listener)
        engines = [
            finish(new, engine) if finish is not None and engine.target in targets else engine
            for engine in done.manifest.engines
        ]
        written = msgspec.structs.replace(
            done.manifest,
            engines=tuple(engines),
            files={
                file.name: hash_file(file)
                for file in sorted(new.iterdir())
                if file.name != MANIFEST
            },
        )
        write_manifest(new, written)
        if read_manifest(folder) != manifest:
            raise BundleError(
                f"bundle {folder} changed while it was built for {', '.join(targets)}",
                expected="the bundle that was read",
                got="another manifest",
                fix="Run it again",
            )
    return Export(folder, written, done.stages)


def _check_finishable(
    folder: Path, engine: EngineRecord, precision: str | None, finish: Finish | None
) -> None:
    """A target that is served already has an engine to get, of the graph that is there."""
    if finish is None or find_target(engine.target).builder is None:
        raise InputError(
            f"bundle {folder} serves the target {engine.target} already",
            expected="another target",
            got=engine.target,
            fix="Pass --force to make it anew",
        )
    if precision is not None and precision != engine.precision:
        raise InputError(
            f"bundle {folder} serves the target {engine.target} in another precision",
            expected=engine.precision,
            got=precision,
            fix="Pass --force to make it anew",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    precision: str
    model: str
    calibration: str | None
    threads: int | None


def _add(
    old: Path,
    new: Path,
    targets: Sequence[str],
    settings: _Settings,
    listener: Listener | None,
) -> Export:
    """Export for the targets and lay the result beside what the bundle holds."""
    manifest = read_manifest(old)
    _check_weights(manifest, settings.model)
    plan = _plan(manifest) if settings.precision == "int8" else None
    with tempfile.TemporaryDirectory(prefix=".build.", dir=new.parent) as holder:
        done = export(
            task=manifest.task,
            model=settings.model,
            output=Path(holder) / "bundle",
            precision=settings.precision,
            targets=targets,
            calibration=settings.calibration or _calibration(plan),
            quantization=None if plan is None else _options(plan),
            cpu=None if plan is None else plan.processor,
            max_length=manifest.tokenizer.max_length,
            opset=_opset(manifest),
            threads=settings.threads,
            listener=listener,
        )
        _check_same(manifest, done.manifest, plan)
        kept = [engine for engine in manifest.engines if engine.target not in targets]
        files = [engine.graph.file for engine in kept]
        # Tensors that only a graph made anew had go: those of the others are laid down again.
        anew = len(kept) < len(manifest.engines)
        with WeightStore(new, graphs=() if anew else files) as store:
            for folder, name in (
                *((old, name) for name in files if anew),
                *((done.path, engine.graph.file) for engine in done.manifest.engines),
            ):
                store.save(ir.load(folder / name), name)
    merged = msgspec.structs.replace(
        manifest,
        engines=(*kept, *done.manifest.engines),
        auto_target=_still_true(manifest.auto_target, targets),
        versions=manifest.versions | done.manifest.versions,
    )
    return Export(new, merged, done.stages)


def _still_true(
    auto_target: AutoTargetRecord | None, made: Sequence[str]
) -> AutoTargetRecord | None:
    """How the default was found; none where a target that was tried for it is another now."""
    tried = (
        () if auto_target is None else (candidate.target for candidate in auto_target.candidates)
    )
    return auto_target if set(made).isdisjoint(tried) else None


def _check_weights(manifest: Manifest, model: str) -> None:
    """Before anything takes time: these are the weights that the bundle was made of."""
    checkpoint = load_checkpoint(model, demo=find_task(manifest.task).demo)
    found = checkpoint.hash_tensors()
    if found != manifest.model.weights_sha256:
        raise CheckpointError(
            f"checkpoint {model} is not the one that the bundle was made of",
            expected=f"weights of sha256 {manifest.model.weights_sha256}",
            got=found,
            fix="Pass --model with the right one, or export anew",
        )


def _check_same(manifest: Manifest, made: Manifest, plan: QuantizationPlan | None) -> None:
    """The engines of a bundle share tokenizer, labels and post-processing."""
    pairs = {
        "another tokenizer": (manifest.tokenizer, made.tokenizer),
        "another tokenizer.json": (
            manifest.files[manifest.tokenizer.file],
            made.files[made.tokenizer.file],
        ),
        "other labels": (manifest.labels, made.labels),
        "other post-processing": (_parameters(manifest), _parameters(made)),
    }
    new_plan = made.engine().quantization
    if plan is not None and new_plan is not None:
        old_text, new_text = plan.calibration, new_plan.calibration
        pairs["other calibration text"] = (
            old_text and old_text.sha256,
            new_text and new_text.sha256,
        )
    for what, (expected, got) in pairs.items():
        if expected != got:
            raise BundleError(
                f"checkpoint would give the bundle {what}",
                expected=expected,
                got=got,
                fix="Export all targets anew",
            )


def _parameters(manifest: Manifest) -> PostProcessing:
    """The task's parameters, of which older bundles do not name the defaults."""
    return find_task(manifest.task).postprocessing.from_manifest(manifest.postprocessing)


def _plan(manifest: Manifest) -> QuantizationPlan | None:
    """The plan that the bundle's INT8 engines share; none where it has no such engine."""
    plans = [engine.quantization for engine in manifest.engines]
    return next((plan for plan in plans if plan is not None), None)


def _calibration(plan: QuantizationPlan | None) -> str | None:
    return None if plan is None or plan.calibration is None else plan.calibration.source


def _options(plan: QuantizationPlan) -> QuantizationOptions:
    """The options that give this plan again. A remedy that no layer shows did nothing."""
    words = [layer for layer in plan.layers if "embeddings" in layer.layer]
    return QuantizationOptions(
        mode=plan.mode,
        observer=plan.observer or QuantizationOptions().observer,
        channel_shifting=any(layer.channel_shifted for layer in plan.layers),
        smoothquant=any(layer.smoothquant is not None for layer in plan.layers),
        channel_splitting=any(layer.split_channels for layer in plan.layers),
        gptq=any(layer.gptq for layer in plan.layers),
        bias_correction=any(layer.bias_corrected for layer in plan.layers),
        embeddings=any(layer.precision == "int8" for layer in words),
        excluded_layers={
            layer.layer: layer.reason or ""
            for layer in plan.layers
            if layer.precision != "int8" and layer.layer.startswith(QUANTIZED_PREFIXES)
        },
    )


def _opset(manifest: Manifest) -> int:
    """Of the trace, where a graph still has it; the default where every target lowered its own."""
    kept = [
        engine.graph.opset
        for engine in manifest.engines
        if not any(step.name == LowerOpset.name and step.rewritten for step in engine.passes)
    ]
    return max(kept, default=DEFAULT_OPSET)


def _files(engine: EngineRecord) -> tuple[str, ...]:
    """An entry's own files."""
    built = engine.build.engine
    return (engine.graph.file,) if built is None else (engine.graph.file, built.file)
