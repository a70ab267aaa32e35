"""Calibration and what follows: a clone is quantized by its results; the forms beside Q/DQ."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.errors import InputError, QuantizationError
from bert_export.passes.editing import constant, own_bias
from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.fuse_gelu import FuseGelu
from bert_export.quantization.calibration.observers import OBSERVERS
from bert_export.quantization.int8_calibration import Int8Calibration, calibrate_int8
from bert_export.quantization.linear_layers import find_linear_layers, weight_of
from bert_export.quantization.options import QuantizationOptions, check_quantization
from bert_export.quantization.quantizer import SCHEMES, Scheme, quantize_graph, quantize_weight
from bert_export.quantization.weights.bias_correction import Means, correct_bias
from bert_export.quantization.weights.embeddings import TABLE, quantize_embeddings
from bert_export.runtime.batching import Row, pad_rows
from tests.passes.graphs import LAYERS, copy_model, difference, feeds_for, run_model, traced

VNNI = SCHEMES["x86-64-vnni"]
LAYER = "bert.encoder.layer.0.output.dense"
TRANSFORM, DECODER = "cls.predictions.transform.dense", "cls.predictions.decoder"


def prepared(task: str = "token-classification") -> ir.Model:
    model = traced(task)
    for fuse in (FuseGelu(), FuseAttention()):
        fuse(model)
    return model


def rows() -> list[Row]:
    rng = np.random.default_rng(3)
    texts = [rng.integers(0, 37, length) for length in (16, 3, 9, 1, 12, 5, 7)]
    return [Row(ids, np.zeros_like(ids), None) for ids in texts]  # type: ignore[arg-type]


def settings(folder: Path) -> dict[str, Any]:
    return {"folder": folder, "feeds": partial(pad_rows, pad_id=0)}


def calibrate(model: ir.Model, folder: Path, **options: Any) -> Int8Calibration:
    return calibrate_int8(model, rows(), QuantizationOptions(**options), **settings(folder))


@pytest.mark.parametrize("observer", OBSERVERS)
def test_a_clone_is_quantized_and_stays_close(observer: str, tmp_path: Path) -> None:
    model = prepared()
    text = str(ir.to_proto(model))
    calibration = calibrate(model, tmp_path, observer=observer)
    assert str(ir.to_proto(model)) == text
    assert list(tmp_path.iterdir()) == []
    clone = model.clone()
    plan = quantize_graph(clone, calibration, scheme=VNNI)
    assert str(ir.to_proto(model)) == text
    assert [layer.precision for layer in plan] == ["int8"] * 6 * LAYERS + ["fp32", "int8"]
    assert plan[-1].layer == TABLE
    assert all(layer.bias_corrected and layer.gptq for layer in plan[: 6 * LAYERS])
    feeds = feeds_for(model)
    exact, quantized = run_model(model, feeds, tmp_path), run_model(clone, feeds, tmp_path)
    largest = float(np.abs(exact["logits"]).max())
    # On seven short rows two observers clip what counts: an average of extremes, and a histogram
    # that is nearly empty.
    share = 0.5 if observer in ("moving-average", "entropy") else 0.2
    assert 0 < difference(exact, quantized) < share * largest


def test_calibrating_twice_gives_the_same_graph(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        model = prepared()
        calibration = calibrate(model, tmp_path)
        quantize_graph(model, calibration, scheme=VNNI)
        texts.append(ir.to_proto(model).SerializeToString())
    assert texts[0] == texts[1]


def test_without_gptq_weights_are_rounded_to_nearest(tmp_path: Path) -> None:
    weights = {}
    for gptq in (False, True):
        model = prepared()
        nearest, scales = quantize_weight(
            next(weight_of(layer) for layer in find_linear_layers(model)[0] if layer.name == LAYER)
        )
        calibration = calibrate(
            model,
            tmp_path,
            gptq=gptq,
            channel_shifting=False,
            smoothquant=False,
            channel_splitting=False,
        )
        plan = quantize_graph(model, calibration, scheme=VNNI)
        assert {layer.gptq for layer in plan[: 6 * LAYERS]} == {gptq}
        weight = constant(model.graph.initializers[f"{LAYER}.weight_int8"])
        assert weight is not None
        weights[gptq] = weight
        stored_scales = constant(model.graph.initializers[f"{LAYER}.weight_scale"])
        np.testing.assert_array_equal(stored_scales, scales)  # type: ignore[arg-type]
    np.testing.assert_array_equal(weights[False], nearest)
    assert (weights[True] != nearest).any()
    assert int(np.abs(weights[True].astype(int) - nearest).max()) < 20


def test_excluded_layers_stay_in_float(tmp_path: Path) -> None:
    model = prepared()
    calibration = calibrate(model, tmp_path)
    plan = quantize_graph(model, calibration, scheme=VNNI, excluded_layers={LAYER: "it hurts"})
    reasons = {layer.layer: layer.reason for layer in plan if layer.precision == "fp32"}
    assert reasons == {
        LAYER: "it hurts",
        "classifier": "outside encoder, pooler and vocabulary head",
    }
    assert f"{LAYER}.weight" in model.graph.initializers
    assert f"{LAYER}.weight_int8" not in model.graph.initializers
    unknown = {"bert.nowhere": "why not"}
    with pytest.raises(QuantizationError, match=r"layer bert\.nowhere cannot be left in float"):
        quantize_graph(prepared(), calibration, scheme=VNNI, excluded_layers=unknown)


@pytest.mark.parametrize("added", [0, 2])
def test_bias_correction_keeps_the_mean(added: int) -> None:
    model = prepared()
    layer = next(layer for layer in find_linear_layers(model)[0] if layer.name == LAYER)
    weight = weight_of(layer)
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 1.0, (50, len(weight) - added)).astype(np.float32)
    coarse_x = np.concatenate([np.rint(4 * x) / 4, np.zeros((50, added), np.float32)], axis=1)
    coarse_weight = np.rint(8 * weight) / 8
    bias = own_bias(model.graph, layer.node)
    before = constant(bias)
    means = Means(x.mean(axis=0), coarse_x.mean(axis=0))
    correct_bias(model.graph, layer, coarse_weight, means)
    exact = x @ weight[: x.shape[1]] + before
    np.testing.assert_allclose(
        (coarse_x @ coarse_weight + constant(bias)).mean(axis=0), exact.mean(axis=0), atol=1e-5
    )


def test_rows_of_the_embedding_table_have_their_own_scale(tmp_path: Path) -> None:
    model = traced("feature-extraction")
    table = model.graph.initializers[f"{TABLE}.weight"]
    array = constant(table)
    assert array is not None
    before = copy_model(model)
    assert quantize_embeddings(model, VNNI).precision == "int8"
    assert f"{TABLE}.weight" not in model.graph.initializers
    quantized = constant(model.graph.initializers[f"{TABLE}.weight_int8"])
    scales = constant(model.graph.initializers[f"{TABLE}.weight_scale"])
    assert quantized is not None
    assert scales is not None
    assert (quantized.dtype, scales.shape) == (np.int8, (len(array), 1))
    assert (np.abs(quantized * scales - array) <= scales * 0.501).all()
    feeds = feeds_for(model)
    assert (
        0 < difference(run_model(before, feeds, tmp_path), run_model(model, feeds, tmp_path)) < 0.1
    )


def test_a_table_that_must_stay_float_says_why() -> None:
    model = traced("feature-extraction")
    no_lookup = Scheme("int8", 8, symmetric=True, integer_tables=False)
    assert "no rows in int8" in str(quantize_embeddings(model, no_lookup).reason)
    table = model.graph.initializers[f"{TABLE}.weight"]
    (use,) = table.uses()
    model.graph.insert_after(use.node, ir.node("Gather", list(use.node.inputs)))
    entry = quantize_embeddings(model, VNNI)
    assert (entry.precision, entry.reason) == ("fp32", "something else reads the same table")
    table.name = "renamed"
    assert quantize_embeddings(model, VNNI).reason == "the graph has no such table"


def test_a_decoder_in_int8_leaves_no_float_copy_of_the_table(tmp_path: Path) -> None:
    model = prepared("fill-mask")
    calibration = calibrate(model, tmp_path)
    clone = model.clone()
    plan = {layer.layer: layer for layer in quantize_graph(clone, calibration, scheme=VNNI)}
    assert {plan[layer].precision for layer in (DECODER, TRANSFORM, TABLE)} == {"int8"}
    tensors = [value.const_value for value in clone.graph.initializers.values()]
    axes = set(constant(model.graph.initializers[f"{TABLE}.weight"]).shape)  # type: ignore[union-attr]
    dtypes = [
        tensor.dtype for tensor in tensors if tensor is not None and set(tensor.shape) == axes
    ]
    assert dtypes == [ir.DataType.INT8, ir.DataType.INT8]
    (row,) = rows()[:1]  # calibration saw it, so its values are within the ranges
    feeds = pad_rows([row], pad_id=0)
    exact, quantized = (run_model(graph, feeds, tmp_path)["logits"] for graph in (model, clone))
    assert 0 < float(np.abs(exact - quantized).max()) < 0.1 * float(np.abs(exact).max())


def test_a_float_decoder_keeps_the_table_that_it_is_tied_to(tmp_path: Path) -> None:
    model = prepared("fill-mask")
    calibration = calibrate(model, tmp_path)
    plan = quantize_graph(model, calibration, scheme=VNNI, excluded_layers={DECODER: "it hurts"})
    assert (plan[-1].layer, plan[-1].precision) == (TABLE, "fp32")
    assert plan[-1].reason == "a float decoder is tied to it, and one copy serves both"
    assert f"{TABLE}.weight" in model.graph.initializers


def test_dynamic_sets_its_range_in_the_graph(tmp_path: Path) -> None:
    model = prepared()
    calibration = calibrate(model, tmp_path, mode="dynamic", embeddings=False)
    assert not calibration.activations
    clone = model.clone()
    plan = quantize_graph(clone, calibration, scheme=VNNI)
    assert sum(layer.precision == "int8" for layer in plan) == 6 * LAYERS
    assert all(layer.activation_scale is None for layer in plan)
    operators = [node.op_type for node in clone.graph]
    assert operators.count("DynamicQuantizeLinear") == 4 * LAYERS
    assert operators.count("MatMulIntegerToFloat") == 6 * LAYERS
    feeds = feeds_for(model)
    exact, quantized = run_model(model, feeds, tmp_path), run_model(clone, feeds, tmp_path)
    assert 0 < difference(exact, quantized) < 0.2 * float(np.abs(exact["logits"]).max())


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InputError, match="INT8 mode 'fast' is unknown"):
        check_quantization(QuantizationOptions(mode="fast"))
    with pytest.raises(InputError, match="INT8 observer 'magic' is unknown"):
        check_quantization(QuantizationOptions(observer="magic"))
