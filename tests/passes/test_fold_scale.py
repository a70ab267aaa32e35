from __future__ import annotations

import numpy as np
import pytest

from bert_export.passes.fold_scale import FoldScale
from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.merge_qkv import MergeQkv
from tests.passes.graphs import LAYERS, difference, feeds_for, operators, run_model, traced

QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize("fused", [True, False])
def test_the_scale_moves_into_the_queries(fused, tmp_path):
    model = traced("feature-extraction")
    if fused:
        FuseAttention()(model)
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    weights = {
        part: model.graph.initializers[f"{QUERY}.{part}"].const_value.numpy().copy()
        for part in ("weight", "bias")
    }
    outcome = FoldScale()(model)
    assert (outcome.rewritten, outcome.refusals) == (LAYERS, ())
    for part, array in weights.items():
        scaled = model.graph.initializers[f"{QUERY}.{part}"].const_value.numpy()
        assert np.array_equal(scaled, array / 2)
    assert operators(model)["Div"] == 0
    scales = {node.attributes["scale"].value for node in model.graph if "scale" in node.attributes}
    assert scales == ({1.0} if fused else set())
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    assert FoldScale()(model).rewritten == 0


def test_folded_scores_fuse_with_scale_one():
    model = traced("feature-extraction")
    FoldScale()(model)
    assert FuseAttention()(model).rewritten == LAYERS
    assert {
        node.attributes["scale"].value for node in model.graph if node.op_type == "Attention"
    } == {1.0}


def _read_twice(graph):
    node = next(node for node in graph if node.op_type == "Attention")
    node.replace_input_with(1, node.inputs[0])


def _share_bias(graph):
    first, second = (node for node in graph if node.op_type == "Attention")
    bias = first.inputs[0].producer().inputs[1]
    second.inputs[2].producer().replace_input_with(1, bias)


def _share_weight(graph):
    first, second = (node for node in graph if node.op_type == "Attention")
    weight = first.inputs[0].producer().inputs[0].producer().inputs[1]
    second.inputs[2].producer().inputs[0].producer().replace_input_with(1, weight)


def _lose_scale(graph):
    del next(node for node in graph if node.op_type == "Attention").attributes["scale"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_read_twice, "the queries are read elsewhere too"),
        (_share_bias, "the bias of the queries is shared"),
        (_share_weight, "the weight of the queries is shared or quantized"),
        (_lose_scale, "the scale is not written down"),
    ],
)
def test_a_near_miss_is_refused(change, reason):
    model = traced("feature-extraction")
    FuseAttention()(model)
    change(model.graph)
    outcome = FoldScale()(model)
    assert outcome.rewritten == LAYERS - 1
    assert [refusal.reason for refusal in outcome.refusals] == [reason]


def test_merged_queries_are_refused():
    model = traced("feature-extraction")
    FuseAttention()(model)
    MergeQkv()(model)
    outcome = FoldScale()(model)
    assert outcome.rewritten == 0
    assert {refusal.reason for refusal in outcome.refusals} == {
        "the queries do not come from a linear layer"
    }
