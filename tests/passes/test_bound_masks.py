from __future__ import annotations

import numpy as np
import pytest

from bert_export.passes.bound_masks import HIDDEN, BoundMasks
from tests.passes.graphs import LENGTHS, difference, feeds_for, from_text, run_model, traced

HEAD = '<ir_version: 10, opset_import: ["" : 23]>'


@pytest.mark.parametrize("task", ["feature-extraction", "text-generation"])
@pytest.mark.parametrize("lengths", [LENGTHS, (4, 4)])
def test_answers_stay_the_same_to_the_last_bit(task, lengths, tmp_path):
    model = traced(task)
    feeds = feeds_for(model, lengths)
    before = run_model(model, feeds, tmp_path)
    outcome = BoundMasks()(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    assert difference(before, run_model(model, feeds, tmp_path)) == 0
    assert BoundMasks()(model).rewritten == 0


def test_fp16_holds_the_bound_beside_a_score():
    assert np.isfinite(np.float16(HIDDEN) + np.float16(-48000))
    assert np.exp(np.float32(HIDDEN) + np.float32(15000)) == 0


@pytest.mark.parametrize(
    ("body", "refusals"),
    [
        ("y = Mul(x, lowest)", ["the mask is not made of zeros and ones"]),
        ("t = Sub(two, x) y = Mul(t, lowest)", ["the mask is not made of zeros and ones"]),
        ("t = Sub(x, one) y = Mul(t, lowest)", ["the mask is not made of zeros and ones"]),
        ("t = Sub(one, x) y = Mul(t, small)", []),
        ("t = Sub(one, x) y = Mul(t, x)", []),
    ],
)
def test_a_near_miss_is_left(body, refusals):
    model = from_text(
        f"{HEAD} agraph (float[B, 1, 1, S] x) => (float[B, 1, 1, S] y)"
        " <float one = {1.0}, float two = {2.0}, float small = {-10000.0},"
        f" float lowest = {{-3.4e38}}> {{ {body} }}"
    )
    outcome = BoundMasks()(model)
    assert outcome.rewritten == 0
    assert [refusal.reason for refusal in outcome.refusals] == refusals


def test_the_constant_may_stand_first():
    model = from_text(
        f"{HEAD} agraph (float[B, 1, 1, S] x) => (float[B, 1, 1, S] y)"
        " <float one = {1.0}, float lowest = {-3.4e38}> { t = Sub(one, x) y = Mul(lowest, t) }"
    )
    assert BoundMasks()(model).rewritten == 1
    assert model.graph[-1].inputs[0].const_value.numpy() == HIDDEN
    assert model.graph[-1].inputs[1].name == "t"
