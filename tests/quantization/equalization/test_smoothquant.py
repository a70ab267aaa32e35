"""SmoothQuant: in float nothing changes, and no outlier costs the other channels precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.passes.fuse_attention import FuseAttention
from bert_export.quantization.calibration.activation_profile import ActivationProfile
from bert_export.quantization.equalization.smoothquant import (
    MIN_GAIN,
    STRENGTHS,
    SmoothQuant,
    apply_smoothquant,
    search_smoothquant,
    value_projection,
)
from bert_export.quantization.linear_layers import find_linear_layers, group_linear_layers
from tests.passes.graphs import LAYERS, copy_model, difference, feeds_for, run_model, traced


def profile(sample: np.ndarray) -> ActivationProfile:
    return ActivationProfile(sample.min(axis=0), sample.max(axis=0), sample, len(sample))


def sample_and_weight(outlier: float, *, channels: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(256, channels)).astype(np.float32)
    sample[:, 3] *= outlier
    return sample, rng.normal(size=(channels, 16)).astype(np.float32)


def test_an_outlier_channel_is_divided() -> None:
    sample, weight = sample_and_weight(30.0)
    smoothquant = search_smoothquant(profile(sample), [weight], folded=False)
    assert smoothquant is not None
    assert smoothquant.strength in STRENGTHS
    assert smoothquant.scales.argmax() == 3
    assert np.log(smoothquant.scales).mean() == pytest.approx(0, abs=1e-5)


def test_a_multiplication_must_pay_and_a_folded_one_need_not() -> None:
    sample, weight = sample_and_weight(1.0)
    assert MIN_GAIN > 1
    assert search_smoothquant(profile(sample), [weight], folded=False) is None
    folded = search_smoothquant(profile(sample), [weight], folded=True)
    assert folded is None or folded.folded


def test_channels_that_are_always_zero_are_left_alone() -> None:
    sample, weight = sample_and_weight(30.0)
    sample[:, 7] = 0
    smoothquant = search_smoothquant(profile(sample), [weight], folded=False)
    assert smoothquant is not None
    assert smoothquant.scales[7] == 1
    assert np.isfinite(smoothquant.scales).all()
    assert search_smoothquant(profile(np.zeros_like(sample)), [weight], folded=True) is None


@given(outlier=st.floats(0.01, 1000.0), seed=st.integers(0, 50))
def test_the_products_stay_the_same(outlier: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample = rng.normal(size=(64, 8)).astype(np.float32)
    sample[:, 0] *= np.float32(outlier)
    weight = rng.normal(size=(8, 5)).astype(np.float32)
    smoothquant = search_smoothquant(profile(sample), [weight], folded=True)
    if smoothquant is not None:
        assert (smoothquant.scales > 0).all()
        product = (sample / smoothquant.scales) @ (weight * smoothquant.scales[:, None])
        np.testing.assert_allclose(product, sample @ weight, rtol=1e-3, atol=1e-3 * outlier)


@pytest.mark.parametrize("fused", [True, False])
def test_the_float_graph_computes_what_it_did(fused: bool, tmp_path: Path) -> None:
    model = traced("token-classification")
    if fused:
        FuseAttention()(model)
    before = copy_model(model)
    folded = 0
    for members in group_linear_layers(find_linear_layers(model)[0]).values():
        activation = members[0].node.inputs[0]
        assert activation is not None
        foldable = value_projection(activation) is not None
        width = members[0].node.inputs[1].shape[0]  # type: ignore[union-attr, index]
        scales = np.linspace(0.1, 10.0, width).astype(np.float32)
        apply_smoothquant(model.graph, activation, members, SmoothQuant(0.5, scales, foldable))
        folded += foldable
    assert folded == (LAYERS if fused else 0)  # attention that is not fused has axes in between
    inserted = [node for node in model.graph if str(node.name).endswith(".smoothed")]
    assert len(inserted) == 4 * LAYERS - folded
    feeds = feeds_for(model)
    exact, smoothed = run_model(before, feeds, tmp_path), run_model(model, feeds, tmp_path)
    assert difference(exact, smoothed) < 2e-5


def test_values_that_others_read_too_are_not_folded() -> None:
    model = traced("token-classification")
    FuseAttention()(model)
    attention = next(node for node in model.graph if node.op_type == "Attention")
    output = attention.outputs[0]
    assert value_projection(output) is not None
    assert value_projection(model.graph.inputs[0]) is None
    values = attention.inputs[2]
    assert values is not None
    model.graph.outputs.append(values)
    assert value_projection(output) is None
