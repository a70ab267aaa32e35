"""Channel shifting: exact in float, only where all readers can add back, never a larger scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bert_export.passes.editing import producer
from bert_export.passes.fold_biases import FOLDED_PER_LAYER
from bert_export.quantization.calibration.activation_profile import ActivationProfile
from bert_export.quantization.equalization.channel_shifting import (
    apply_channel_shifts,
    can_be_shifted,
    channel_middles,
    is_gathered,
)
from bert_export.quantization.linear_layers import (
    LinearLayer,
    find_linear_layers,
    group_linear_layers,
)
from bert_export.quantization.weights.number_formats import affine_parameters
from tests.passes.graphs import LAYERS, copy_model, difference, feeds_for, run_model
from tests.quantization.activations import layer_inputs
from tests.targets.emitted import prepared

# Activations that are shifted in each encoder layer: the input of queries, keys and values, the
# output of attention, and the input of the feed-forward block. The output of GELU is not.
PER_LAYER = 3
# Activations that are shifted beside those of the encoder layers.
BESIDE = {
    "text-classification": 2,  # the first tokens: for the last layer's queries, for the pooler
    "multiple-choice": 2,
    "token-classification": 0,
    "fill-mask": 2,  # inputs of the vocabulary head's two layers
    "text-generation": 3,  # the last tokens: for the queries, the transform, the decoder
    "sentence-embedding": 0,
}


def groups_of(model: ir.Model) -> dict[str, tuple[ir.Value, list[LinearLayer]]]:
    """Each activation and the layers that read it, by its name."""
    groups = {}
    for name, layers in group_linear_layers(find_linear_layers(model)[0]).items():
        activation = layers[0].node.inputs[0]
        assert activation is not None
        groups[name] = activation, layers
    return groups


def shift_all(model: ir.Model) -> dict[str, NDArray[np.float32]]:
    """Subtract random shifts from whatever can be shifted, gathered activations first."""
    rng = np.random.default_rng(5)
    shifts: dict[str, NDArray[np.float32]] = {}
    groups = groups_of(model)
    names = [name for name, group in groups.items() if can_be_shifted(*group)]
    for name in sorted(names, key=lambda name: not is_gathered(groups[name][0])):
        activation, layers = groups[name]
        weight = layers[0].node.inputs[1]
        assert weight is not None
        assert weight.shape is not None
        shifts[name] = rng.normal(size=int(weight.shape[0])).astype(np.float32)
        apply_channel_shifts(model.graph, activation, layers, shifts[name])
    return shifts


@pytest.mark.parametrize("task", BESIDE)
def test_the_float_graph_computes_what_it_did(task: str, tmp_path: Path) -> None:
    model = prepared(task)
    before, nodes_before = copy_model(model), len(list(model.graph))
    shifts = shift_all(model)
    assert len(shifts) == PER_LAYER * LAYERS + BESIDE[task]
    feeds = feeds_for(model, seed=1)
    exact, shifted = run_model(before, feeds, tmp_path), run_model(model, feeds, tmp_path)
    assert 0 < difference(exact, shifted) < 5e-5
    added = [node for node in model.graph if str(node.name).endswith(".centred")]
    gathered = sum(is_gathered(activation) for activation, _ in groups_of(before).values())
    assert len(added) == gathered
    biases = FOLDED_PER_LAYER * LAYERS  # a pass had folded them away; shifting needs them again
    assert len(list(model.graph)) - nodes_before == gathered + biases


@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "token-classification"])
def test_layers_read_what_they_did_less_the_shifts(task: str, tmp_path: Path) -> None:
    model = prepared(task)
    before = copy_model(model)
    shifts = shift_all(model)
    feeds = feeds_for(model)
    exact, shifted = (layer_inputs(graph, feeds, tmp_path) for graph in (before, model))
    for layer in find_linear_layers(before)[0]:
        expected = exact[layer.name] - shifts.get(layer.activation, np.float32(0))
        np.testing.assert_allclose(shifted[layer.name], expected, atol=5e-5)


def norm_before_feed_forward(model: ir.Model) -> tuple[ir.Value, list[LinearLayer]]:
    layers = [
        layer
        for layer in find_linear_layers(model)[0]
        if layer.name.endswith("0.intermediate.dense")
    ]
    activation = layers[0].node.inputs[0]
    assert activation is not None
    assert can_be_shifted(activation, layers)
    return activation, layers


def test_a_norm_that_is_an_output_is_left_alone() -> None:
    model = prepared("token-classification")
    activation, layers = norm_before_feed_forward(model)
    model.graph.outputs.append(activation)
    assert not can_be_shifted(activation, layers)


def test_a_norm_that_another_operator_reads_is_left_alone() -> None:
    model = prepared("token-classification")
    activation, layers = norm_before_feed_forward(model)
    model.graph.insert_before(layers[0].node, ir.node("Relu", [activation]))
    assert not can_be_shifted(activation, layers)


def test_a_residual_without_a_layer_takes_nothing_back() -> None:
    model = prepared("token-classification")
    activation, layers = norm_before_feed_forward(model)
    model.graph.insert_before(layers[0].node, ir.node("Add", [activation, model.graph.inputs[0]]))
    assert not can_be_shifted(activation, layers)


def test_a_layer_that_others_read_takes_nothing_back() -> None:
    model = prepared("token-classification")
    activation, layers = norm_before_feed_forward(model)
    residual = next(use.node for use in activation.uses() if use.node.op_type == "Add")
    (layer_output,) = (value for value in residual.inputs if value is not activation)
    model.graph.outputs.append(layer_output)  # type: ignore[arg-type]
    assert not can_be_shifted(activation, layers)


def test_a_norm_without_a_bias_cannot_take_the_shifts() -> None:
    model = prepared("token-classification")
    activation, layers = norm_before_feed_forward(model)
    norm = producer(activation, "LayerNormalization")
    assert norm is not None
    norm.resize_inputs(2)
    assert not can_be_shifted(activation, layers)


def test_values_that_a_float_layer_mixes_too_are_left_alone() -> None:
    model = prepared("token-classification")
    name, (activation, layers) = next(
        (name, group)
        for name, group in groups_of(model).items()
        if producer(group[0], "Attention") is not None
    )
    assert can_be_shifted(activation, layers), name
    model.graph.insert_before(layers[0].node, ir.node("Relu", [activation]))
    assert not can_be_shifted(activation, layers)


@given(seed=st.integers(0, 1000), spread=st.floats(0.0, 100.0))
def test_the_scale_is_never_larger(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    offsets = spread * rng.normal(size=6)
    sample = (rng.normal(size=(20, 6)) + offsets).astype(np.float32)
    profile = ActivationProfile(sample.min(axis=0), sample.max(axis=0), sample, len(sample))
    shifts = channel_middles(profile)
    before = affine_parameters(float(profile.low.min()), float(profile.high.max())).scale
    after = affine_parameters(
        float((profile.low - shifts).min()), float((profile.high - shifts).max())
    ).scale
    assert after <= before * (1 + 1e-5)
