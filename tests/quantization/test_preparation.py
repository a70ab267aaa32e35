"""Preparation: what it finds, that a clone takes it, and the forms besides static Q/DQ."""

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
from bert_export.quantization.linear_layers import find_linear_layers, weight_of
from bert_export.quantization.options import QuantizationOptions, check_quantization
from bert_export.quantization.preparation import Preparation, prepare_int8
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
    for run in (FuseGelu(), FuseAttention()):
        run(model)
    return model


def rows() -> list[Row]:
    rng = np.random.default_rng(3)
    ids = [rng.integers(0, 37, length) for length in (16, 3, 9, 1, 12, 5, 7)]
    return [Row(row, np.zeros_like(row), None) for row in ids]  # type: ignore[arg-type]


def settings(folder: Path) -> dict[str, Any]:
    return {"folder": folder, "feeds": partial(pad_rows, pad_id=0)}


def preparation_of(model: ir.Model, folder: Path, **options: Any) -> Preparation:
    return prepare_int8(model, rows(), QuantizationOptions(**options), **settings(folder))


@pytest.mark.parametrize("observer", OBSERVERS)
def test_a_clone_takes_what_was_found_and_stays_close(observer: str, tmp_path: Path) -> None:
    model = prepared()
    text = str(ir.to_proto(model))
    found = preparation_of(model, tmp_path, observer=observer)
    assert str(ir.to_proto(model)) == text
    assert list(tmp_path.iterdir()) == []
    clone = model.clone()
    plan = quantize_graph(clone, found, scheme=VNNI)
    assert str(ir.to_proto(model)) == text
    assert [layer.precision for layer in plan] == ["int8"] * 6 * LAYERS + ["fp32", "int8"]
    assert plan[-1].layer == TABLE
    assert all(layer.bias_corrected and layer.gptq for layer in plan[: 6 * LAYERS])
    feeds = feeds_for(model)
    exact, close = run_model(model, feeds, tmp_path), run_model(clone, feeds, tmp_path)
    largest = float(np.abs(exact["logits"]).max())
    # Of seven short rows, two observers cut what counts: an average of extremes, and a histogram
    # that is nearly empty.
    share = 0.5 if observer in ("moving-average", "entropy") else 0.2
    assert 0 < difference(exact, close) < share * largest


def test_preparing_twice_finds_the_same(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        model = prepared()
        found = preparation_of(model, tmp_path)
        quantize_graph(model, found, scheme=VNNI)
        texts.append(ir.to_proto(model).SerializeToString())
    assert texts[0] == texts[1]


def test_without_gptq_weights_go_to_their_nearest_levels(tmp_path: Path) -> None:
    stored = {}
    for gptq in (False, True):
        model = prepared()
        wanted, scales = quantize_weight(
            next(weight_of(layer) for layer in find_linear_layers(model)[0] if layer.name == LAYER)
        )
        found = preparation_of(
            model,
            tmp_path,
            gptq=gptq,
            channel_shifting=False,
            smoothquant=False,
            channel_splitting=False,
        )
        plan = quantize_graph(model, found, scheme=VNNI)
        assert {layer.gptq for layer in plan[: 6 * LAYERS]} == {gptq}
        array = constant(model.graph.initializers[f"{LAYER}.weight_int8"])
        assert array is not None
        stored[gptq] = array
        kept = constant(model.graph.initializers[f"{LAYER}.weight_scale"])
        np.testing.assert_array_equal(kept, scales)  # type: ignore[arg-type]
    np.testing.assert_array_equal(stored[False], wanted)
    assert (stored[True] != wanted).any()
    assert int(np.abs(stored[True].astype(int) - wanted).max()) < 20


def test_layers_stay_float_where_they_are_told_to(tmp_path: Path) -> None:
    model = prepared()
    found = preparation_of(model, tmp_path)
    plan = quantize_graph(model, found, scheme=VNNI, excluded_layers={LAYER: "it hurts"})
    kept = {layer.layer: layer.reason for layer in plan if layer.precision == "fp32"}
    assert kept == {LAYER: "it hurts", "classifier": "outside encoder, pooler and vocabulary head"}
    assert f"{LAYER}.weight" in model.graph.initializers
    assert f"{LAYER}.weight_int8" not in model.graph.initializers
    with pytest.raises(QuantizationError, match=r"layer bert\.nowhere cannot be left in float"):
        quantize_graph(prepared(), found, scheme=VNNI, excluded_layers={"bert.nowhere": "why not"})


@pytest.mark.parametrize("added", [0, 2])
def test_bias_correction_keeps_the_mean(added: int) -> None:
    model = prepared()
    layer = next(layer for layer in find_linear_layers(model)[0] if layer.name == LAYER)
    weight = weight_of(layer)
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 1.0, (50, len(weight) - added)).astype(np.float32)
    rounded = np.concatenate([np.rint(4 * x) / 4, np.zeros((50, added), np.float32)], axis=1)
    stored = np.rint(8 * weight) / 8
    bias = own_bias(model.graph, layer.node)
    before = constant(bias)
    correct_bias(model.graph, layer, stored, Means(x.mean(axis=0), rounded.mean(axis=0)))
    exact = x @ weight[: x.shape[1]] + before
    np.testing.assert_allclose(
        (rounded @ stored + constant(bias)).mean(axis=0), exact.mean(axis=0), atol=1e-5
    )


