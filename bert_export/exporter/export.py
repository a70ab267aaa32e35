"""From a checkpoint to a verified bundle: the library call behind the command."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import msgspec
import onnx_ir as ir

from bert_export.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    BuildRecord,
    EngineRecord,
    GraphRecord,
    Manifest,
    OverflowRecord,
    QuantizationPlan,
    SearchRecord,
    hash_file,
    replace_folder,
    write_manifest,
)
from bert_export.checkpoints import Checkpoint, load_checkpoint
from bert_export.datasets import DataSet, read_dataset
from bert_export.errors import InputError, TaskError
from bert_export.exporter.accuracy_budget import (
    Budget,
    check_budget,
    check_options,
    search_excluded_layers,
)
from bert_export.exporter.cases import Case, make_cases, scored_part
from bert_export.exporter.fp16_overflow import find_overflow
from bert_export.exporter.manifest_records import (
    TOKENIZER_FILE,
    checkpoint_facts,
    graph_record,
    labels_of,
    longest_row,
    model_record,
    pass_record,
    tokenizer_record,
)
from bert_export.exporter.verification import FP32_TOLERANCE, verify
from bert_export.models import BertConfig, BertHead, load_head
from bert_export.models.reference import run_head
from bert_export.passes.convert_precision import set_float32_nodes
from bert_export.passes.graph_pass import Outcome
from bert_export.passes.prepare import prepare
from bert_export.quantization.calibration.rows import CalibrationRows, make_rows, read_calibration
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.preparation import Preparation, prepare_int8
from bert_export.quantization.quantizer import quantize_graph
from bert_export.runtime.checks import check_whole, check_whole_or_none
from bert_export.runtime.loading import open_pipeline
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.processor import PROCESSORS, detect_processor
from bert_export.runtime.sessions.session import Feeds, Outputs, Session
from bert_export.runtime.tokenization import Tokenizer
from bert_export.targets import DEFAULT_TARGET, Target, find_target, load_target
from bert_export.targets.engines import EngineOptions, build_into
from bert_export.targets.lowering import fp16_conversion, lower
from bert_export.targets.weights import WeightStore
from bert_export.tasks import (
    TASKS,
    CheckpointFacts,
    Task,
    default_task,
    find_task,
)
from bert_export.tasks.interface import outputs_per_token
from bert_export.tracing import DEFAULT_OPSET, trace

__all__ = ["PRECISIONS", "Export", "Listener", "Stage", "export"]

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
_CALIBRATION_SEED = 0
_TOOLS = ("bert-export", "torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "tokenizers")


@dataclass(frozen=True, slots=True)
class Stage:
    """One finished stage of an export.

    Args:
        name: Such as ``trace`` or ``verify``.
        seconds: Wall time.
        facts: What a reader wants to know of it: ``size`` in bytes, ``difference``, ``agreement``.
    """

    name: str
    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)


class Listener(Protocol):
    """Hears how an export proceeds; the command line draws it."""

    def start(self, stage: str) -> None:
        """A stage begins."""
        ...

    def advance(self, done: int, total: int) -> None:
        """The running stage has done so much of its work."""
        ...

    def finish(self, stage: Stage) -> None:
        """The running stage has ended."""
        ...


class _Silent:
    def start(self, stage: str) -> None: ...
    def advance(self, done: int, total: int) -> None: ...
    def finish(self, stage: Stage) -> None: ...


@dataclass(frozen=True, slots=True)
class Export:
    """What an export wrote."""

    path: Path
    manifest: Manifest
    stages: tuple[Stage, ...]


def export(
    *,
    task: str | None = None,
    model: str | Path = "demo",
    output: str | Path | None = None,
    precision: str = "fp32",
    targets: str | Sequence[str] = (DEFAULT_TARGET,),
    calibration: str | None = None,
    quantization: QuantizationOptions | None = None,
    cpu: str | None = None,
    max_length: int | None = None,
    opset: int = DEFAULT_OPSET,
    threads: int | None = None,
    max_drop: float | None = None,
    eval_data: str | Path | None = None,
    keep_best: bool = False,
    engines: EngineOptions | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Export:
    """Export a checkpoint into a bundle.

    Args:
        task: A key of :data:`bert_export.tasks.TASKS`; read from the checkpoint's
            ``architectures`` when ``None``.
        model: A directory, a hub id, ``demo`` or ``demo:<name>``.
        output: The bundle's folder; ``<task>-<precision>`` here when ``None``.
        precision: One of :data:`PRECISIONS` that every target has.
        targets: Names in :data:`bert_export.targets.TARGETS`, or one; the first is the bundle's
            default.
        calibration: Name of a built-in set, or a file as
            :func:`bert_export.datasets.read_dataset` takes it.
        quantization: How INT8 is done; the defaults when ``None``.
        cpu: The kind of processor that INT8 is made for, one of
            :data:`bert_export.runtime.processor.PROCESSORS`; this machine's when ``None``.
        max_length: Tokens per row; the checkpoint's own when ``None``.
        opset: ONNX opset.
        threads: Threads inside an operator while calibrating and verifying.
        max_drop: The most that INT8 may cost on ``eval_data``, of the task's metric where it is
            labelled, else of the agreement with float; 0.005 is half a point. Layers go back to
            float until it holds.
        eval_data: A file as :func:`bert_export.datasets.read_dataset` takes it.
        keep_best: Whether the best that was found is written where ``max_drop`` cannot be kept.
        engines: For which GPUs and shapes targets with a builder of their own get their engine;
            they get their graph alone when ``None``.
        force: Replace a bundle that exists.
        listener: Hears how the export proceeds.

    Returns:
        Path, manifest and stages of the bundle.

    Raises:
        BertExportError: Anything that is wrong; nothing is left behind and what existed is kept.
    """
    max_length = check_whole_or_none("max_length", max_length, least=1)
    threads = check_whole_or_none("threads", threads, least=1)
    opset = check_whole("opset", opset, least=1)
    targets = (targets,) if isinstance(targets, str) else tuple(targets)
    model = os.fspath(model)
    if precision not in PRECISIONS:
        raise InputError(
            f"precision {precision!r} is unknown",
            expected=f"one of {', '.join(PRECISIONS)}",
            got=repr(precision),
        )
    if precision != "int8" and calibration is not None:
        raise InputError(
            f"calibration {calibration} has no use in {precision}",
            expected="precision int8",
            got=precision,
            fix="Add --int8 or drop --calibration",
        )
    if precision != "int8" and quantization is not None:
        raise InputError(
            f"options of INT8 have no use in {precision}",
            expected="precision int8",
            got=precision,
            fix="Add --int8 or drop --int8-mode and --calibration-method",
        )
    if quantization is not None and quantization.mode == "dynamic":
        others = [name for name in targets if name != DEFAULT_TARGET]
        useless = [
            *(f"target {name}" for name in others),
            *([] if calibration is None else [f"calibration {calibration}"]),
            *([] if max_drop is None else ["max_drop"]),
        ]
        if useless:
            raise InputError(
                f"{useless[0]} has no use for dynamic INT8",
                expected=f"target {DEFAULT_TARGET}, no calibration and no accuracy budget",
                fix="Use static INT8",
            )
    if cpu is not None and cpu not in PROCESSORS:
        raise InputError(
            f"cpu {cpu!r} is unknown", expected=f"one of {', '.join(PROCESSORS)}", got=repr(cpu)
        )
    chosen_targets = tuple(find_target(name, precision) for name in dict.fromkeys(targets))
    if not chosen_targets:
        raise InputError("targets is empty", expected="at least one", got="none")
    for target in chosen_targets:
        load_target(target).check_installed()
    check_options(precision, max_drop=max_drop, eval_data=eval_data, keep_best=keep_best)
    run = _Run(listener or _Silent())
    with run.stage("load") as facts:
        checkpoint, chosen = _load(model, task)
        config = BertConfig.from_dict(checkpoint.config)
        head = load_head(chosen.head, checkpoint)
        facts["model"] = checkpoint.source
        facts["parameters"] = sum(parameter.numel() for parameter in head.parameters())
    budget = None
    if max_drop is not None and eval_data is not None:
        budget = Budget(max_drop, read_dataset(chosen, eval_data), keep_best)
    path = Path(output or f"{chosen.name}-{precision}")
    with replace_folder(path, force=force) as folder:
        manifest = _export_into(
            folder,
            _Job(
                task=chosen,
                checkpoint=checkpoint,
                config=config,
                head=head,
                precision=precision,
                targets=chosen_targets,
                calibration=read_calibration(chosen, calibration),
                quantization=quantization or QuantizationOptions(),
                cpu=cpu or detect_processor(),
                max_length=longest_row(chosen, config, checkpoint, max_length),
                opset=opset,
                threads=threads,
                budget=budget,
                engines=engines,
            ),
            run,
        )
    return Export(path, manifest, tuple(run.stages))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One export's settled choices."""

    task: Task
    checkpoint: Checkpoint
    config: BertConfig
    head: BertHead
    precision: str
    targets: tuple[Target, ...]
    calibration: DataSet
    quantization: QuantizationOptions
    cpu: str
    max_length: int
    opset: int
    threads: int | None
    budget: Budget | None
    engines: EngineOptions | None

    @property
    def facts(self) -> CheckpointFacts:
        """What the task asks of the checkpoint."""
        return checkpoint_facts(self.config, self.checkpoint)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What all targets start from.

    Args:
        model: The float graph, as :func:`bert_export.passes.prepare.prepare` leaves it.
        outcomes: Of the passes that made it.
        pipeline: Over no session yet; encodes text and knows the graph's axes.
        rows: Real text.
        folder: The bundle's, in which graphs are opened.
        overflow: By target, the nodes of its FP16 graph that must stay FP32.
    """

    model: ir.Model
    outcomes: tuple[Outcome, ...]
    pipeline: Pipeline[Any, Any, Any]
    rows: CalibrationRows
    folder: Path
    overflow: Mapping[str, tuple[OverflowRecord, ...]] = field(default_factory=dict)


class _Run:
    """Times the stages and tells the listener."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        self.listener.start(name)
        facts: dict[str, Any] = {}
        start = time.perf_counter()
        yield facts
        stage = Stage(name, time.perf_counter() - start, facts)
        self.stages.append(stage)
        self.listener.finish(stage)


