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
import onnx_ir as ir

from bert_export.bundle import (
    BuildRecord,
    EngineOptions,
    EngineRecord,
    GraphRecord,
    QuantizationPlan,
)
from bert_export.exporter.calibrate import Calibrated, scheme_of
from bert_export.exporter.cases import (
    Case,
    cached_cases,
    make_cases,
    scored_part,
    text_batches,
)
from bert_export.exporter.manifest_records import graph_record, pass_record
from bert_export.exporter.progress import Progress
from bert_export.exporter.refusal import Refusals
from bert_export.exporter.source import Source
from bert_export.exporter.unseen_text import UnseenText, spread
from bert_export.exporter.verification import FP32_TOLERANCE, answers_of, describe_texts, verify
from bert_export.models.reference import run_head
from bert_export.passes.convert_precision import set_float32_nodes
from bert_export.passes.split_halves import has_halves, split_halves
from bert_export.quantization.calibration.rows import CalibrationRows
from bert_export.quantization.quantizer import quantize_graph
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.encoder_decoder import open_halves
from bert_export.runtime.sessions.session import Feeds, Outputs, Session
from bert_export.targets import Target, load_target
from bert_export.targets.engines import EngineBuilder
from bert_export.targets.lowering import lower
from bert_export.targets.weights import WEIGHTS_FILE, WeightStore
from bert_export.tasks.interface import (
    cached_outputs,
    inner_outputs,
    kept_outputs,
    outputs_per_token,
)

__all__ = [
    "Engine",
    "Reference",
    "answer_reference",
    "build_engines",
    "copy_graphs",
    "open_trial",
    "open_written",
    "verify_engines",
    "write_engine",
    "write_engines",
]

_ANSWERED_ROWS = 64


@dataclass(frozen=True, slots=True)
class Engine:
    """What one target serves.

    Args:
        target: That it is for.
        record: Its graph, how it came about, and once it is verified its parity.
    """

    target: Target
    record: EngineRecord


@dataclass(frozen=True, slots=True)
class Reference:
    """What every engine must answer.

    Args:
        source: Whose head answered.
        answers: Batches of real text and of awkward shapes, each with the head's outputs.
        warnings: What the head's answers to the calibration text make doubtful, a sentence each.
    """

    source: Source
    answers: tuple[tuple[Case, Outputs], ...]
    warnings: tuple[str, ...] = ()


def write_engines(
    calibrated: Calibrated,
    *,
    folder: Path,
    progress: Progress,
    refusals: Refusals,
    graphs: Sequence[str] = (),
) -> tuple[Engine, ...]:
    """Write the graph of every target; their weights share one file.

    Args:
        calibrated: See :class:`bert_export.exporter.calibrate.Calibrated`.
        folder: Of the bundle.
        progress: Hears of the stages ``quantize`` and ``write`` of every target.
        refusals: What becomes of a target that cannot take its graph.
        graphs: Files in the folder whose weights are stored already and stay where they are.

    Returns:
        An engine per target, not verified yet.

    Raises:
        QuantizationError: A graph cannot be quantized.
        PassError: A graph pass refused a site that the target's recipe demands.
        BertExportError: A target is refused.
    """
    with WeightStore(folder, graphs=graphs) as store:
        engines = refusals.each(
            calibrated.targets,
            lambda target: write_engine(calibrated, target, store, progress=progress),
        )
    return tuple(engines.values())


def write_engine(
    calibrated: Calibrated, target: Target, store: WeightStore, *, progress: Progress
) -> Engine:
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
            config_layers=source.config.attention_layers,
        )
        load_target(target).check_graph(model)
        graph = _save(model, target, store, positions=source.config.max_position_embeddings)
        facts["target"] = target.name
        facts["size"] = store.size
    record = EngineRecord(
        target=target.name,
        precision=source.request.precision,
        graph=graph,
        passes=tuple(map(pass_record, outcomes)),
        quantization=plan,
        build=BuildRecord(float32_nodes=overflow),
    )
    return Engine(target, record)


def _save(model: ir.Model, target: Target, store: WeightStore, *, positions: int) -> GraphRecord:
    """Write a graph in its target's form; an encoder-decoder's is two files from here on."""
    opset = model.graph.opset_imports[""]
    encoder = None
    longest = None
    if has_halves(model):
        first, model = split_halves(model)
        store.save(first, target.encoder_file)
        encoder = graph_record(first, target.encoder_file, opset)
        longest = positions
    store.save(model, target.graph_file)
    return graph_record(model, target.graph_file, opset, longest=longest, encoder=encoder)


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
        with open_written(target, trial, engine.record, threads=threads) as session:
            yield session


