from __future__ import annotations

import numpy as np

from bert_export.passes.fold_constants import FoldConstants
from tests.passes.graphs import from_text, operators, run_model


def test_constants_fold_and_equal_subexpressions_are_shared(tmp_path):
    model = from_text("""<ir_version: 10, opset_import: ["" : 23]>
    g (float[b, 4] x) => (float[b, 4] y, int64[1] n)
    <float two = {2}, float three = {3}, int64[1] last = {-1}>
    {
      six = Mul(two, three)
      a = Mul(x, six)
      size = Shape<start = 0, end = 1>(x)
      again = Shape<start = 0, end = 1>(x)
      shape = Concat<axis = 0>(again, last)
      y = Reshape(a, shape)
      n = Identity(size)
    }""")
    feeds = {"x": np.ones((3, 4), np.float32)}
    before = run_model(model, feeds, tmp_path)
    outcome = FoldConstants()(model)
    assert outcome.rewritten >= 2
    found = operators(model)
    assert (found["Mul"], found["Shape"]) == (1, 1)
    after = run_model(model, feeds, tmp_path)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert FoldConstants()(model).rewritten == 0


def test_a_large_constant_is_not_made():
    model = from_text("""<ir_version: 10, opset_import: ["" : 23]>
    g (float[1] x) => (y) <float one = {1}, int64[2] size = {512, 512}>
    { large = Expand(one, size) y = Mul(large, x) }""")
    FoldConstants()(model)
    assert operators(model) == {"Expand": 1, "Mul": 1}