def _load(model: str, name: str | None) -> tuple[Checkpoint, Task]:
    """The checkpoint and the task that is asked for, or that it was trained for."""
    task = find_task(name) if name is not None else None
    if task is not None and task.demo is None and model == "demo":
        raise TaskError(
            f"task {task.name} has no demonstration checkpoint",
            expected="a directory or a hub id",
            fix="Pass --model",
        )
    if task is None and model == "demo":
        raise TaskError("task is not given", expected=f"--task, one of {', '.join(TASKS)}")
    checkpoint = load_checkpoint(model, demo=task.demo if task else None)
    if task is not None:
        return checkpoint, task
    task = default_task(checkpoint.architectures, sentence_modules=checkpoint.sentence is not None)
    if task is not None:
        return checkpoint, task
    raise TaskError(
        f"checkpoint {model} does not say which task it is for",
        expected="a BERT head in the architectures of its config.json",
        got=", ".join(checkpoint.architectures) or "none",
        fix="Pass --task",
    )


def _export_into(folder: Path, job: _Job, run: _Run) -> Manifest:
    """Fill an empty folder with the bundle."""
    record = tokenizer_record(job.checkpoint, job.max_length)
    (folder / TOKENIZER_FILE).write_text(job.checkpoint.tokenizer.json, encoding="utf-8")
    tokenizer = Tokenizer.from_file(folder / TOKENIZER_FILE, record)
    with run.stage("trace") as facts:
        interface = job.task.interface(job.facts)
        model = trace(
            job.head,
            inputs=interface.input_axes,
            outputs=interface.output_axes,
            max_length=record.max_length,
            opset=job.opset,
        )
        facts["operators"] = len(model.graph)
    with run.stage("optimize") as facts:
        outcomes = prepare(model, task=job.task, config_layers=job.config.num_hidden_layers)
        prepared_graph = graph_record(model, "", job.opset)
        facts |= {outcome.pass_name: outcome.rewritten for outcome in outcomes if outcome.rewritten}
        facts["operators"] = len(model.graph)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        task=job.task.name,
        labels=labels_of(job.task, job.config),
        model=model_record(job.task, job.config, job.checkpoint, job.head),
        tokenizer=record,
        postprocessing=job.task.postprocessing.from_checkpoint(job.facts).to_manifest(),
        default_target=job.targets[0].name,
        engines=(),
        versions={name: version(name) for name in _TOOLS},
        files={},
    )
    pipeline = open_pipeline(job.task, manifest, tokenizer, _Unopened(prepared_graph))
    rows = _calibration_rows(job, pipeline)
    prepared = _Prepared(model, outcomes, pipeline, rows, folder)
    preparation = _calibrate(prepared, job, run)
    overflow = {target.name: _find_overflow(prepared, target, job, run) for target in job.targets}
    prepared = replace(prepared, overflow=overflow)
    search = _search(
        prepared, job, preparation, partial(open_pipeline, job.task, manifest, tokenizer), run
    )
    if search is not None:
        preparation = preparation.with_excluded_layers(
            check_budget(search, keep_best=job.budget is not None and job.budget.keep_best)
        )
    with WeightStore(folder) as store:
        engines = [
            _emit(prepared, target, store, job, preparation, search, run) for target in job.targets
        ]
    del model, prepared  # memory
    answers = _answer(pipeline, rows, job, run)
    engines = [_verify(folder, engine, job, answers, run) for engine in engines]
    if job.engines is not None:
        with run.stage("build") as facts:
            engines = [
                build_into(folder, engine, options=job.engines, max_length=record.max_length)
                for engine in engines
            ]
            facts["engines"] = sum(engine.build.engine is not None for engine in engines)
    manifest = msgspec.structs.replace(
        manifest,
        engines=tuple(engines),
        files={
            path.name: hash_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST
        },
    )
    write_manifest(folder, manifest)
    return manifest


