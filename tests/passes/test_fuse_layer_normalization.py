from __future__ import annotations

import numpy as np
import pytest

from bert_export.passes.fuse_layer_normalization import FuseLayerNormalization
from tests.passes.graphs import difference, from_text, operators, run_model

NORM = """<ir_version: 10, opset_import: ["" : 23]>
norm (float[b, s, 4] x) => (float[b, s, 4] y)
<float[4] w = {1, 2, 3, 4}, float[4] bias = {0, 1, 0, 1}, float[1] one = {2},
 int64[1] last = {-1}, int64[1] first = {1}, float two = {2}, float three = {3}, float eps = {0.1}>
{
  mean = ReduceMean<keepdims = 1>(x, last)
  d = Sub(x, mean)
  square = Pow(d, two)
  variance = ReduceMean<keepdims = 1>(square, last)
  safe = Add(variance, eps)
  deviation = Sqrt(safe)
  q = Div(d, deviation)
  scaled = Mul(q, w)
  y = Add(scaled, bias)
}"""

SQUARES = [
    ("square = Pow(d, two)", "square = Pow(d, two)"),
    ("square = Pow(d, two)", "square = Mul(d, d)"),
    ("safe = Add(variance, eps)", "safe = Add(eps, variance)"),
    ("scaled = Mul(q, w)", "scaled = Mul(w, q)"),
    ("variance = ReduceMean<keepdims = 1>(square, last)",
     "variance = ReduceMean<keepdims = 1>(square, axis)"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SQUARES)
def test_the_written_out_form_fuses(old, new, tmp_path):
    text = NORM.replace(old, new).replace("int64[1] first = {1}", "int64[1] axis = {2}")
    model = from_text(text)
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)}
    before = run_model(model, feeds, tmp_path)
    outcome = FuseLayerNormalization()(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    assert operators(model) == {"LayerNormalization": 1}
    assert model.graph[0].attributes["epsilon"].value == pytest.approx(0.1)
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-6
    assert FuseLayerNormalization()(model).rewritten == 0


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("(square, last)", "(square, first)", "the variance is not that of the last axis"),
        ("<keepdims = 1>(square", "<keepdims = 0>(square", "the variance is not that of the last"),
        ("Pow(d, two)", "Pow(d, three)", "the variance is not a mean of squares"),
        ("square = Pow(d, two)", "square = Mul(d, x)", "the variance is not a mean of squares"),
        ("square = Pow(d, two)", "square = Pow(x, two)", "the mean of x is not subtracted"),
        ("(x, last)", "(x, first)", "the mean is not that of the last axis"),
        ("d = Sub(x, mean)", "d = Sub(mean, x)", "the mean of x is not subtracted"),
        ("Div(d, deviation)", "Div(x, deviation)", "the difference is not divided"),
        ("Mul(q, w)", "Mul(q, one)", r"not scaled by a weight \(H,\)"),
        ("Add(scaled, bias)", "Add(scaled, x)", r"no bias \(H,\) is added"),
        ("y = Add(scaled, bias)", "t = Add(scaled, bias) y = Mul(t, deviation)", "not divided"),
    ],
)
def test_a_near_miss_is_refused(old, new, reason):
    assert old in NORM
    model = from_text(NORM.replace(old, new))
    before = operators(model)
    outcome = FuseLayerNormalization()(model)
    assert outcome.rewritten == 0
    (refusal,) = outcome.refusals
    assert reason.replace("\\", "") in refusal.reason
    assert operators(model) == before


def test_another_square_root_is_no_site():
    model = from_text("""<ir_version: 10, opset_import: ["" : 23]>
    g (float[3] x) => (float[3] y) { y = Sqrt(x) }""")
    assert FuseLayerNormalization()(model).refusals == ()
