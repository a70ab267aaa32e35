"""Profiles: extremes over all tokens, a sample that is bounded and even."""

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
    found = profile()
    np.testing.assert_array_equal(found.low, ALL.min(axis=0))
    np.testing.assert_array_equal(found.high, ALL.max(axis=0))
    assert found.tokens == len(ALL)


def test_sample_is_bounded_even_and_repeatable() -> None:
    found = profile()
    assert found.sample.shape == (SAMPLE, 4)
    places = {token.tobytes(): place for place, token in enumerate(ALL)}
    drawn = np.array([places[token.tobytes()] for token in found.sample])
    assert len(set(drawn)) == SAMPLE
    share = np.histogram(drawn, bins=10, range=(0, len(ALL)))[0] / SAMPLE
    assert share.min() > 0.07
    assert share.max() < 0.13
    np.testing.assert_array_equal(profile().sample, found.sample)


def test_few_tokens_are_all_kept() -> None:
    profiler = Profiler()
    profiler.observe(BATCHES[1])
    np.testing.assert_array_equal(profiler.profile().sample, BATCHES[1])


@pytest.mark.parametrize(("columns", "share"), [(1, 1), (4096, 1), (402_832, 1), (402_833, 2)])
def test_a_sample_is_thinned_where_its_product_takes_long(columns: int, share: int) -> None:
    found = profile().thinned(columns)
    np.testing.assert_array_equal(found.sample, profile().sample[::share])
    assert found.sample.size * columns <= MULTIPLICATIONS
    assert found.tokens == len(ALL)


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="saw no batch"):
        Profiler().profile()