def _calibrate(prepared: _Prepared, job: _Job, run: _Run) -> Preparation:
    """What calibration finds out of the prepared float graph, for all targets."""
    if job.precision != "int8" or job.quantization.mode != "static":
        return Preparation(job.quantization)
    with run.stage("calibrate") as facts:
        preparation = prepare_int8(
            prepared.model,
            prepared.rows.rows,
            job.quantization,
            integer_query_key=any(
                load_target(target).scheme(job.cpu).integer_query_key for target in job.targets
            ),
            folder=prepared.folder,
            feeds=prepared.pipeline.feeds,
            threads=job.threads,
            advance=run.listener.advance,
        )
        facts["set"] = prepared.rows.record.source
        facts["examples"] = prepared.rows.record.examples
    return preparation


def _search(
    prepared: _Prepared,
    job: _Job,
    preparation: Preparation,
    open_: Callable[[Session], Pipeline[Any, Any, Any]],
    run: _Run,
) -> SearchRecord | None:
    """The layers that must stay in float, so that every target keeps the budget."""
    if job.budget is None:
        return None
    with run.stage("search") as facts:
        search = search_excluded_layers(
            prepared.model,
            preparation,
            load_target(find_target(DEFAULT_TARGET)).scheme(job.cpu),
            job.budget,
            open_=open_,
            engines=partial(_open_engines, prepared, job),
            folder=prepared.folder,
            threads=job.threads,
            advance=run.listener.advance,
        )
        facts["drop"] = search.path[search.chosen].drop
        facts["metric"] = search.metric
        facts["layers in float"] = len(search.excluded_layers)
    return search


