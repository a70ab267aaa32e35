"""Queries and keys in INT8: which are found, what is written, and that answers stay."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.quantization.linear_layers import find_linear_layers
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.preparation import Preparation, prepare_int8
from bert_export.quantization.quantizer import SCHEMES, quantize_graph
from bert_export.quantization.query_key import find_query_key_operands
from bert_export.runtime.batching import Row, pad_rows
from bert_export.runtime.processor import PROCESSORS
from bert_export.targets import find_target, load_target
from bert_export.targets.lowering import lower
from bert_export.tasks import TASKS
from tests.passes.graphs import LAYERS, copy_model, feeds_for, run_model
from tests.targets.emitted import prepared

SCHEME = load_target(find_target("openvino", "int8")).scheme("x86-64-vnni")
SELF = "bert.encoder.layer.{}.attention.self.{}"


def made_up_ranges(model: ir.Model) -> Preparation:
    layers, _ = find_linear_layers(model)
    return Preparation.from_ranges(
        {layer.activation: (-4.0, 4.5) for layer in layers},
        {operand.name: 4.0 for operand in find_query_key_operands(model)},
    )


def test_queries_and_keys_of_every_layer_are_found() -> None:
    operands = find_query_key_operands(prepared("token-classification"))
    assert [operand.layer for operand in operands] == [
        SELF.format(layer, part) for layer in range(LAYERS) for part in ("query", "key")
    ]
    assert [operand.index for operand in operands] == [0, 1] * LAYERS


@pytest.mark.parametrize("task", ["token-classification", "text-classification", "fill-mask"])
def test_the_form_for_openvino_has_them_in_symmetric_int8(task: str, tmp_path: Path) -> None:
    model = prepared(task)
    quantized, without = copy_model(model), copy_model(model)
    plan = quantize_graph(quantized, made_up_ranges(model), scheme=SCHEME)
    quantize_graph(without, made_up_ranges(model), scheme=SCHEMES["x86-64-vnni"])
    output_scales = {
        layer.layer: layer.output_scale for layer in plan if layer.output_scale is not None
    }
    assert output_scales == {
        SELF.format(layer, part): pytest.approx(4.0 / 127)
        for layer in range(LAYERS)
        for part in ("query", "key")
    }
    for operand in find_query_key_operands(model):
        zero = quantized.graph.initializers[f"{operand.layer}.output_zero_point"].const_value
        assert zero is not None
        assert (zero.dtype, int(zero.numpy())) == (ir.DataType.INT8, 0)
    feeds = feeds_for(model)
    before, after = (run_model(graph, feeds, tmp_path) for graph in (without, quantized))
    for name, exact in before.items():
        assert 0 < np.abs(after[name] - exact).max() < 0.1 * np.abs(exact).max()
    lowered = copy_model(quantized)
    lower(lowered, target="openvino", precision="int8", task=TASKS[task], config_layers=LAYERS)
    lowered_outputs = run_model(lowered, feeds, tmp_path)
    for name, exact in after.items():
        np.testing.assert_allclose(lowered_outputs[name], exact, atol=1e-4)


def test_calibrated_magnitudes_are_found_in_an_equalized_graph(tmp_path: Path) -> None:
    model = prepared("token-classification")
    texts = [np.arange(1, length, dtype=np.int64) for length in (16, 9, 4)]
    preparation = prepare_int8(
        model,
        [Row(ids, np.zeros_like(ids), None) for ids in texts],  # type: ignore[arg-type]
        QuantizationOptions(),
        integer_query_key=True,
        folder=tmp_path,
        feeds=partial(pad_rows, pad_id=0),
    )
    assert any(
        equalization.shifts is not None for equalization in preparation.equalizations.values()
    )
    plan = quantize_graph(model, preparation, scheme=SCHEME)
    output_scales = {
        layer.layer: layer.output_scale for layer in plan if layer.output_scale is not None
    }
    assert output_scales == {
        operand.layer: pytest.approx(preparation.query_key_magnitudes[operand.name] / 127)
        for operand in find_query_key_operands(prepared("token-classification"))
    }


def test_a_float_query_keeps_its_keys_in_float() -> None:
    model = prepared("token-classification")
    excluded = {SELF.format(1, "query"): "it hurts"}
    plan = quantize_graph(model, made_up_ranges(model), scheme=SCHEME, excluded_layers=excluded)
    quantized = [layer.layer for layer in plan if layer.output_scale is not None]
    assert quantized == [SELF.format(0, "query"), SELF.format(0, "key")]


def test_attention_that_was_not_fused_has_none() -> None:
    assert find_query_key_operands(prepared("token-classification", opset=20)) == ()


@pytest.mark.parametrize("processor", PROCESSORS)
def test_only_the_processor_that_was_measured_gets_the_form(processor: str) -> None:
    scheme = load_target(find_target("openvino", "int8")).scheme(processor)
    assert scheme.integer_query_key is (processor == "x86-64-vnni")
