from __future__ import annotations

import pytest

from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.prune_first_token import PruneFirstToken
from bert_export.passes.skip_full_mask import SkipFullMask
from tests.passes.graphs import (
    LAYERS,
    difference,
    feeds_for,
    from_text,
    operators,
    run_model,
    traced,
)


@pytest.mark.parametrize("task", ["feature-extraction", "text-classification", "multiple-choice"])
def test_both_branches_give_the_same_answers(task, tmp_path):
    model = traced(task)
    FuseAttention()(model)
    PruneFirstToken()(model)
    batches = [feeds_for(model, lengths) for lengths in ((7, 3, 1), (5, 5, 5), (1,))]
    before = [run_model(model, feeds, tmp_path) for feeds in batches]
    outcome = SkipFullMask()(model)
    assert (outcome.rewritten, outcome.refusals) == (LAYERS, ())
    found = operators(model)
    assert (found["If"], found["Attention"], found["ReduceMin"]) == (LAYERS, 0, 1)
    for feeds, wanted in zip(batches, before, strict=True):
        assert difference(wanted, run_model(model, feeds, tmp_path)) < 1e-5
    assert SkipFullMask()(model).rewritten == 0
    assert operators(model) == found


def test_the_full_branch_has_no_mask():
    model = traced("feature-extraction")
    FuseAttention()(model)
    SkipFullMask()(model)
    chosen = next(node for node in model.graph if node.op_type == "If")
    full, padded = (
        chosen.attributes[name].as_graph()[0] for name in ("then_branch", "else_branch")
    )
    assert (len(full.inputs), len(padded.inputs)) == (3, 4)
    assert full.attributes["scale"].value == padded.attributes["scale"].value


def test_values_that_were_observed_do_not_keep_the_old_node():
    model = traced("feature-extraction")
    FuseAttention()(model)
    value = next(node.outputs[0] for node in model.graph if node.op_type == "Attention")
    model.graph.outputs.append(value)
    del model.graph.outputs[-1:]
    SkipFullMask()(model)
    assert operators(model)["Attention"] == 0


def test_a_causal_mask_always_hides_something():
    model = traced("text-generation")
    FuseAttention()(model)
    outcome = SkipFullMask()(model)
    assert outcome.rewritten == 0
    assert {refusal.reason for refusal in outcome.refusals} == {"the mask holds more than padding"}


ATTEND = "y = Attention<q_num_heads = 1, kv_num_heads = 1>(x, x, x, m)"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("m = Identity(given)", "not cast from integers"),
        ("m = Mul(given, two)", "the mask is not made of zeros and ones"),
        ("i = Sub(two, given) m = Mul(i, two)", "the mask is not made of zeros and ones"),
    ],
)
def test_another_mask_is_refused(body, reason):
    model = from_text(f"""<ir_version: 10, opset_import: ["" : 23]>
    g (float[b, s, 4] x, float[b, 1, s, s] given) => (float[b, s, 4] y)
    <float two = {{2}}> {{ {body} {ATTEND} }}""")
    (refusal,) = SkipFullMask()(model).refusals
    assert reason in refusal.reason


def test_attention_without_a_mask_is_no_site():
    model = from_text("""<ir_version: 10, opset_import: ["" : 23]>
    g (float[b, s, 4] x) => (float[b, s, 4] y)
    { y = Attention<q_num_heads = 1, kv_num_heads = 1>(x, x, x) }""")
    assert SkipFullMask()(model).refusals == ()