def answer_reference(
    source: Source,
    pipeline: Pipeline[Any, Any, Any],
    unseen: Sequence[UnseenText],
    rows: CalibrationRows,
    *,
    progress: Progress,
) -> Reference:
    """Let the PyTorch head answer what every engine is compared on.

    Args:
        source: Whose head it is.
        pipeline: Of the float graph.
        unseen: Of the float graph.
        rows: Of the float graph: where they set the ranges of INT8, some are answered too, to see
            whether the head tells them apart.
        progress: Hears of the stage ``reference``.
    """
    compared = make_cases(
        pipeline.tokenizer,
        unseen,
        feeds=pipeline.feeds,
        vocab_size=pipeline.manifest.model.vocab_size,
    )
    calibrating = []
    if source.request.precision == "int8":
        count = max(1, _ANSWERED_ROWS * len(rows.records) // len(rows.rows))
        some = spread(rows.records, count)
        calibrating = [
            Case("calibration", batch) for batch in text_batches(some, feeds=pipeline.feeds)
        ]
    answers: list[tuple[Case, Outputs]] = []
    interface = source.interface
    caches = kept_outputs(interface.outputs)
    beside = caches | inner_outputs(interface.outputs)

    def answer(feeds: Feeds) -> Outputs:
        return run_head(
            source.head,
            feeds,
            inputs=[tensor.name for tensor in interface.inputs],
            outputs=[tensor.name for tensor in interface.outputs],
        )

    def scored(case: Case, outputs: Outputs, left_out: frozenset[str]) -> tuple[Case, Outputs]:
        return case, {
            name: scored_part(array, case.feeds, source.task.scored_positions)
            if name not in beside
            else array
            for name, array in outputs.items()
            if name not in left_out
        }

    with progress.stage("reference") as facts:
        # No cache is kept, and of few batches inner values: a token's are as large as thousands of
        # its ids.
        for case, is_whole in (*_with_inner(compared), *((case, False) for case in calibrating)):
            answers.append(scored(case, answer(case.feeds), caches if is_whole else beside))
            progress.advance(len(answers), len(compared) + len(calibrating))
        if caches:
            following = cached_cases(
                answer,
                pipeline.tokenizer,
                unseen[0].rows[0],
                feeds=pipeline.feeds,
                interface=interface,
                vocab_size=pipeline.manifest.model.vocab_size,
                positions=source.config.max_position_embeddings,
            )
            added = [scored(case, outputs, frozenset()) for case, outputs in following]
            answers[len(compared) : len(compared)] = added
            compared += [case for case, _ in added]
        facts["batches"] = len(compared)
    warnings = rows.record.warnings if calibrating else ()
    if calibrating:
        given = answers_of(
            answers[len(compared) :],
            kind=source.task.agreement(source.facts),
            per_token=pipeline.per_token,
            labels=source.manifest.labels,
        )
        if given.only is not None:
            doubt = (
                f"the head gives {given.only}, on the calibration set {rows.record.source}: its "
                "ranges may not hold for text with other answers"
            )
            warnings += (doubt,)
    return Reference(source, tuple(answers[: len(compared)]), warnings)


def _with_inner(cases: Sequence[Case]) -> Iterator[tuple[Case, bool]]:
    """Each case, and whether inner values are compared on it: one batch of each text is enough."""
    texts: set[str] = set()
    for case in cases:
        yield case, case.text is None or case.text.source not in texts
        if case.text is not None:
            texts.add(case.text.source)


def verify_engines(
    engines: Sequence[Engine],
    reference: Reference,
    *,
    folder: Path,
    progress: Progress,
    refusals: Refusals,
) -> tuple[Engine, ...]:
    """Open every written graph as a service would, and compare it with the head.

    Args:
        engines: Of :func:`write_engines`.
        reference: The head's answers.
        folder: Of the bundle; graphs and weights of engines that are refused leave it.
        progress: Hears of the stage ``verify`` of every engine.
        refusals: What becomes of an engine that does not answer as the head does.

    Returns:
        Those that do, with their parity.

    Raises:
        VerificationError: An engine answers otherwise.
        BundleError: An engine cannot be opened.
        BertExportError: Another refusal of a target.
    """
    written = {engine.target.name: engine for engine in engines}
    verified = refusals.each(
        [engine.target for engine in engines],
        lambda target: _verify_engine(written[target.name], reference, folder, progress),
    )
    refused = [engine for name, engine in written.items() if name not in verified]
    if refused:
        _remove_graphs(folder, refused, tuple(verified.values()))
    return tuple(verified.values())


def open_written(
    target: Target, folder: Path, record: EngineRecord, *, threads: int | None
) -> Session:
    """Open a written engine as its target verifies it, both graphs of an encoder-decoder."""
    module = load_target(target)

    def open_graph(graph: GraphRecord) -> Session:
        return module.open_written(
            folder, msgspec.structs.replace(record, graph=graph), threads=threads
        )

    return open_halves(record.graph, open_graph)


def build_engines(
    records: Sequence[EngineRecord],
    options: EngineOptions,
    *,
    folder: Path,
    max_length: int,
    cache: str | Path | None,
    build_engine: EngineBuilder,
    progress: Progress,
) -> tuple[EngineRecord, ...]:
    """Let the builders of targets that have one make their engines of the graphs.

    Args:
        records: Entries of a bundle; those of other targets come back as they are.
        options: For which GPUs and shapes.
        folder: Of the bundle.
        max_length: Longest row of the bundle, in tokens.
        cache: Folder of engines that were built before.
        build_engine: Builds one engine, as :func:`bert_export.targets.engines.build_into` does.
        progress: Hears of the stage ``build``.

    Returns:
        The entries, with what was built.

    Raises:
        BertExportError: See :func:`bert_export.targets.engines.build_into`.
    """
    with progress.stage("build") as facts:
        built = tuple(
            build_engine(
                folder,
                record,
                options=options,
                max_length=max_length,
                cache=None if cache is None else Path(cache),
            )
            for record in records
        )
        facts["engines"] = sum(record.build.engine is not None for record in built)
    return built


def copy_graphs(folder: Path, names: Sequence[str], store: WeightStore) -> None:
    """Write graphs of a bundle's folder once more, with their weights, into a store."""
    for name in names:
        store.copy(folder, name)


def _quantize(
    model: ir.Model, calibrated: Calibrated, target: Target, progress: Progress
) -> QuantizationPlan:
    """Quantize a copy of the float graph in place; gives the plan of it."""
    float_graph, int8 = calibrated.float_graph, calibrated.int8
    options, scheme = int8.options, scheme_of(float_graph, target)
    with progress.stage("quantize") as facts:
        layers = quantize_graph(model, int8, scheme=scheme)
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
    engine: Engine, reference: Reference, folder: Path, progress: Progress
) -> Engine:
    """The engine with its parity."""
    source, record = reference.source, engine.record
    with (
        progress.stage("verify") as facts,
        open_written(engine.target, folder, record, threads=source.request.threads) as session,
    ):
        parity = verify(
            session.run,
            reference.answers,
            kind=source.task.agreement(source.facts),
            per_token=outputs_per_token(session.outputs),
            tolerance=FP32_TOLERANCE if record.precision == "fp32" else None,
            labels=source.manifest.labels,
            caches=kept_outputs(session.outputs),
            grown=cached_outputs(session.outputs),
            inner=inner_outputs(session.outputs),
            advance=progress.advance,
        )
        parity = msgspec.structs.replace(parity, warnings=reference.warnings + parity.warnings)
        facts["target"] = engine.target.name
        facts["difference"] = parity.max_abs_difference
        facts["agreement"] = parity.agreement
        facts["agreement_kind"] = parity.agreement_kind
        facts["unseen text"] = describe_texts(parity)
    return Engine(engine.target, msgspec.structs.replace(record, parity=parity))


def _remove_graphs(folder: Path, refused: Sequence[Engine], others: Sequence[Engine]) -> None:
    """Remove graphs, and lay the weights of the others down again without theirs."""
    names = [graph.file for engine in others for graph in engine.record.graph.graphs]
    with tempfile.TemporaryDirectory(dir=folder) as holder:
        with WeightStore(Path(holder)) as store:
            copy_graphs(folder, names, store)
        for name in (*names, WEIGHTS_FILE):
            (Path(holder) / name).replace(folder / name)
    for engine in refused:
        for graph in engine.record.graph.graphs:
            (folder / graph.file).unlink()
