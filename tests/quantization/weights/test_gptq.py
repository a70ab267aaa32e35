"""GPTQ: products are closer than with rounding to nearest, at no other cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.quantization.weights.gptq import GptqQuantizer
from bert_export.quantization.weights.number_formats import quantize_weight


def correlated_sample(tokens: int, channels: int, *, factors: int, seed: int = 0) -> np.ndarray:
    """Quantized channels that follow a few common factors, uint8 (tokens, channels)."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(tokens, factors))
    mixed = common @ rng.normal(size=(factors, channels)) / np.sqrt(factors)
    values = 128 + 30 * (mixed + 0.1 * rng.normal(size=mixed.shape))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def random_weight(channels: int, outputs: int, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(channels, outputs)).astype(np.float32)


def error(
    sample: np.ndarray, weight: np.ndarray, quantized: np.ndarray, scales: np.ndarray
) -> float:
    """Squared error of the products around their mean, which the bias corrects."""
    centred = sample - sample.mean(axis=0)
    return float(((centred @ (quantized * scales - weight)) ** 2).mean())


@pytest.mark.parametrize("largest", [127, 63])
def test_products_of_correlated_channels_are_closer(largest: int) -> None:
    sample, weight = correlated_sample(600, 80, factors=8), random_weight(80, 24)
    calibrated, other = sample[:400], sample[400:]
    ((quantized, scales),) = GptqQuantizer().quantize("x", calibrated, [weight], largest=largest)
    nearest, nearest_scales = quantize_weight(weight, largest=largest)
    assert (quantized.dtype, quantized.shape) == (np.int8, weight.shape)
    assert int(np.abs(quantized).max()) <= largest
    np.testing.assert_array_equal(scales, nearest_scales)
    for tokens in (calibrated, other):
        gptq_error = error(tokens, weight, quantized, scales)
        assert gptq_error < 0.4 * error(tokens, weight, nearest, nearest_scales)


def test_uncorrelated_channels_are_rounded_to_nearest() -> None:
    corners = np.array(np.meshgrid(*[[100, 156]] * 6)).reshape(6, -1).T.astype(np.uint8)
    weight = random_weight(6, 10)
    ((quantized, scales),) = GptqQuantizer().quantize("x", corners, [weight], largest=127)
    nearest, nearest_scales = quantize_weight(weight)
    np.testing.assert_array_equal(quantized, nearest)
    np.testing.assert_array_equal(scales, nearest_scales)


@given(
    tokens=st.integers(1, 40),
    channels=st.integers(1, 150),
    outputs=st.integers(1, 5),
    constant=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_weight_stays_within_eight_bits(
    tokens: int, channels: int, outputs: int, seed: int, *, constant: bool
) -> None:
    sample = correlated_sample(tokens, channels, factors=2, seed=seed)
    if constant:
        sample[:, ::2] = 17
    weight = random_weight(channels, outputs, seed=seed)
    weight[:, 0] = 0
    ((quantized, scales),) = GptqQuantizer().quantize("x", sample, [weight], largest=127)
    assert int(np.abs(quantized.astype(int)).max()) <= 127
    assert not quantized[:, 0].any()
    assert np.isfinite(scales).all()
    assert (scales > 0).all()


def test_a_weight_is_quantized_once() -> None:
    sample = correlated_sample(50, 20, factors=3)
    weights = [random_weight(20, 4), random_weight(20, 6, seed=2)]
    gptq = GptqQuantizer()
    first = gptq.quantize("x", sample, weights, largest=127)
    again = gptq.quantize("x", sample, [weights[1], weights[0].copy()], largest=127)
    assert again[0] is first[1]
    assert again[1] is first[0]
    (narrow,) = gptq.quantize("x", sample, weights[:1], largest=63)
    assert int(np.abs(narrow[0]).max()) == 63
    (other,) = gptq.quantize("x", sample, [weights[0] + 1], largest=127)
    assert other is not first[0]
