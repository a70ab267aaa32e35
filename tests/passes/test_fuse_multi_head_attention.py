from __future__ import annotations

import onnx_ir as ir
import pytest

from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.fuse_multi_head_attention import FuseMultiHeadAttention
from bert_export.passes.fused_attention import count_attention
from tests.passes.graphs import LAYERS, difference, feeds_for, operators, run_model, traced


def fused(task="feature-extraction"):
    model = traced(task)
    FuseAttention()(model)
    return model


@pytest.mark.parametrize("task", ["feature-extraction", "text-generation"])
def test_every_layer_becomes_the_contrib_operator(task, tmp_path):
    model = fused(task)
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    outcome = FuseMultiHeadAttention()(model)
    assert (outcome.rewritten, outcome.refusals) == (LAYERS, ())
    assert (count_attention(model), operators(model)["MultiHeadAttention"]) == (0, LAYERS)
    assert model.graph.opset_imports["com.microsoft"] == 1
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    assert FuseMultiHeadAttention()(model).rewritten == 0


def _first(model):
    return next(node for node in model.graph if node.op_type == "Attention")


def _lose_scale(node):
    del node.attributes["scale"]


def _lose_heads(node):
    del node.attributes["q_num_heads"]


def _other_key_heads(node):
    node.attributes["kv_num_heads"] = ir.AttrInt64("kv_num_heads", 2)


def _causal(node):
    node.attributes["is_causal"] = ir.AttrInt64("is_causal", 1)


def _bent(node):
    node.attributes["softcap"] = ir.AttrFloat32("softcap", 5.0)


def _boolean_mask(node):
    node.inputs[3].type = ir.TensorType(ir.DataType.BOOL)


@pytest.mark.parametrize(
    ("change", "reason", "left"),
    [
        (_lose_scale, "the scale is not written down", 1),
        (_lose_heads, "queries and keys are not split into the same heads", 1),
        (_other_key_heads, "queries and keys are not split into the same heads", 1),
        (_causal, "is_causal or softcap is set", 1),
        (_bent, "is_causal or softcap is set", 1),
        (_boolean_mask, "the mask is of type BOOL, and none that is added", LAYERS),
    ],
)
def test_a_near_miss_is_refused(change, reason, left):
    model = fused()
    change(_first(model))
    outcome = FuseMultiHeadAttention()(model)
    assert outcome.rewritten == LAYERS - left
    assert {refusal.reason for refusal in outcome.refusals} == {reason}
    assert count_attention(model) == left


def test_another_domain_is_no_site():
    model = fused()
    _first(model).domain = "com.example"
    outcome = FuseMultiHeadAttention()(model)
    assert (outcome.rewritten, outcome.refusals) == (LAYERS - 1, ())
