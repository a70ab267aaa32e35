"""Outlier channel splitting: units that are too large for INT8 share their value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.passes.editing import constant, insert_node, new_constant
from bert_export.passes.fuse_gelu import FuseGelu
from bert_export.quantization.calibration.activation_profile import ActivationProfile
from bert_export.quantization.equalization.outlier_channel_splitting import (
    FUNCTIONS,
    ChannelSplitting,
    apply_channel_splitting,
    hidden_layer,
    search_channel_splitting,
    split_sample,
)
from bert_export.quantization.linear_layers import find_linear_layers, group_linear_layers
from tests.passes.graphs import copy_model, difference, feeds_for, run_model, traced

WIDTH = 384


def outlier_profile(outlier: float, *, units: tuple[int, ...] = (5,)) -> ActivationProfile:
    """GELU's outputs, where some units give ``outlier`` at one token in fifty."""
    rng = np.random.default_rng(0)
    sample = FUNCTIONS["Gelu"](rng.normal(size=(500, WIDTH)).astype(np.float32))
    sample[::50, list(units)] = outlier
    return ActivationProfile(sample.min(axis=0), sample.max(axis=0), sample, len(sample))


def weights() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(WIDTH, 16)).astype(np.float32)


def test_a_large_unit_is_split_and_the_bound_falls() -> None:
    splitting = search_channel_splitting(outlier_profile(24.0), weights(), "Gelu")
    assert splitting is not None
    assert splitting.bound < 24 / 3
    assert splitting.copies[5] == splitting.copies.max() >= 3
    assert splitting.added == len(splitting.sources) == len(splitting.shifts)
    large = outlier_profile(24.0).high > splitting.bound
    assert splitting.copies[large].sum() <= WIDTH // 96
    assert splitting.copies[~large].sum() <= WIDTH // 192  # guards
    assert splitting.bound * (splitting.copies[5] + 1) >= 24 * 0.999


def test_no_large_unit_or_too_many_are_not_split() -> None:
    assert search_channel_splitting(outlier_profile(1.0), weights(), "Gelu") is None
    too_many = tuple(range(0, WIDTH, 4))
    assert (
        search_channel_splitting(outlier_profile(24.0, units=too_many), weights(), "Gelu") is None
    )
    wide = outlier_profile(24.0)
    narrow = ActivationProfile(wide.low[:90], wide.high[:90], wide.sample[:, :90], wide.tokens)
    assert search_channel_splitting(narrow, weights()[:90], "Gelu") is None  # 90 // 96 copies


def test_units_whose_clipping_would_cost_most_are_guarded() -> None:
    profile, weight = outlier_profile(24.0), weights()
    bound = search_channel_splitting(profile, weight, "Gelu").bound  # type: ignore[union-attr]
    near = [17, 40, 80]
    sample = profile.sample.copy()
    sample[7, near] = 0.95 * bound  # below the bound, where calibration saw them
    weight[near] *= np.array([[2.0], [3.0], [1.0]], np.float32)
    profile = ActivationProfile(sample.min(axis=0), sample.max(axis=0), sample, len(sample))
    splitting = search_channel_splitting(profile, weight, "Gelu")
    assert splitting is not None
    assert WIDTH // 192 == 2
    np.testing.assert_array_equal(splitting.copies[near], [1, 1, 0])
    np.testing.assert_array_equal(splitting.steepness[near[:2]], 2.0)
    # On other text the guards hold what exceeds the bound; without them it is lost.
    other = np.where(np.isin(np.arange(WIDTH), near[:2]), 1.3 * bound, 0.0).astype(np.float32)
    split = np.minimum(split_sample(other[None], splitting, "Gelu"), splitting.bound)
    error = (split @ splitting.widen(weight))[0] - other @ weight
    error_without = np.minimum(other, splitting.bound) @ weight - other @ weight
    assert np.linalg.norm(error) < 0.15 * np.linalg.norm(error_without)


def test_units_far_below_the_bound_are_not_guarded() -> None:
    sample = np.where(
        np.arange(WIDTH) == 5,
        outlier_profile(24.0).sample,
        outlier_profile(24.0).sample.clip(max=3),
    )
    profile = ActivationProfile(sample.min(axis=0), sample.max(axis=0), sample, len(sample))
    splitting = search_channel_splitting(profile, weights(), "Gelu")
    assert splitting is not None
    assert splitting.bound > 1.5 * 3
    np.testing.assert_array_equal(np.flatnonzero(splitting.copies), [5])


