from __future__ import annotations

import onnx_ir as ir
import pytest

from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.merge_qkv import MergeQkv
from bert_export.passes.prune_first_token import PruneFirstToken
from bert_export.tracing import linear_layers
from tests.passes.graphs import LAYERS, difference, feeds_for, operators, run_model, traced


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("feature-extraction", ["query_key_value", "query_key_value"]),
        ("text-classification", ["query_key_value", "key_value"]),
    ],
)
def test_layers_that_read_the_same_states_merge(task, names, tmp_path):
    model = traced(task)
    FuseAttention()(model)
    PruneFirstToken()(model)
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    outcome = MergeQkv()(model)
    assert (outcome.rewritten, outcome.refusals) == (LAYERS, ())
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    found = [layer for layer, _ in linear_layers(model.graph)]
    for index, name in enumerate(names):
        assert f"bert.encoder.layer.{index}.attention.self.{name}" in found
    assert not any(layer.endswith("self.key") for layer in found)
    after = operators(model)
    assert MergeQkv()(model).rewritten == 0
    assert operators(model) == after


def _share_key(graph):
    node = next(node for node in graph if node.op_type == "Attention")
    node.replace_input_with(2, node.inputs[1])


def _bare_key(graph):
    node = next(node for node in graph if node.op_type == "Attention")
    node.replace_input_with(1, node.inputs[0].producer().inputs[0])


def _own_states(graph):
    second = [node for node in graph if node.op_type == "Attention"][1]
    states = second.inputs[0].producer().inputs[0].producer().inputs[0]
    value = second.inputs[2].producer().inputs[0].producer()
    other = ir.node("Relu", [states])
    other.outputs[0].shape, other.outputs[0].type = states.shape, states.type
    graph.insert_before(value, other)
    value.replace_input_with(0, other.outputs[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_share_key, "the key is read elsewhere too"),
        (_bare_key, "the key is not a float linear layer"),
        (_own_states, "keys and values come from different states"),
    ],
)
def test_a_near_miss_is_refused(change, reason):
    model = traced("feature-extraction")
    FuseAttention()(model)
    change(model.graph)
    outcome = MergeQkv()(model)
    assert outcome.rewritten == LAYERS - 1
    assert [refusal.reason for refusal in outcome.refusals] == [reason]
