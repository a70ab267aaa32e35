from __future__ import annotations

import numpy as np
import pytest

from bert_export.passes.fuse_gelu import FuseGelu
from tests.passes.graphs import difference, from_text, operators, run_model

HEADER = """<ir_version: 10, opset_import: ["" : 23]>
gelu (float[b, 8] x) => (float[b, 8] y)
<float root = {1.4142135}, float inverse = {0.70710677}, float one = {1}, float half = {0.5},
 float three = {3}, float cubic = {0.044715}, float outer = {0.7978846}, float other = {0.9}>
{ %s }"""

ERF = "a = Div(x, root) b = Erf(a) c = Add(b, one) d = Mul(x, c) y = Mul(d, half)"
TANH = (
    "a = Pow(x, three) b = Mul(cubic, a) c = Add(x, b) d = Mul(c, outer) e = Tanh(d)"
    " f = Add(e, one) g = Mul(x, f) y = Mul(g, half)"
)

FORMS = [
    (ERF, "none"),
    (ERF.replace("Div(x, root)", "Mul(x, inverse)"), "none"),
    (ERF.replace("d = Mul(x, c) y = Mul(d, half)", "d = Mul(half, c) y = Mul(d, x)"), "none"),
    (ERF.replace("d = Mul(x, c) y = Mul(d, half)", "d = Mul(x, half) y = Mul(d, c)"), "none"),
    (ERF.replace("Add(b, one)", "Add(one, b)"), "none"),
    (TANH, "tanh"),
    (TANH.replace("a = Pow(x, three)", "t = Mul(x, x) a = Mul(t, x)"), "tanh"),
    (TANH.replace("Add(x, b)", "Add(b, x)"), "tanh"),
    (TANH.replace("g = Mul(x, f) y = Mul(g, half)", "g = Mul(half, x) y = Mul(g, f)"), "tanh"),
]


@pytest.mark.parametrize(("body", "approximate"), FORMS)
def test_a_written_out_form_fuses(body, approximate, tmp_path):
    model = from_text(HEADER % body)
    feeds = {"x": np.linspace(-6, 6, 32, dtype=np.float32).reshape(4, 8)}
    before = run_model(model, feeds, tmp_path)
    outcome = FuseGelu()(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    assert operators(model) == {"Gelu": 1}
    assert model.graph[0].attributes["approximate"].value == approximate
    assert difference(before, run_model(model, feeds, tmp_path)) < 2e-6
    assert FuseGelu()(model).rewritten == 0


@pytest.mark.parametrize(
    ("form", "old", "new", "reason"),
    [
        (ERF, "a = Div(x, root) b = Erf(a)", "b = Erf(x)", "not scaled by a constant"),
        (ERF, "Div(x, root)", "Div(x, other)", "x is scaled by 1.11111 and not 1 / sqrt 2"),
        (ERF, "Add(b, one)", "Add(b, half)", "1 is not added"),
        (ERF, "Mul(d, half)", "Mul(d, other)", "a product has a factor besides"),
        (ERF, "d = Mul(x, c)", "d = Mul(a, c)", "a product has a factor besides"),
        (ERF, " y = Mul(d, half)", " y = Identity(d)", "not multiplied by one half"),
        (ERF, "d = Mul(x, c) y = Mul(d, half)", "y = Mul(half, c)", "not multiplied by x"),
        (ERF, "d = Mul(x, c)", "d = Mul(c, c)", "not multiplied by x"),
        (TANH, "Mul(cubic, a)", "Mul(other, a)", "the cubic term is scaled by 0.9"),
        (TANH, "Mul(c, outer)", "Mul(c, other)", "the sum is scaled by 0.9"),
        (TANH, "Pow(x, three)", "Pow(x, half)", "the term beside x is not its cube"),
        (TANH, "a = Pow(x, three)", "a = Mul(x, x)", "the term beside x is not its cube"),
    ],
)
def test_a_near_miss_is_refused(form, old, new, reason):
    assert old in form
    model = from_text(HEADER % form.replace(old, new))
    before = operators(model)
    outcome = FuseGelu()(model)
    assert outcome.rewritten == 0
    assert any(reason in refusal.reason for refusal in outcome.refusals), outcome.refusals
    assert operators(model) == before


def test_the_poolers_tanh_is_no_site():
    assert FuseGelu()(from_text(HEADER % "y = Tanh(x)")).refusals == ()
