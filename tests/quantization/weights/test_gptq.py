"""Rounding of weights: the products are closer than with nearest levels, at no other cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.quantization.weights.gptq import WeightRounder
from bert_export.quantization.weights.number_formats import quantize_weight


def levels_of(tokens: int, channels: int, *, moved_by: int, seed: int = 0) -> np.ndarray:
    """Levels of channels that follow ``moved_by`` hidden ones, uint8 (tokens, channels)."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(tokens, moved_by))
    mixed = hidden @ rng.normal(size=(moved_by, channels)) / np.sqrt(moved_by)
    values = 128 + 30 * (mixed + 0.1 * rng.normal(size=mixed.shape))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def weight_of(channels: int, outputs: int, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(channels, outputs)).astype(np.float32)


def error(sample: np.ndarray, weight: np.ndarray, levels: np.ndarray, scales: np.ndarray) -> float:
    """Squared error of the products around their mean, which the bias corrects."""
    channel_shifted = sample - sample.mean(axis=0)
    return float(((channel_shifted @ (levels * scales - weight)) ** 2).mean())


@pytest.mark.parametrize("largest", [127, 63])
def test_products_of_channels_that_move_together_are_closer(largest: int) -> None:
    sample, weight = levels_of(600, 80, moved_by=8), weight_of(80, 24)
    ((levels, scales),) = WeightRounder().round("x", sample[:400], [weight], largest=largest)
    nearest, steps = quantize_weight(weight, largest=largest)
    assert (levels.dtype, levels.shape) == (np.int8, weight.shape)
    assert int(np.abs(levels).max()) <= largest
    np.testing.assert_array_equal(scales, steps)
    for tokens in (sample[:400], sample[400:]):  # those it saw, and others
        ours = error(tokens, weight, levels, scales)
        assert ours < 0.4 * error(tokens, weight, nearest, steps)


def test_channels_that_move_alone_go_to_the_nearest_level() -> None:
    corners = np.array(np.meshgrid(*[[100, 156]] * 6)).reshape(6, -1).T.astype(np.uint8)
    weight = weight_of(6, 10)
    ((levels, scales),) = WeightRounder().round("x", corners, [weight], largest=127)
    nearest, steps = quantize_weight(weight)
    np.testing.assert_array_equal(levels, nearest)
    np.testing.assert_array_equal(scales, steps)


@given(
    tokens=st.integers(1, 40),
    channels=st.integers(1, 150),
    outputs=st.integers(1, 5),
    still=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_weight_stays_within_its_levels(
    tokens: int, channels: int, outputs: int, seed: int, *, still: bool
) -> None:
    sample = levels_of(tokens, channels, moved_by=2, seed=seed)
    if still:
        sample[:, ::2] = 17  # channels that never move
    weight = weight_of(channels, outputs, seed=seed)
    weight[:, 0] = 0
    ((levels, scales),) = WeightRounder().round("x", sample, [weight], largest=127)
    assert int(np.abs(levels.astype(int)).max()) <= 127
    assert not levels[:, 0].any()
    assert np.isfinite(scales).all()
    assert (scales > 0).all()


def test_a_weight_is_rounded_once() -> None:
    sample, weights = levels_of(50, 20, moved_by=3), [weight_of(20, 4), weight_of(20, 6, seed=2)]
    rounder = WeightRounder()
    first = rounder.round("x", sample, weights, largest=127)
    again = rounder.round("x", sample, [weights[1], weights[0].copy()], largest=127)
    assert again[0] is first[1]
    assert again[1] is first[0]
    (narrow,) = rounder.round("x", sample, weights[:1], largest=63)
    assert int(np.abs(narrow[0]).max()) == 63
    (other,) = rounder.round("x", sample, [weights[0] + 1], largest=127)
    assert other is not first[0]
