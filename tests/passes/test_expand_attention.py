from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.passes.expand_attention import ExpandAttention
from bert_export.passes.fused_attention import count_attention
from bert_export.passes.prepare import prepare
from bert_export.tasks import TASKS
from tests.passes.graphs import (
    LAYERS,
    difference,
    feeds_for,
    from_text,
    operators,
    run_model,
    traced,
)

HEAD = '<ir_version: 10, opset_import: ["" : 23]>'


def _prepared(task: str, **fields) -> ir.Model:
    model = traced(task, **fields)
    prepare(model, task=TASKS[task], config_layers=LAYERS)
    return model


@pytest.mark.parametrize("task", ["feature-extraction", "text-classification", "text-generation"])
def test_attention_is_written_out_and_answers_the_same(task, tmp_path):
    model = _prepared(task)
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    assert count_attention(model) == LAYERS
    outcome = ExpandAttention()(model)
    assert (outcome.rewritten, outcome.refusals) == (LAYERS, ())
    assert count_attention(model) == 0
    assert operators(model)["Softmax"] == LAYERS
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    assert ExpandAttention()(model).rewritten == 0


def test_the_scale_stands_on_the_queries_and_the_mask_has_one_row():
    model = _prepared("feature-extraction")
    ExpandAttention()(model)
    assert operators(model)["Expand"] == 0
    for softmax in (node for node in model.graph if node.op_type == "Softmax"):
        add = softmax.inputs[0].producer()
        scores, mask = add.inputs
        assert [str(axis) for axis in mask.shape] == ["batch", "1", "1", "sequence"]
        product = scores.producer()
        assert product.op_type == "MatMul"
        split = product.inputs[0].producer().inputs[0].producer()
        scaled = split.inputs[0].producer()
        assert scaled.op_type == "Mul"
        assert scaled.inputs[1].const_value.numpy() == np.float32(0.5)


def test_a_causal_mask_keeps_its_rows():
    model = traced("text-generation")
    prepare(model, task=TASKS["text-generation"], config_layers=LAYERS)
    ExpandAttention()(model)
    first = next(node for node in model.graph if node.op_type == "Softmax")
    mask = first.inputs[0].producer().inputs[1]
    assert mask.shape[2] != 1


def test_names_follow_the_module():
    model = _prepared("feature-extraction")
    ExpandAttention()(model)
    names = {node.name for node in model.graph if node.op_type == "Softmax"}
    assert names == {
        f"bert.encoder.layer.{layer}.attention.self.attention.weights" for layer in range(LAYERS)
    }


def _attention(attributes: str, operands: str = "q, k, v, m", mask: str = "float[B, 1, S, S]"):
    return from_text(
        f"{HEAD} agraph (float[B, S, 8] q, float[B, S, 8] k, float[B, S, 8] v, {mask} m)"
        f" => (float[B, S, 8] y) {{ y = Attention<{attributes}>({operands}) }}"
    )


GOOD = "q_num_heads = 2, kv_num_heads = 2, scale = 0.5"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("q_num_heads = 4, kv_num_heads = 2, scale = 0.5", "not split into the same heads"),
        ("q_num_heads = 2, kv_num_heads = 2", "the scale is not written down"),
        (f"{GOOD}, is_causal = 1", "is_causal or softcap is set"),
        (f"{GOOD}, softcap = 2.0", "is_causal or softcap is set"),
        ("q_num_heads = 3, kv_num_heads = 3, scale = 0.5", "heads of one width"),
    ],
)
def test_a_near_miss_is_refused(attributes, reason):
    model = _attention(attributes)
    outcome = ExpandAttention()(model)
    assert outcome.rewritten == 0
    assert [reason in refusal.reason for refusal in outcome.refusals] == [True]


def test_a_boolean_mask_is_refused():
    outcome = ExpandAttention()(_attention(GOOD, mask="bool[B, 1, S, S]"))
    assert [refusal.reason for refusal in outcome.refusals] == [
        "the mask is of type BOOL, and none that is added"
    ]


def test_attention_without_a_mask_expands(tmp_path):
    model = _attention(GOOD, "q, k, v")
    generator = np.random.default_rng(0)
    feeds = {
        name: generator.normal(size=(2, 3, 8)).astype(np.float32) for name in ("q", "k", "v")
    } | {"m": np.zeros((2, 1, 3, 3), np.float32)}
    before = run_model(model, feeds, tmp_path)
    assert ExpandAttention()(model).rewritten == 1
    assert operators(model)["Add"] == 0
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-6


def test_half_a_cache_is_refused():
    model = from_text(
        f"{HEAD} agraph (float[B, S, 8] q, float[B, S, 8] k, float[B, S, 8] v,"
        " float[B, 1, S, S] m, float[B, 2, P, 4] p, float[B, 2, P, 4] w)"
        f" => (float[B, S, 8] y) {{ y = Attention<{GOOD}>(q, k, v, m, p, w) }}"
    )
    assert [refusal.reason for refusal in ExpandAttention()(model).refusals] == [
        "it keeps keys and values of earlier calls by halves"
    ]
