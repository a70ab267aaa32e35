from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.errors import QuantizationError
from bert_export.exporter.fp16_overflow import FP16_LIMIT, find_overflow
from bert_export.runtime.batching import Row, pad_rows
from tests.passes.graphs import from_text

HEAD = '<ir_version: 10, opset_import: ["" : 23]>'
ROWS = [
    Row(np.array(ids), np.zeros(len(ids), np.int64), None)  # no encoding is read
    for ids in ([1, 2, 3], [9])
]


def _graph(body: str) -> ir.Model:
    return from_text(
        f"{HEAD} agraph (int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask,"
        " int64[batch, sequence] token_type_ids) => (float[batch, sequence] y)"
        " <float big = {9000.0}, float nine = {9.0}, float zero = {0.0}, float small = {0.001}>"
        f" {{ x = Cast<to = 1>(input_ids) {body} }}"
    )


def _found(model: ir.Model, folder):
    return find_overflow(model, ROWS, folder=folder, feeds=partial(pad_rows, pad_id=0), threads=1)


def test_nodes_beyond_the_limit_are_told_with_their_peak(tmp_path):
    model = _graph("a = Mul(x, big) b = Mul(a, small) y = Tanh(b)")
    names = {node.outputs[0].name: node.name for node in model.graph}
    (found,) = _found(model, tmp_path)
    assert (found.node, found.operator) == (names["a"], "Mul")
    assert found.peak == np.float32(81000)
    assert found.limit == FP16_LIMIT
    assert list(tmp_path.iterdir()) == []


def test_what_fits_is_not_told(tmp_path):
    assert _found(_graph("a = Mul(x, small) y = Tanh(a)"), tmp_path) == ()


@pytest.mark.parametrize(("form", "count"), [("tanh", 1), ("none", 0)])
def test_a_tanh_gelu_overflows_by_its_third_power(form, count, tmp_path):
    model = _graph(f'h = Mul(x, nine) y = Gelu<approximate = "{form}">(h)')
    found = _found(model, tmp_path)
    assert [one.operator for one in found] == ["Gelu"] * count


def test_a_graph_that_is_not_finite_itself_is_an_error(tmp_path):
    model = _graph("a = Div(x, zero) y = Tanh(a)")
    with pytest.raises(QuantizationError, match=r"Div node .* gives values that are not finite"):
        _found(model, tmp_path)
