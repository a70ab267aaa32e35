"""The last stages: an engine per target, written as a service reads it and compared with the head.

A target's graph is a copy of the calibrated float graph, quantized and brought to the target's
form. It is opened from where it was written, and must answer as the PyTorch head does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx_ir as ir

from bert_export.bundle import (
    BuildRecord,
    EngineRecord,
    QuantizationPlan,
)
from bert_export.exporter.calibrate import Calibrated, scheme_of
from bert_export.exporter.manifest_records import agreement_kind, graph_record, pass_record
from bert_export.exporter.progress import Progress
from bert_export.exporter.refusal import Refusals
from bert_export.exporter.source import Source
from bert_export.exporter.verification import FP32_TOLERANCE, Case, make_cases, verify
from bert_export.models.reference import run_head
from bert_export.passes.convert_precision import set_float32_nodes
from bert_export.passes.recipes import lower
from bert_export.quantization.calibration.rows import CalibrationRows
from bert_export.quantization.quantizer import quantize_graph
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Array, Feeds, Outputs, Session
from bert_export.targets import Target, find_target
from bert_export.targets.weights import WEIGHTS_FILE, WeightStore
from bert_export.tasks import Task
from bert_export.tasks.fill_mask import MASKED_POSITIONS

__all__ = [
    "Reference",
    "answer_reference",
    "copy_graphs",
    "open_trial",
    "verify_engines",
    "write_engine",
    "write_engines",
]


@dataclass(frozen=True, slots=True)
class Reference:
    """What every engine must answer.

    Args:
        source: Whose head answered.
        answers: Batches of real text and of awkward shapes, each with the head's outputs.
    """

    source: Source
    answers: tuple[tuple[Case, Outputs], ...]


def write_engines(
    calibrated: Calibrated,
    *,
    folder: Path,
    progress: Progress,
    refusals: Refusals,
    graphs: Sequence[str] = (),
) -> tuple[EngineRecord, ...]:
    """Write the graph of every target; their weights share one file.

    Args:
        calibrated: See :class:`bert_export.exporter.calibrate.Calibrated`.
        folder: Of the bundle.
        progress: Hears of the stages ``quantize`` and ``write`` of every target.
        refusals: What becomes of a target that cannot take its graph.
        graphs: Files in the folder whose weights are stored already and stay where they are.

    Returns:
        An entry per target for the manifest, without parity.

    Raises:
        QuantizationError: A graph cannot be quantized.
        PassError: A graph pass refused a site that the target's recipe demands.
        BertExportError: A target is refused.
    """
    with WeightStore(folder, graphs=graphs) as store:
        written = refusals.each(
            calibrated.targets,
            lambda target: write_engine(calibrated, target, store, progress=progress),
        )
    return tuple(written.values())


def write_engine(
    calibrated: Calibrated, target: Target, store: WeightStore, *, progress: Progress
) -> EngineRecord:
    """Quantize a copy of the float graph, bring it to a target's form and write it."""
    float_graph = calibrated.float_graph
    source = float_graph.source
    model = float_graph.model.clone()
    overflow = calibrated.overflow[target.name]
    set_float32_nodes(model, [record.node for record in overflow])
    plan = None
    if source.request.precision == "int8":
        plan = _quantize(model, calibrated, target, progress)
    with progress.stage("write") as facts:
        outcomes = float_graph.outcomes + lower(
            model,
            target=target.name,
            precision=source.request.precision,
            task=source.task,
            config_layers=source.config.num_hidden_layers,
        )
        target.load().check_graph(model)
        store.save(model, target.graph_file)
        facts["target"] = target.name
        facts["size"] = store.size
    return EngineRecord(
        target=target.name,
        precision=source.request.precision,
        graph=graph_record(model, target.graph_file, model.graph.opset_imports[""]),
        passes=tuple(map(pass_record, outcomes)),
        quantization=plan,
        build=BuildRecord(float32_nodes=overflow),
    )


@contextmanager
def open_trial(calibrated: Calibrated, target: Target, *, folder: Path) -> Iterator[Session]:
    """A session over the engine that would be written, for as long as it is scored.

    Args:
        calibrated: With the layers excluded that are to be tried.
        target: One of its targets.
        folder: In which it is written for that time.
    """
    threads = calibrated.float_graph.source.request.threads
    with tempfile.TemporaryDirectory(dir=folder) as name:
        trial = Path(name)
        with WeightStore(trial) as store:
            engine = write_engine(calibrated, target, store, progress=Progress())
        with target.load().open_written(trial, engine, threads=threads) as session:
            yield session