@given(
    u=st.floats(-30, 30, width=32),
    bound=st.floats(2.5, 10, width=32),
    copies=st.integers(1, 5),
    steepness=st.sampled_from([1.0, 2.0, 4.0]),
    function=st.sampled_from(sorted(FUNCTIONS)),
)
def test_the_copies_add_up(
    u: float, bound: float, copies: int, steepness: float, function: str
) -> None:
    apply = FUNCTIONS[function]
    shifts = bound * np.arange(copies + 1)
    slopes = np.where(np.arange(copies + 1) == copies, steepness, 1.0)
    parts = apply(((u - shifts) * slopes).astype(np.float32))
    total = (np.minimum(parts, bound) / slopes).sum()
    whole = min(float(apply(np.array([u], np.float32))[0]), bound * copies + bound / steepness)
    assert total == pytest.approx(whole, abs=1e-4 if function == "Relu" else 0.25)


@pytest.mark.parametrize(("steepness", "most"), [(1.0, 0.18), (2.0, 0.09), (4.0, 0.045)])
def test_a_steeper_copy_is_off_by_as_much_less(steepness: float, most: float) -> None:
    splitting = ChannelSplitting(6.0, np.array([1]), np.array([steepness], np.float32))
    u = np.linspace(-4, 6 + 6 / steepness, 500, dtype=np.float32)[:, None]
    exact = FUNCTIONS["Gelu"](u)
    split = np.minimum(split_sample(exact, splitting, "Gelu"), splitting.bound)
    together = split @ splitting.widen(np.ones((1, 1), np.float32))
    assert np.abs(together - exact).max() == pytest.approx(most, rel=0.1)


@pytest.mark.parametrize("steepness", [1.0, 2.0, 4.0])
def test_the_sample_is_what_the_widened_layer_gives(steepness: float) -> None:
    u = np.linspace(-4, 30, 2000, dtype=np.float32)[:, None]
    splitting = ChannelSplitting(6.0, np.array([3]), np.array([steepness], np.float32))
    split = split_sample(FUNCTIONS["Gelu"](u), splitting, "Gelu")
    inputs = np.concatenate([u, u - 6, u - 12, steepness * (u - 18)], axis=1)
    # In the next layer's output, where a steep copy's row is divided by its slope.
    error = (split - FUNCTIONS["Gelu"](inputs)) / [1, 1, 1, steepness]
    np.testing.assert_allclose(error, 0, atol=5e-3)


def activation_functions(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type in FUNCTIONS]


@pytest.mark.parametrize(("large", "bound", "steepness"), [(20, 7.5, 1.0), (32, 14.0, 2.0)])
def test_the_widened_graph_with_its_bound_computes_what_it_did(
    large: float, bound: float, steepness: float, tmp_path: Path
) -> None:
    model = traced("token-classification")
    FuseGelu()(model)
    before = copy_model(model)
    graph = model.graph
    groups = group_linear_layers(find_linear_layers(model)[0])
    for function in activation_functions(model):
        activation = function.outputs[0]
        hidden = hidden_layer(activation)
        assert hidden is not None
        linear, _ = hidden
        offsets = constant(linear.bias)
        assert offsets is not None
        # Make one unit large at every token, in both graphs.
        for either in (model, before):
            bias = either.graph.initializers[str(linear.bias.name)]  # type: ignore[union-attr]
            bias.const_value = ir.tensor(
                np.where(np.arange(len(offsets)) == 2, large, offsets).astype(np.float32)
            )
        (layer,) = groups[str(activation.name)]
        copies = np.zeros(len(offsets), np.int64)
        copies[2] = 2
        slopes = np.where(copies > 0, steepness, 1.0).astype(np.float32)
        apply_channel_splitting(graph, activation, layer, ChannelSplitting(bound, copies, slopes))
        assert activation.shape is not None
        assert activation.shape[-1] == len(offsets) + 2
        limit = new_constant(graph, "bound", np.float32(bound))
        clipped = insert_node(
            graph, layer.node, "Min", [activation, limit], name=f"{layer.name}.clip"
        )
        layer.node.replace_input_with(0, clipped)
    feeds = feeds_for(model)
    exact, split = run_model(before, feeds, tmp_path), run_model(model, feeds, tmp_path)
    assert difference(exact, split) < 2e-4


def test_a_layer_that_something_else_reads_is_not_split() -> None:
    model = traced("token-classification")
    FuseGelu()(model)
    activation = activation_functions(model)[0].outputs[0]
    hidden = hidden_layer(activation)
    assert hidden is not None
    linear, function = hidden
    assert function == "Gelu"
    assert hidden_layer(model.graph.inputs[0]) is None
    model.graph.outputs.append(linear.output)
    assert hidden_layer(activation) is None
