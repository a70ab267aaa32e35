"""SmoothQuant: in float nothing changes, and outliers no longer cost the others their levels."""

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
    choose_smoothquant,
    values_of,
)
from bert_export.quantization.linear_layers import find_linear_layers, group_linear_layers
from tests.passes.graphs import LAYERS, copy_model, difference, feeds_for, run_model, traced


def profile(sample: np.ndarray) -> ActivationProfile:
    return ActivationProfile(sample.min(axis=0), sample.max(axis=0), sample, len(sample))


def data(outlier: float, *, channels: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(256, channels)).astype(np.float32)
    sample[:, 3] *= outlier
    return sample, rng.normal(size=(channels, 16)).astype(np.float32)


def test_an_outlier_channel_is_smoothed() -> None:
    sample, weight = data(30.0)
    chosen = choose_smoothquant(profile(sample), [weight], folded=False)
    assert chosen is not None
    assert chosen.strength in STRENGTHS
    assert chosen.scales.argmax() == 3
    assert np.log(chosen.scales).mean() == pytest.approx(0, abs=1e-5)


def test_a_multiplication_must_pay_and_a_folded_one_need_not() -> None:
    sample, weight = data(1.0)
    assert MIN_GAIN > 1
    assert choose_smoothquant(profile(sample), [weight], folded=False) is None
    folded = choose_smoothquant(profile(sample), [weight], folded=True)
    assert folded is None or folded.folded


def test_channels_that_are_always_zero_are_left_alone() -> None:
    sample, weight = data(30.0)
    sample[:, 7] = 0
    chosen = choose_smoothquant(profile(sample), [weight], folded=False)
    assert chosen is not None
    assert chosen.scales[7] == 1
    assert np.isfinite(chosen.scales).all()
    assert choose_smoothquant(profile(np.zeros_like(sample)), [weight], folded=True) is None


@given(outlier=st.floats(0.01, 1000.0), seed=st.integers(0, 50))
def test_no_choice_is_worse_than_none(outlier: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample = rng.normal(size=(64, 8)).astype(np.float32)
    sample[:, 0] *= np.float32(outlier)
    weight = rng.normal(size=(8, 5)).astype(np.float32)
    chosen = choose_smoothquant(profile(sample), [weight], folded=True)
    if chosen is not None:
        assert (chosen.scales > 0).all()
        product = (sample / chosen.scales) @ (weight * chosen.scales[:, None])
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
        free = values_of(activation) is not None
        width = members[0].node.inputs[1].shape[0]  # type: ignore[union-attr, index]
        scales = np.linspace(0.1, 10.0, width).astype(np.float32)
        apply_smoothquant(model.graph, activation, members, SmoothQuant(0.5, scales, free))
        folded += free
    assert folded == (LAYERS if fused else 0)  # the written-out form mixes axes in between
    multiplied = [node for node in model.graph if str(node.name).endswith(".smoothed")]
    assert len(multiplied) == 4 * LAYERS - folded
    feeds = feeds_for(model)
    exact, smoothed = run_model(before, feeds, tmp_path), run_model(model, feeds, tmp_path)
    assert difference(exact, smoothed) < 2e-5


def test_values_that_others_read_too_are_not_folded() -> None:
    model = traced("token-classification")
    FuseAttention()(model)
    attention = next(node for node in model.graph if node.op_type == "Attention")
    output = attention.outputs[0]
    assert values_of(output) is not None
    assert values_of(model.graph.inputs[0]) is None
    values = attention.inputs[2]
    assert values is not None
    model.graph.outputs.append(values)
    assert values_of(output) is None