def _open_engines(prepared: _Prepared, job: _Job, preparation: Preparation) -> Generator[Session]:
    """What would be written, target by target, for as long as it is scored."""
    for target in job.targets:
        with tempfile.TemporaryDirectory(dir=prepared.folder) as name:
            folder = Path(name)
            with WeightStore(folder) as store:
                engine = _emit(prepared, target, store, job, preparation, None, _Run(_Silent()))
            yield load_target(target).open_written(folder, engine, threads=job.threads)


def _emit(
    prepared: _Prepared,
    target: Target,
    store: WeightStore,
    job: _Job,
    preparation: Preparation,
    search: SearchRecord | None,
    run: _Run,
) -> EngineRecord:
    """Quantize a copy of the prepared graph, bring it to the target's form and write it."""
    model = prepared.model.clone()
    overflow = prepared.overflow[target.name]
    set_float32_nodes(model, [found.node for found in overflow])
    plan = None
    if job.precision == "int8":
        with run.stage("quantize") as facts:
            scheme = load_target(target).scheme(job.cpu)
            layers = quantize_graph(model, preparation, scheme=scheme)
            facts["layers"] = sum(layer.precision == "int8" for layer in layers)
        static = job.quantization.mode == "static"
        plan = QuantizationPlan(
            mode=job.quantization.mode,
            batch_invariant=static,
            processor=None if target.gpu else job.cpu,
            weight_type="int8",
            weight_bits=scheme.weight_bits,
            activation_type=scheme.activation_type if static else "uint8",
            observer=job.quantization.observer if static else None,
            layers=tuple(layers),
            calibration=prepared.rows.record if static else None,
            search=search,
        )
    with run.stage("write") as facts:
        outcomes = prepared.outcomes + lower(
            model,
            target=target.name,
            precision=job.precision,
            task=job.task,
            config_layers=job.config.num_hidden_layers,
        )
        load_target(target).check_graph(model)
        store.save(model, target.graph_file)
        facts["target"] = target.name
        facts["size"] = store.size
    return EngineRecord(
        target=target.name,
        precision=job.precision,
        graph=graph_record(model, target.graph_file, model.graph.opset_imports[""]),
        passes=tuple(map(pass_record, outcomes)),
        quantization=plan,
        build=BuildRecord(float32_nodes=overflow),
    )


