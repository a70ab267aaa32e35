"""The head as a float graph, and the calibration text as its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.errors import InputError, TracingError
from bert_export.exporter.float_graph import FloatGraph, make_float_graph
from bert_export.exporter.progress import Progress
from bert_export.exporter.source import Source
from bert_export.passes.open_graph import open_graph
from bert_export.tracing import trace
from tests.exporter.conftest import RecordingListener


def test_the_tracer_is_told_the_interface(
    read: Callable[..., Source], listener: RecordingListener
) -> None:
    told: list[dict[str, Any]] = []

    def tracer(head: Any, **options: Any) -> ir.Model:
        told.append(options)
        return trace(head, **options)

    source = read(max_length=16, opset=22)
    graph = make_float_graph(source, progress=Progress(listener), tracer=tracer)
    (options,) = told
    assert options["max_length"] == 16
    assert options["opset"] == 22
    assert [name for name, _ in options["inputs"]] == [
        "input_ids",
        "attention_mask",
        "token_type_ids",
    ]
    assert options["outputs"] == (("logits", ("batch", "labels")),)
    assert listener.stages == ["trace", "optimize"]
    assert graph.model.graph.opset_imports[""] == 22
    assert max(len(row) for row in graph.rows.rows) <= 16


def test_it_is_fused_and_pruned(graph_of: Callable[..., FloatGraph]) -> None:
    graph = graph_of()
    rewritten = {outcome.pass_name: outcome.rewritten for outcome in graph.outcomes}
    assert rewritten["fuse_attention"] == 2
    assert rewritten["prune_first_token"] == 1
    assert {node.op_type for node in graph.model.graph} >= {"Attention", "LayerNormalization"}
    assert {node.op_type for node in graph.model.graph}.isdisjoint({"Erf", "Softmax"})


def test_its_rows_are_the_calibration_text(graph_of: Callable[..., FloatGraph]) -> None:
    graph = graph_of()
    record = graph.rows.record
    assert record.source == "text-classification"
    assert record.rows == len(graph.rows.rows) >= record.examples >= 16


def test_a_pipeline_opens_over_any_session_of_it(
    graph_of: Callable[..., FloatGraph], tmp_path: Any
) -> None:
    graph = graph_of()
    with pytest.raises(InputError, match="graph is not written yet"):
        graph.pipeline("the cat sat")
    session = open_graph(graph.model, folder=tmp_path, threads=1)
    with graph.open_pipeline(session) as pipeline:
        (answer,) = pipeline("the cat sat", top_k=1)
        assert answer["label"] in "abc"
        feeds = {
            name: np.ones((2, 3), dtype=np.int64)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        assert pipeline.run(feeds)["logits"].shape == (2, 3)


def test_a_head_that_cannot_be_traced(read: Callable[..., Source]) -> None:
    def tracer(head: Any, **_: Any) -> ir.Model:
        raise TracingError(f"head {type(head).__name__} cannot be traced")

    with pytest.raises(TracingError, match="BertForSequenceClassification cannot be traced"):
        make_float_graph(read(), progress=Progress(), tracer=tracer)