def test_a_layer_without_a_bias_gets_one(tmp_path: Path) -> None:
    model = prepared()
    layer = next(layer for layer in find_linear_layers(model)[0] if layer.name == LAYER)
    bias = own_bias(model.graph, layer.node)
    assert own_bias(model.graph, layer.node) is bias
    add = next(use.node for use in layer.node.outputs[0].uses())
    add.outputs[0].name = "gone"
    for node, index in tuple(add.outputs[0].uses()):
        node.replace_input_with(index, layer.node.outputs[0])
    model.graph.remove(add, safe=True)
    model.graph.initializers.pop(str(bias.name))
    before = copy_model(model)
    new = own_bias(model.graph, layer.node)
    assert not constant(new).any()  # type: ignore[union-attr]
    feeds = feeds_for(model)
    same = difference(run_model(before, feeds, tmp_path), run_model(model, feeds, tmp_path))
    assert same == 0


def test_rows_of_the_embedding_table_have_their_own_scale(tmp_path: Path) -> None:
    model = traced("feature-extraction")
    table = model.graph.initializers[f"{TABLE}.weight"]
    array = constant(table)
    assert array is not None
    before = copy_model(model)
    assert quantize_embeddings(model, VNNI).precision == "int8"
    assert f"{TABLE}.weight" not in model.graph.initializers
    stored = constant(model.graph.initializers[f"{TABLE}.weight_int8"])
    scales = constant(model.graph.initializers[f"{TABLE}.weight_scale"])
    assert stored is not None
    assert scales is not None
    assert (stored.dtype, scales.shape) == (np.int8, (len(array), 1))
    assert (np.abs(stored * scales - array) <= scales * 0.501).all()
    feeds = feeds_for(model)
    assert (
        0 < difference(run_model(before, feeds, tmp_path), run_model(model, feeds, tmp_path)) < 0.1
    )


def test_a_table_that_must_stay_float_says_why() -> None:
    model = traced("feature-extraction")
    engine = Scheme("int8", 8, symmetric=True, integer_tables=False)
    assert "no rows in int8" in str(quantize_embeddings(model, engine).reason)
    table = model.graph.initializers[f"{TABLE}.weight"]
    (use,) = table.uses()
    model.graph.insert_after(use.node, ir.node("Gather", list(use.node.inputs)))
    kept = quantize_embeddings(model, VNNI)
    assert (kept.precision, kept.reason) == ("fp32", "something else reads the same table")
    table.name = "renamed"
    assert quantize_embeddings(model, VNNI).reason == "the graph has no such table"


def test_a_decoder_in_int8_leaves_no_float_copy_of_the_table(tmp_path: Path) -> None:
    model = prepared("fill-mask")
    found = preparation_of(model, tmp_path)
    clone = model.clone()
    plan = {layer.layer: layer for layer in quantize_graph(clone, found, scheme=VNNI)}
    assert {plan[layer].precision for layer in (DECODER, TRANSFORM, TABLE)} == {"int8"}
    tensors = [value.const_value for value in clone.graph.initializers.values()]
    axes = set(constant(model.graph.initializers[f"{TABLE}.weight"]).shape)  # type: ignore[union-attr]
    assert [
        tensor.dtype for tensor in tensors if tensor is not None and set(tensor.shape) == axes
    ] == [
        ir.DataType.INT8,
        ir.DataType.INT8,
    ]
    (row,) = rows()[:1]  # its ids were seen, and are within the ranges
    feeds = pad_rows([row], pad_id=0)
    exact, close = (run_model(one, feeds, tmp_path)["logits"] for one in (model, clone))
    assert 0 < float(np.abs(exact - close).max()) < 0.1 * float(np.abs(exact).max())


def test_a_float_decoder_keeps_the_table_that_it_is_tied_to(tmp_path: Path) -> None:
    model = prepared("fill-mask")
    found = preparation_of(model, tmp_path)
    plan = quantize_graph(model, found, scheme=VNNI, excluded_layers={DECODER: "it hurts"})
    assert (plan[-1].layer, plan[-1].precision) == (TABLE, "fp32")
    assert plan[-1].reason == "a float decoder is tied to it, and one copy serves both"
    assert f"{TABLE}.weight" in model.graph.initializers


def test_dynamic_sets_its_range_in_the_graph(tmp_path: Path) -> None:
    model = prepared()
    found = preparation_of(model, tmp_path, mode="dynamic", embeddings=False)
    assert not found.activations
    clone = model.clone()
    plan = quantize_graph(clone, found, scheme=VNNI)
    assert sum(layer.precision == "int8" for layer in plan) == 6 * LAYERS
    assert all(layer.activation_scale is None for layer in plan)
    operators = [node.op_type for node in clone.graph]
    assert operators.count("DynamicQuantizeLinear") == 4 * LAYERS
    assert operators.count("MatMulIntegerToFloat") == 6 * LAYERS
    feeds = feeds_for(model)
    exact, close = run_model(model, feeds, tmp_path), run_model(clone, feeds, tmp_path)
    assert 0 < difference(exact, close) < 0.2 * float(np.abs(exact["logits"]).max())


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(InputError, match="INT8 mode 'fast' is unknown"):
        check_quantization(QuantizationOptions(mode="fast"))
    with pytest.raises(InputError, match="INT8 observer 'magic' is unknown"):
        check_quantization(QuantizationOptions(observer="magic"))