def answer_reference(
    source: Source,
    pipeline: Pipeline[Any, Any, Any],
    rows: CalibrationRows,
    *,
    progress: Progress,
) -> Reference:
    """Let the PyTorch head answer what every engine is compared on.

    Args:
        source: Whose head it is.
        pipeline: Of the float graph.
        rows: Of the float graph.
        progress: Hears of the stage ``reference``.
    """
    cases = make_cases(pipeline.tokenizer, rows.rows, shape_feeds=pipeline.graph_feeds)
    answers = []
    with progress.stage("reference") as facts:
        for case in cases:
            outputs = {
                name: _scored_rows(array, case.feeds, source.task)
                for name, array in run_head(source.head, case.feeds).items()
            }
            answers.append((case, outputs))
            progress.advance(len(answers), len(cases))
        facts["batches"] = len(cases)
    return Reference(source, tuple(answers))


def verify_engines(
    written: Sequence[EngineRecord],
    reference: Reference,
    *,
    folder: Path,
    progress: Progress,
    refusals: Refusals,
) -> tuple[EngineRecord, ...]:
    """Open every written graph as a service would, and compare it with the head.

    Args:
        written: Of :func:`write_engines`.
        reference: The head's answers.
        folder: Of the bundle; graphs and weights of engines that are refused leave it.
        progress: Hears of the stage ``verify`` of every engine.
        refusals: What becomes of an engine that does not answer as the head does.

    Returns:
        The entries, with parity.

    Raises:
        VerificationError: An engine answers otherwise.
        BundleError: An engine cannot be opened.
        BertExportError: Another refusal of a target.
    """
    engines = {engine.target: engine for engine in written}
    verified = refusals.each(
        [find_target(name) for name in engines],
        lambda target: _verify_engine(engines[target.name], reference, folder, progress),
    )
    refused = [engine for engine in written if engine.target not in verified]
    if refused:
        _remove_graphs(folder, refused, tuple(verified.values()))
    return tuple(verified.values())


def copy_graphs(folder: Path, names: Sequence[str], store: WeightStore) -> None:
    """Write graphs of a bundle's folder once more, with their weights, into a store."""
    for name in names:
        store.save(ir.load(folder / name), name)


def _quantize(
    model: ir.Model, calibrated: Calibrated, target: Target, progress: Progress
) -> QuantizationPlan:
    """Quantize a copy of the float graph in place; gives the plan of it."""
    float_graph, preparation = calibrated.float_graph, calibrated.preparation
    options, scheme = preparation.options, scheme_of(float_graph, target)
    with progress.stage("quantize") as facts:
        layers = quantize_graph(model, preparation, scheme=scheme)
        facts["layers"] = sum(layer.precision == "int8" for layer in layers)
    static = options.mode == "static"
    return QuantizationPlan(
        mode=options.mode,
        batch_invariant=static,
        processor=None if target.gpu else float_graph.source.request.cpu,
        weight_type="int8",
        weight_bits=scheme.weight_bits,
        activation_type=scheme.activation_type if static else "uint8",
        observer=options.observer if static else None,
        layers=tuple(layers),
        calibration=float_graph.rows.record if static else None,
        search=calibrated.search,
    )


def _verify_engine(
    engine: EngineRecord, reference: Reference, folder: Path, progress: Progress
) -> EngineRecord:
    """The entry with its parity."""
    source = reference.source
    per_token = frozenset(
        spec.name for spec in engine.graph.outputs if spec.shape[1:2] == ("sequence",)
    )
    module = find_target(engine.target).load()
    with (
        progress.stage("verify") as facts,
        module.open_written(folder, engine, threads=source.request.threads) as session,
    ):
        parity = verify(
            session.run,
            reference.answers,
            kind=agreement_kind(source.task, source.config),
            per_token=per_token,
            tolerance=FP32_TOLERANCE if engine.precision == "fp32" else None,
            advance=progress.advance,
        )
        facts["target"] = engine.target
        facts["difference"] = parity.max_abs_difference
        facts["agreement"] = parity.agreement
        facts["agreement_kind"] = parity.agreement_kind
    return msgspec.structs.replace(engine, parity=parity)


def _remove_graphs(
    folder: Path, refused: Sequence[EngineRecord], kept: Sequence[EngineRecord]
) -> None:
    """Remove graphs, and lay the weights of the others down again without theirs."""
    names = [engine.graph.file for engine in kept]
    with tempfile.TemporaryDirectory(dir=folder) as holder:
        with WeightStore(Path(holder)) as store:
            copy_graphs(folder, names, store)
        for name in (*names, WEIGHTS_FILE):
            (Path(holder) / name).replace(folder / name)
    for engine in refused:
        (folder / engine.graph.file).unlink()


def _scored_rows(array: Array, feeds: Feeds, task: Task) -> Array:
    """The head's logits at the tokens that the graph scores: the masks, or each row's last."""
    rows: Array = array
    if MASKED_POSITIONS in feeds:
        rows = array.reshape(-1, array.shape[-1])[feeds[MASKED_POSITIONS]]  # (M, V)
    elif task.name == "text-generation":
        rows = array[np.arange(len(array)), feeds["attention_mask"].sum(axis=1) - 1]  # (B, V)
    return rows
