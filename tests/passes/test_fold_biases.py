from __future__ import annotations

import numpy as np
import pytest

from bert_export.passes.fold_biases import FOLDED_PER_LAYER, FoldBiases
from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.fuse_gelu import FuseGelu
from bert_export.passes.fuse_layer_normalization import FuseLayerNormalization
from bert_export.passes.prune_first_token import PruneFirstToken
from tests.passes.graphs import LAYERS, difference, feeds_for, operators, run_model, traced

LAYER = "bert.encoder.layer.0"
FOLDED = (
    f"{LAYER}.attention.self.key.bias",
    f"{LAYER}.attention.self.value.bias",
    f"{LAYER}.output.dense.bias",
)


def fused(task="feature-extraction", **fields):
    model = traced(task, **fields)
    for run in (FuseLayerNormalization(), FuseGelu(), FuseAttention()):
        run(model)
    return model


def array(model, name):
    return model.graph.initializers[name].const_value.numpy()


@pytest.mark.parametrize("task", ["feature-extraction", "text-generation", "fill-mask"])
def test_three_biases_of_a_layer_move(task, tmp_path):
    model = fused(task)
    feeds = feeds_for(model)
    before, adds = run_model(model, feeds, tmp_path), operators(model)["Add"]
    assert set(FOLDED) <= set(model.graph.initializers)
    outcome = FoldBiases()(model)
    assert (outcome.rewritten, outcome.refusals) == (FOLDED_PER_LAYER * LAYERS, ())
    assert not set(FOLDED) & set(model.graph.initializers)
    assert operators(model)["Add"] == adds - FOLDED_PER_LAYER * LAYERS
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    assert FoldBiases()(model).rewritten == 0


def test_where_the_biases_go():
    model = fused()
    names = {
        "value": f"{LAYER}.attention.self.value.bias",
        "out": f"{LAYER}.attention.output.dense.bias",
        "out_weight": f"{LAYER}.attention.output.dense.weight",
        "shift": f"{LAYER}.attention.output.LayerNorm.bias",
        "inner": f"{LAYER}.intermediate.dense.bias",
        "inner_weight": f"{LAYER}.intermediate.dense.weight",
        "outer": f"{LAYER}.output.dense.bias",
    }
    old = {part: array(model, name).copy() for part, name in names.items()}
    FoldBiases()(model)
    new = {part: array(model, names[part]) for part in ("out", "shift", "inner")}
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(new["out"], old["out"] + old["value"] @ old["out_weight"], **close)
    np.testing.assert_allclose(new["shift"], old["shift"] + old["outer"], **close)
    np.testing.assert_allclose(
        new["inner"], old["inner"] - old["outer"] @ old["inner_weight"], **close
    )


def test_a_pruned_layer_folds_too(tmp_path):
    model = fused("text-classification")
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    PruneFirstToken()(model)
    assert FoldBiases()(model).rewritten == FOLDED_PER_LAYER * LAYERS
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5


def test_attention_that_is_not_fused_keeps_its_biases(tmp_path):
    model = fused(position_embedding_type="relative_key_query")
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    assert FoldBiases()(model).rewritten == LAYERS  # the feed-forward blocks
    assert set(FOLDED[:2]) <= set(model.graph.initializers)
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5


def test_a_shared_bias_is_copied(tmp_path):
    """As a new checkpoint's zeros are, of which the tracer keeps one array."""
    model = fused()
    shared = f"{LAYER}.attention.output.dense.bias"
    norm = model.graph.initializers[f"{LAYER}.attention.output.LayerNorm.bias"]
    norm.uses()[0].node.replace_input_with(2, model.graph.initializers[shared])
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    outcome = FoldBiases()(model)
    assert (outcome.rewritten, outcome.refusals) == (FOLDED_PER_LAYER * LAYERS, ())
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5


def _attention(graph):
    return next(node for node in graph if node.op_type == "Attention")


def _read_keys_twice(graph):
    node = _attention(graph)
    node.replace_input_with(0, node.inputs[1])


def _read_values_twice(graph):
    node = _attention(graph)
    node.replace_input_with(0, node.inputs[2])


def _bend_scores(graph):
    import onnx_ir as ir

    _attention(graph).attributes["softcap"] = ir.AttrFloat32("softcap", 5.0)


def _return_attention(graph):
    graph.outputs.append(_attention(graph).outputs[0])


def _return_normalized(graph):
    norm = f"{LAYER}.attention.output.LayerNorm.bias"
    graph.outputs.append(graph.initializers[norm].uses()[0].node.outputs[0])


def _lose_shift(graph):
    norm = f"{LAYER}.attention.output.LayerNorm.bias"
    graph.initializers[norm].uses()[0].node.replace_input_with(2, None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_read_keys_twice, "the keys are read elsewhere too"),
        (_read_values_twice, "the values are read elsewhere too"),
        (_bend_scores, "scores are bent before the softmax"),
        (_return_attention, "attention does not feed one linear layer alone"),
        (_return_normalized, "the norm before it is read elsewhere too"),
        (_lose_shift, "the norm before it has no shift"),
    ],
)
def test_a_near_miss_is_refused(change, reason):
    model = fused()
    change(model.graph)
    outcome = FoldBiases()(model)
    assert outcome.rewritten == FOLDED_PER_LAYER * LAYERS - 1
    assert [refusal.reason for refusal in outcome.refusals] == [reason]
