from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.prune_first_token import PruneFirstToken
from tests.passes.graphs import (
    copy_model,
    difference,
    feeds_for,
    from_text,
    operators,
    run_model,
    traced,
)

PRUNED = ["text-classification", "next-sentence-prediction", "multiple-choice"]


def _shapes(model: ir.Model) -> dict[str, list[str]]:
    return {
        str(node.inputs[1].name): [str(axis) for axis in node.outputs[0].shape]
        for node in model.graph
        if node.op_type == "MatMul"
    }


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("task", PRUNED)
def test_the_last_layer_works_on_one_token(task, fused, tmp_path):
    model = traced(task)
    if fused:
        FuseAttention()(model)
    for lengths in ((7, 3, 1), (4, 4), (1,)):
        feeds = feeds_for(model, lengths)
        before = run_model(model, feeds, tmp_path)
        pruned = copy_model(model)
        outcome = PruneFirstToken()(pruned)
        assert (outcome.rewritten, outcome.refusals) == (1, ())
        assert difference(before, run_model(pruned, feeds, tmp_path)) < 1e-5
    shapes = {name: axes[1] for name, axes in _shapes(pruned).items() if "encoder" in name}
    last = "bert.encoder.layer.1."
    attention = [f"{last}attention.self.{part}.weight" for part in ("query", "key", "value")]
    for name, axis in shapes.items():
        whole = not name.startswith(last) or name in attention[1:]
        whole = whole or (name == attention[0] and not fused)
        assert axis == ("sequence" if whole else "1"), name
    again = operators(pruned)
    assert PruneFirstToken()(pruned).rewritten == 0
    assert operators(pruned) == again


@pytest.mark.parametrize(("mode", "kept"), [("cls", 1), ("lasttoken", 1)])
def test_a_pooled_token_may_stand_anywhere(mode, kept, tmp_path):
    model = traced("sentence-embedding", pooling=(mode,))
    FuseAttention()(model)
    feeds = feeds_for(model)
    feeds["attention_mask"][1] = [0, 0, 1, 1, 1, 0, 0]
    before = run_model(model, feeds, tmp_path)
    assert PruneFirstToken()(model).rewritten == kept
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    assert "1" in {axes[1] for axes in _shapes(model).values()}


@pytest.mark.parametrize("mode", ["cls"])
def test_a_causal_mask_is_selected_with_its_query(mode, tmp_path):
    model = traced("sentence-embedding", pooling=(mode,), is_decoder=True)
    FuseAttention()(model)
    feeds = feeds_for(model)
    feeds["attention_mask"][1] = [0, 0, 1, 1, 1, 0, 0]
    before = run_model(model, feeds, tmp_path)
    assert PruneFirstToken()(model).rewritten == 1
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5


@pytest.mark.parametrize(
    ("task", "pooling", "reason"),
    [
        ("feature-extraction", (), "output last_hidden_state holds every token"),
        ("pretraining", (), "reads every token"),
        ("token-classification", (), "no node takes one token out of the encoder's result"),
        ("question-answering", (), "no node takes one token out of the encoder's result"),
        ("sentence-embedding", ("mean",), "no node takes one token"),
        ("sentence-embedding", ("cls", "mean"), "reads every token"),
    ],
)
def test_what_reads_more_tokens_is_refused(task, pooling, reason):
    model = traced(task, pooling=pooling)
    FuseAttention()(model)
    before = operators(model)
    outcome = PruneFirstToken()(model)
    assert outcome.rewritten == 0
    assert [reason in refusal.reason for refusal in outcome.refusals] == [True]
    assert operators(model) == before


def test_an_encoder_without_layers_has_nothing_to_prune():
    model = traced("text-classification", num_hidden_layers=0)
    assert PruneFirstToken()(model).rewritten == 0


TEXT = """<ir_version: 10, opset_import: ["" : 23]>
g (float[b, s, 4] x, float[s, 4] rows) => (float[b, 4] y)
<float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7}, float[4] bias = {1, 2, 3, 4},
 int64 third = {2}, int64[2] two = {0, 1}>
{ a = MatMul(x, w) c = Add(a, bias) d = Gelu(c) y = Gather<axis = 1>(d, third) }"""


def test_any_one_token_will_do(tmp_path):
    model = from_text(TEXT)
    feeds = {
        "x": np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32),
        "rows": np.zeros((5, 4), np.float32),
    }
    before = run_model(model, feeds, tmp_path)
    assert PruneFirstToken()(model).rewritten == 1
    assert model.graph[0].op_type == "Gather"
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-6


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("d = Gelu(c)", "d = Softmax<axis = 1>(c)"),  # a token's result depends on the others
        ("c = Add(a, bias) d = Gelu(c)", "d = Add(a, rows)"),  # one operand has no batch
        ("a = MatMul(x, w) c = Add(a, bias) d = Gelu(c)", "d = Gelu(x)"),  # no work saved
    ],
)
def test_what_is_not_row_wise_stays(old, new):
    assert old in TEXT
    model = from_text(TEXT.replace(old, new))
    assert PruneFirstToken()(model).rewritten == 0
