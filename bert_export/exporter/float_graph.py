"""The second stage: the head as a float graph, fused and pruned, and real text as its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import onnx_ir as ir
from torch import nn

from bert_export.bundle import QuantizationOptions, TensorSpec
from bert_export.errors import InputError
from bert_export.exporter.manifest_records import graph_record
from bert_export.exporter.progress import Progress
from bert_export.exporter.source import Source
from bert_export.exporter.unseen_text import UnseenText, make_unseen
from bert_export.passes.graph_pass import Outcome
from bert_export.passes.prepare import prepare
from bert_export.quantization.calibration.rows import CalibrationRows, check_known, make_rows
from bert_export.runtime.loading import open_pipeline
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Feeds, Outputs, Session
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks.interface import Axes
from bert_export.tracing import trace

__all__ = ["FloatGraph", "Tracer", "make_float_graph"]

_CALIBRATION_SEED = 0
_DEFAULTS = QuantizationOptions()


class Tracer(Protocol):
    """Makes a graph of a PyTorch head, as :func:`bert_export.tracing.trace` does."""

    def __call__(
        self,
        head: nn.Module,
        *,
        inputs: tuple[tuple[str, Axes], ...],
        outputs: tuple[tuple[str, Axes], ...],
        max_length: int,
        opset: int,
    ) -> ir.Model:
        """See :func:`bert_export.tracing.trace`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatGraph:
    """The graph that all engines are made of, in float32.

    Args:
        source: That it was made from.
        model: As :func:`bert_export.passes.prepare.prepare` leaves it; no stage changes it.
        outcomes: Of the passes that made it.
        pipeline: The task's, over no session yet; it encodes text and knows the graph's axes.
        rows: The calibration text as rows of the graph.
        unseen: Text that engines are verified on.
    """

    source: Source
    model: ir.Model
    outcomes: tuple[Outcome, ...]
    pipeline: Pipeline[Any, Any, Any]
    rows: CalibrationRows
    unseen: tuple[UnseenText, ...]

    def open_pipeline(self, session: Session) -> Pipeline[Any, Any, Any]:
        """The task's pipeline over a session of a graph that was made of this one."""
        return open_pipeline(
            self.source.task, self.source.manifest, self.pipeline.tokenizer, session
        )


def make_float_graph(source: Source, *, progress: Progress, tracer: Tracer = trace) -> FloatGraph:
    """Trace the head, fuse and prune its graph, and encode the calibration text for it.

    Args:
        source: See :class:`bert_export.exporter.source.Source`.
        progress: Hears of the stages ``trace`` and ``optimize``.
        tracer: Makes a graph of the head.

    Raises:
        TracingError: The head cannot be traced.
        PassError: A graph pass refused a site that its recipe demands.
        CalibrationError: A record of the calibration text does not fit the task.
    """
    request, task = source.request, source.task
    interface = source.interface
    # The text comes first: it may be refused, and the trace takes time.
    tokenizer = Tokenizer.from_json(source.checkpoint.tokenizer.json, source.manifest.tokenizer)
    text_pipeline = open_pipeline(task, source.manifest, tokenizer, _UnopenedSession((), ()))
    rows = make_rows(
        source.calibration, text_pipeline, seed=_CALIBRATION_SEED, hold_out=not source.is_built_in
    )
    if request.precision == "int8" and (request.quantization or _DEFAULTS).mode == "static":
        check_known(rows.record)
    unseen = make_unseen(rows, source.unseen, text_pipeline)
    # The graph.
    with progress.stage("trace") as facts:
        model = tracer(
            source.head,
            inputs=interface.input_axes,
            outputs=interface.output_axes,
            max_length=source.max_length,
            opset=request.opset,
        )
        facts["operators"] = len(model.graph)
    with progress.stage("optimize") as facts:
        outcomes = prepare(model, task=task, config_layers=source.config.attention_layers)
        facts |= {outcome.pass_name: outcome.rewritten for outcome in outcomes if outcome.rewritten}
        facts["operators"] = len(model.graph)
    graph = graph_record(model, "", request.opset)
    session = _UnopenedSession(graph.inputs, graph.outputs)
    session.longest = source.config.max_position_embeddings
    return FloatGraph(
        source=source,
        model=model,
        outcomes=outcomes,
        pipeline=open_pipeline(task, source.manifest, tokenizer, session),
        rows=rows,
        unseen=unseen,
    )


class _UnopenedSession(Session):
    """A session that only tells its interface: enough to encode rows."""

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs

    def run(self, feeds: Feeds) -> Outputs:
        raise InputError("graph is not written yet", got=f"feeds {', '.join(feeds)}")

    def close(self) -> None:
        """There is nothing to free."""
