from __future__ import annotations

import pytest

from bert_export.passes.drop_noops import DropNoops
from tests.passes.graphs import from_text, operators

TEXT = """<ir_version: 10, opset_import: ["" : 23]>
g (float[b, 2, 3] x) => (float[b, 2, 3] y)
<float one = {1}, float zero = {0}, float two = {2}, int64[3] own = {-1, 2, 3},
 int64[3] kept = {0, 0, 3}, int64[3] turned = {-1, 3, 2}, int64[3] ones = {1, 1, 1},
 int64[4] more = {1, 1, 1, 1}, float[1, 1, 1, 1] wide = {1}>
{ a = Relu(x) %s  y = Relu(b) }"""

NOOPS = [
    "b = Identity(a)",
    "b = Cast<to = 1>(a)",
    "b = Transpose<perm = [0, 1, 2]>(a)",
    "c = Transpose<perm = [1, 2, 0]>(a) b = Transpose<perm = [2, 0, 1]>(c)",
    "b = Reshape(a, own)",
    "b = Reshape(a, kept)",
    "b = Expand(a, ones)",
    "b = Mul(a, one)",
    "b = Mul(one, a)",
    "b = Div(a, one)",
    "b = Add(a, zero)",
    "b = Sub(a, zero)",
    "c = Identity(a) d = Mul(c, one) b = Reshape(d, own)",
]

CHANGES = [
    "c = Cast<to = 7>(a) b = Cast<to = 1>(c)",
    "c = Transpose<perm = [1, 2, 0]>(a) b = Transpose<perm = [1, 2, 0]>(c)",
    "b = Reshape(a, turned)",
    "b = Expand(a, more)",
    "b = Mul(a, two)",
    "b = Mul(a, wide)",
    "b = Div(one, a)",
    "b = Add(a, one)",
    "b = Sub(zero, a)",
]


@pytest.mark.parametrize("body", NOOPS)
def test_what_changes_nothing_goes(body):
    model = from_text(TEXT % body)
    outcome = DropNoops()(model)
    assert outcome.rewritten >= 1
    assert operators(model) == {"Relu": 2}
    assert DropNoops()(model).rewritten == 0


@pytest.mark.parametrize("body", CHANGES)
def test_what_changes_something_stays(body):
    model = from_text((TEXT % body).replace("=> (float[b, 2, 3] y)", "=> (y)"))
    before = operators(model)
    assert DropNoops()(model).rewritten == 0
    assert operators(model) == before


def test_an_output_keeps_its_name():
    model = from_text("""<ir_version: 10, opset_import: ["" : 23]>
    g (float[2] x) => (float[2] y) { a = Relu(x) y = Identity(a) }""")
    assert DropNoops()(model).rewritten == 1
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert operators(model) == {"Relu": 1}


@pytest.mark.parametrize("source", ["x", "z"])
def test_an_input_or_another_output_does_not_become_an_output(source):
    model = from_text(f"""<ir_version: 10, opset_import: ["" : 23]>
    g (float[2] x) => (float[2] y, float[2] z) {{ z = Relu(x) y = Identity({source}) }}""")
    outcome = DropNoops()(model)
    assert outcome.rewritten == 0
    (refusal,) = outcome.refusals
    assert refusal.reason == "an input or another output would become an output"
