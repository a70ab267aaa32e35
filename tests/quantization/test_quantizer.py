"""The quantizer: its arithmetic, the layers that it covers, and the graph that it writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bert_export.checkpoints import load_checkpoint
from bert_export.errors import QuantizationError
from bert_export.models import load_head
from bert_export.quantization.calibration.observers import MinMaxObserver
from bert_export.quantization.calibration.ranges import collect_ranges
from bert_export.quantization.preparation import Preparation
from bert_export.quantization.quantizer import (
    SCHEMES,
    affine_parameters,
    find_linear_layers,
    quantize_graph,
    quantize_weight,
)
from bert_export.runtime.batching import Row, pad_rows
from bert_export.runtime.processor import PROCESSORS
from tests.oracle import random_batch
from tests.tracing.test_trace import trace_head

BOUND = st.floats(-1e4, 1e4, allow_nan=False)


@given(low=BOUND, high=BOUND, lowest=st.sampled_from([0, -128]))
def test_zero_and_both_bounds_survive(low: float, high: float, lowest: int) -> None:
    low, high = sorted((low, high))
    affine = affine_parameters(low, high, lowest=lowest)
    assert affine.scale > 0
    assert lowest <= affine.zero_point <= lowest + 255
    for value in (0.0, low, high):
        rounded = np.rint(value / affine.scale) + affine.zero_point
        quantized = np.clip(rounded, lowest, lowest + 255)
        dequantized = affine.scale * (quantized - affine.zero_point)
        assert abs(dequantized - value) <= affine.scale * 1.001 + 1e-12


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (np.nan, 1.0), (-np.inf, 0.0)])
def test_a_malformed_range_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(QuantizationError, match="activation range is not valid"):
        affine_parameters(*bounds)


@given(
    weight=arrays.arrays(np.float32, (5, 3), elements=st.floats(-100, 100, width=32)),
    largest=st.sampled_from([63, 127]),
)
@example(weight=np.full((5, 3), 1e-45, np.float32), largest=63)  # its scale would be 0
def test_weights_come_back_within_half_a_step(weight: np.ndarray, largest: int) -> None:
    quantized, scales = quantize_weight(weight, largest=largest)
    assert quantized.dtype == np.int8
    assert scales.shape == (3,)
    assert np.abs(quantized.astype(int)).max() <= largest
    assert (np.abs(quantized * scales - weight) <= 0.5 * scales + 1e-6).all()


@pytest.fixture
def traced(tiny: Callable[..., Path]) -> ir.Model:
    folder = tiny("BertForSequenceClassification", num_labels=3)
    head = load_head("BertForSequenceClassification", load_checkpoint(str(folder)))
    return trace_head(head, "text-classification")


def rows() -> list[Row]:
    ids, mask, types = random_batch(60, (9, 4, 1, 7))
    return [
        Row(ids[i, : int(n)].numpy(), types[i, : int(n)].numpy(), None)  # type: ignore[arg-type]
        for i, n in enumerate(mask.sum(1))
    ]


def ranges_of(model: ir.Model, folder: Path) -> dict[str, tuple[float, float]]:
    layers, _ = find_linear_layers(model)
    return collect_ranges(
        model,
        tuple(dict.fromkeys(layer.activation for layer in layers)),
        rows(),
        folder=folder,
        feeds=partial(pad_rows, pad_id=0),
        make_observer=MinMaxObserver,
    )


def test_encoder_and_pooler_are_covered(traced: ir.Model) -> None:
    layers, float_layers = find_linear_layers(traced)
    assert len(layers) == 2 * 6 + 1
    assert layers[-1].name == "bert.pooler.dense"
    assert [(plan.layer, plan.precision) for plan in float_layers] == [("classifier", "fp32")]
    assert float_layers[0].reason


def test_a_graph_without_an_encoder_is_refused(traced: ir.Model) -> None:
    for layer in find_linear_layers(traced)[0]:
        weight = layer.node.inputs[1]
        assert weight is not None
        weight.name = f"other.{weight.name}"
    with pytest.raises(QuantizationError, match="no linear layer to quantize"):
        find_linear_layers(traced)


def test_ranges_do_not_see_padding(traced: ir.Model, tmp_path: Path) -> None:
    before = outline(traced)
    together = ranges_of(traced, tmp_path)
    assert outline(traced) == before
    assert list(tmp_path.iterdir()) == []
    layers, _ = find_linear_layers(traced)
    alone = [
        collect_ranges(
            traced,
            [layers[0].activation],
            [row],
            folder=tmp_path,
            feeds=partial(pad_rows, pad_id=0),
            make_observer=MinMaxObserver,
        )[layers[0].activation]
        for row in rows()
    ]
    low, high = together[layers[0].activation]
    assert low == pytest.approx(min(bounds[0] for bounds in alone), rel=1e-5)
    assert high == pytest.approx(max(bounds[1] for bounds in alone), rel=1e-5)


@pytest.mark.parametrize("cpu", PROCESSORS)
def test_the_graph_has_explicit_quantization_and_stays_close(
    traced: ir.Model, tmp_path: Path, cpu: str
) -> None:
    ids, mask, types = (tensor.numpy() for tensor in random_batch(60, (9, 4, 1, 7)))
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    exact = run(traced, feeds)
    ranges = ranges_of(traced, tmp_path)
    scheme = SCHEMES[cpu]
    plan = quantize_graph(traced, Preparation.from_ranges(ranges), scheme=scheme)
    assert [layer.precision for layer in plan] == ["int8"] * 13 + ["fp32", "int8"]
    operators = [node.op_type for node in traced.graph]
    assert operators.count("QuantizeLinear") == len(ranges)  # query, key and value share theirs
    dtypes = [value.const_value.dtype for value in traced.graph.initializers.values()]
    zero_points = len(ranges) if cpu == "arm64" else 0
    assert dtypes.count(ir.DataType.INT8) == 13 + 1 + zero_points  # the word table too
    for layer in plan[:13]:
        weight = traced.graph.initializers[f"{layer.layer}.weight_int8"].const_value.numpy()
        assert np.abs(weight.astype(int)).max() <= scheme.weight_bound
    quantized = run(traced, feeds)
    assert 0 < np.abs(quantized - exact).max() < 0.35 * np.abs(exact).max()


def outline(model: ir.Model) -> list[object]:
    return [
        [value.name for value in model.graph.outputs],
        {name: id(value.const_value) for name, value in model.graph.initializers.items()},
        [(node.op_type, [value and value.name for value in node.inputs]) for node in model.graph],
    ]


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    return session.run(None, feeds)[0]
