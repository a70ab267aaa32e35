"""Profiles: extremes over all tokens, and a sample that is bounded and even."""

from __future__ import annotations

import numpy as np
import pytest

from bert_export.errors import CalibrationError
from bert_export.quantization.calibration.activation_profile import (
    MULTIPLICATIONS,
    SAMPLE,
    ActivationProfile,
    Profiler,
)

BATCHES = [
    np.random.default_rng(seed).normal(size=(tokens, 4)).astype(np.float32)
    for seed, tokens in enumerate((1, 700, 3000, 37, 2900))
]
ALL = np.concatenate(BATCHES)


def profile() -> ActivationProfile:
    profiler = Profiler()
    for batch in BATCHES:
        profiler.observe(batch)
    return profiler.profile()


def test_extremes_are_those_of_all_tokens() -> None:
    observed = profile()
    np.testing.assert_array_equal(observed.low, ALL.min(axis=0))
    np.testing.assert_array_equal(observed.high, ALL.max(axis=0))
    assert observed.tokens == len(ALL)


def test_sample_is_bounded_even_and_repeatable() -> None:
    sample = profile().sample
    assert sample.shape == (SAMPLE, 4)
    indices = {token.tobytes(): index for index, token in enumerate(ALL)}
    drawn = np.array([indices[token.tobytes()] for token in sample])
    assert len(set(drawn)) == SAMPLE
    share = np.histogram(drawn, bins=10, range=(0, len(ALL)))[0] / SAMPLE
    assert share.min() > 0.07
    assert share.max() < 0.13
    np.testing.assert_array_equal(profile().sample, sample)


def test_few_tokens_are_all_kept() -> None:
    profiler = Profiler()
    profiler.observe(BATCHES[1])
    np.testing.assert_array_equal(profiler.profile().sample, BATCHES[1])


@pytest.mark.parametrize(("columns", "step"), [(1, 1), (4096, 1), (402_832, 1), (402_833, 2)])
def test_a_sample_is_thinned_where_its_product_takes_long(columns: int, step: int) -> None:
    thinned = profile().thinned(columns)
    np.testing.assert_array_equal(thinned.sample, profile().sample[::step])
    assert thinned.sample.size * columns <= MULTIPLICATIONS
    assert thinned.tokens == len(ALL)


def test_no_batch_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="saw no batch"):
        Profiler().profile()
