from __future__ import annotations

import numpy as np
import pytest

from bert_export.passes.keep_residuals import KeepResiduals, count_residuals
from tests.passes.graphs import difference, from_text, operators, run_model

GRAPH = """<ir_version: 10, opset_import: ["" : 23]>
norm (float[b, 4] x, float[b, 4] residual) => (float[b, 4] y)
<float[4] weight = {1, 2, 3, 4}, float[4] bias = {0.5, 0, -1, 2}>
{ %s }"""
RESIDUAL = "a = Add(x, residual) y = LayerNormalization(a, weight, bias)"


def test_an_addition_before_a_norm_becomes_a_sum(tmp_path):
    model = from_text(GRAPH % RESIDUAL)
    rows = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)
    feeds = {"x": rows, "residual": rows[::-1] * 2}
    before = run_model(model, feeds, tmp_path)
    assert count_residuals(model) == 1
    assert KeepResiduals()(model).rewritten == 1
    assert operators(model) == {"Sum": 1, "LayerNormalization": 1}
    assert difference(before, run_model(model, feeds, tmp_path)) == 0
    assert count_residuals(model) == KeepResiduals()(model).rewritten == 0


@pytest.mark.parametrize(
    "body",
    [
        "a = Mul(x, residual) y = LayerNormalization(a, weight, bias)",
        "a = LayerNormalization(x, weight, bias) y = Add(a, residual)",
    ],
)
def test_other_additions_stay(body):
    model = from_text(GRAPH % body)
    before = operators(model)
    assert count_residuals(model) == KeepResiduals()(model).rewritten == 0
    assert operators(model) == before
