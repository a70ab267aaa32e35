from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.lower_quantized_linear import LowerQuantizedLinear, count_quantized
from bert_export.passes.prune_first_token import PruneFirstToken
from bert_export.quantization.preparation import Preparation
from bert_export.quantization.quantizer import SCHEMES, find_linear_layers, quantize_graph
from tests.passes.graphs import difference, feeds_for, from_text, operators, run_model, traced


def _quantized(*passes, task="text-classification", scheme="x86-64-vnni") -> ir.Model:
    model = traced(task)
    for run in passes:
        run(model)
    sites, _ = find_linear_layers(model)
    quantize_graph(
        model,
        Preparation.from_ranges({site.activation: (-4.0, 4.0) for site in sites}),
        scheme=SCHEMES[scheme],
    )
    assert count_quantized(model) == len(sites)
    return model


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "passes",
    [(), (FuseAttention(), PruneFirstToken())],
)
def test_every_quantized_layer_is_lowered(passes, scheme, tmp_path):
    model = _quantized(*passes, scheme=scheme)
    layers = count_quantized(model)
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    outcome = LowerQuantizedLinear()(model)
    assert (outcome.rewritten, outcome.refusals) == (layers, ())
    found = operators(model)
    assert found["MatMulIntegerToFloat"] == layers
    assert found["DequantizeLinear"] == count_quantized(model) == 0
    lowered = run_model(model, feeds, tmp_path, unsaturated=scheme == "x86-64-vnni")
    assert difference(before, lowered) < 1e-4
    assert LowerQuantizedLinear()(model).rewritten == 0
    assert operators(model) == found


def test_a_layer_is_named_after_its_module_and_holds_its_bias():
    model = _quantized()
    LowerQuantizedLinear()(model)
    node = next(node for node in model.graph if node.op_type == "MatMulIntegerToFloat")
    assert node.name == "bert.encoder.layer.0.attention.self.query.linear"
    assert node.inputs[6].name == "bert.encoder.layer.0.attention.self.query.bias"


TEXT = """<ir_version: 10, opset_import: ["" : 23]>
g (float[b, 2] x, uint8[b, 2] q, int8[2, 2] u) => (float[b, 2] y)
<float s = {0.1}, uint8 z = {3}, int8[2, 2] w = {1, 2, 3, 4}, int8 wz = {0}, float[2] bias = {1, 2}>
{ a = QuantizeLinear(x, s, z) b0 = DequantizeLinear(a, s, z) c = DequantizeLinear(w, s)
  d = MatMul(b0, c) y = Add(d, bias) }"""


@pytest.mark.parametrize(
    ("old", "new"),
    [("", ""), ("y = Add(d, bias)", "y = Relu(d)"), ("Add(d, bias)", "Add(d, x)"),
     ("Add(d, bias)", "Add(bias, d)")],
)  # fmt: skip
def test_a_bias_is_taken_in_where_there_is_one(old, new, tmp_path):
    model = from_text(TEXT.replace(old, new))
    feeds = {
        "x": np.ones((3, 2), np.float32),
        "q": np.ones((3, 2), np.uint8),
        "u": np.ones((2, 2), np.int8),
    }
    before = run_model(model, feeds, tmp_path)
    assert LowerQuantizedLinear()(model).rewritten == 1
    assert operators(model)["Add"] == ("x)" in new)
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("DequantizeLinear(a, s, z)", "DequantizeLinear(q, s, z)", "not quantized in the graph"),
        ("DequantizeLinear(w, s)", "DequantizeLinear(u, s)", "the weight is not stored"),
        ("DequantizeLinear(w, s)", "DequantizeLinear(w, s, wz)", "the weight has a zero point"),
    ],
)
def test_a_near_miss_is_refused(old, new, reason):
    assert old in TEXT
    model = from_text(TEXT.replace(old, new))
    before = operators(model)
    outcome = LowerQuantizedLinear()(model)
    assert outcome.rewritten == 0
    assert [reason in refusal.reason for refusal in outcome.refusals] == [True]
    assert operators(model) == before


def test_a_float_product_is_no_site():
    model = traced("text-classification")
    assert LowerQuantizedLinear()(model).refusals == ()