def _find_overflow(
    prepared: _Prepared, target: Target, job: _Job, run: _Run
) -> tuple[OverflowRecord, ...]:
    """Nodes of a target's FP16 graph that must stay FP32; none where it has no FP16."""
    conversion = fp16_conversion(target.name, job.precision)
    if conversion is None:
        return ()
    with run.stage("overflow") as facts:
        twin = prepared.model.clone()
        lower(
            twin,
            target=target.name,
            precision="fp32",
            task=job.task,
            config_layers=job.config.num_hidden_layers,
        )
        kept = {node.name for node in conversion.kept_nodes(twin)}
        found = find_overflow(
            twin,
            prepared.rows.rows,
            folder=prepared.folder,
            feeds=prepared.pipeline.feeds,
            threads=job.threads,
            advance=run.listener.advance,
        )
        overflow = tuple(one for one in found if one.node not in kept)
        facts["target"] = target.name
        facts["nodes kept in fp32"] = len(overflow)
    return overflow


def _answer(
    pipeline: Pipeline[Any, Any, Any], rows: CalibrationRows, job: _Job, run: _Run
) -> list[tuple[Case, Outputs]]:
    """What every target is verified with, and the PyTorch head's outputs."""
    cases = make_cases(pipeline.tokenizer, rows.rows, feeds=pipeline.feeds)
    answers = []
    with run.stage("reference") as facts:
        for case in cases:
            found = run_head(job.head, case.feeds)
            pruned = {
                name: scored_part(part, case.feeds, job.task.scored_positions)
                for name, part in found.items()
            }
            answers.append((case, pruned))
            run.listener.advance(len(answers), len(cases))
        facts["batches"] = len(cases)
    return answers


def _verify(
    folder: Path,
    engine: EngineRecord,
    job: _Job,
    answers: Sequence[tuple[Case, Outputs]],
    run: _Run,
) -> EngineRecord:
    """Open the written graph as a service would, and compare it with the PyTorch head."""
    module = load_target(find_target(engine.target))
    with (
        run.stage("verify") as facts,
        module.open_written(folder, engine, threads=job.threads) as session,
    ):
        parity = verify(
            session.run,
            answers,
            kind=job.task.agreement(job.facts),
            per_token=outputs_per_token(engine.graph.outputs),
            tolerance=FP32_TOLERANCE if job.precision == "fp32" else None,
            advance=run.listener.advance,
        )
        facts["target"] = engine.target
        facts["difference"] = parity.max_abs_difference
        facts["agreement"] = parity.agreement
        facts["agreement_kind"] = parity.agreement_kind
    return msgspec.structs.replace(engine, parity=parity)


def _calibration_rows(job: _Job, pipeline: Pipeline[Any, Any, Any]) -> CalibrationRows:
    """Rows of real text, for calibration and for the parity check alike."""
    return make_rows(job.calibration, pipeline, seed=_CALIBRATION_SEED)


class _Unopened:
    """A session that only tells its interface: enough to encode calibration rows."""

    def __init__(self, graph: GraphRecord) -> None:
        self.inputs, self.outputs = graph.inputs, graph.outputs

    def run(self, feeds: Feeds) -> Outputs:
        raise InputError("graph is not written yet", got=f"feeds {', '.join(feeds)}")

    def close(self) -> None: ...
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...
