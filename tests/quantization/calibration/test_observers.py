"""Observers: the ranges that they give to streams of batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bert_export.errors import CalibrationError
from bert_export.quantization.calibration.observers import (
    OBSERVERS,
    MinMaxObserver,
    MovingAverageObserver,
    MseObserver,
    PercentileObserver,
    make_observer,
)
from bert_export.quantization.weights.number_formats import affine_parameters, round_trip

BATCHES = st.lists(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=1, max_dims=3, max_side=6),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    min_size=1,
    max_size=5,
)


@given(batches=BATCHES)
def test_min_max_is_the_extremes_of_all_batches(batches: list[np.ndarray]) -> None:
    observer = MinMaxObserver()
    for batch in batches:
        observer.observe(batch)
    values = np.concatenate([batch.reshape(-1) for batch in batches])
    assert observer.range() == (values.min(), values.max())


@given(batches=BATCHES, name=st.sampled_from(sorted(OBSERVERS)))
def test_no_range_is_wider_than_the_extremes(batches: list[np.ndarray], name: str) -> None:
    observer = make_observer(name)
    for batch in batches:
        observer.observe(batch)
    low, high = observer.range()
    values = np.concatenate([batch.reshape(-1) for batch in batches])
    assert values.min() <= low <= high <= values.max()


@given(batches=BATCHES, name=st.sampled_from(["min-max", "percentile", "entropy", "mse"]))
def test_the_order_of_batches_does_not_matter(batches: list[np.ndarray], name: str) -> None:
    forwards, backwards = make_observer(name), make_observer(name)
    for batch, other in zip(batches, reversed(batches), strict=True):
        forwards.observe(batch)
        backwards.observe(other)
    assert forwards.range() == backwards.range()


@given(batches=BATCHES, percentile=st.sampled_from([60.0, 90.0, 99.0, 100.0]))
def test_percentile_is_the_ordered_value(batches: list[np.ndarray], percentile: float) -> None:
    observer = PercentileObserver(percentile)
    bounds = []
    for batch in batches:
        observer.observe(batch)
        ordered = np.sort(batch.reshape(-1))
        outside = int(batch.size * (1.0 - percentile / 100.0))
        bounds.append((ordered[outside], ordered[batch.size - 1 - outside]))
    assert observer.range() == (min(low for low, _ in bounds), max(high for _, high in bounds))


def test_moving_average_follows_the_batches() -> None:
    observer = MovingAverageObserver(momentum=0.75)
    for low, high in ((-1.0, 1.0), (-5.0, 1.0), (-1.0, 9.0)):
        observer.observe(np.array([low, high], np.float32))
    assert observer.range() == pytest.approx((-1.75, 3.0))


def heavy_tails() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 64)).astype(np.float32)
    values[17, 3] = 20.0
    return values


@pytest.mark.parametrize("name", ["entropy", "mse"])
def test_searched_bounds_clip_rare_outliers_and_keep_the_bulk(name: str) -> None:
    observer = make_observer(name)
    for batch in np.array_split(heavy_tails(), 7):
        observer.observe(batch)
    low, high = observer.range()
    assert -8 < low < -2.5
    assert 2.5 < high < 18


def test_mse_is_no_worse_than_any_bound_that_it_tries() -> None:
    values, observer = heavy_tails(), MseObserver()
    observer.observe(values)

    def error(low: float, high: float) -> float:
        return float(((round_trip(values, affine_parameters(low, high)) - values) ** 2).mean())

    least = error(*observer.range())
    assert least < 0.9 * error(float(values.min()), float(values.max()))
    for clip in (4.0, 8.0, 12.0, 16.0, 20.0):
        assert least < 1.02 * error(max(float(values.min()), -clip), clip)


def test_a_search_keeps_the_small_side_of_an_asymmetric_range() -> None:
    gelu_outputs = np.concatenate([np.full(9000, -0.1), np.linspace(0, 4, 9000)])
    observer = MseObserver()
    observer.observe(gelu_outputs.astype(np.float32))
    low, high = observer.range()
    assert low == np.float32(-0.1)
    assert 3.9 < high <= 4


@pytest.mark.parametrize("name", sorted(OBSERVERS))
def test_zeros_have_a_range(name: str) -> None:
    observer = make_observer(name)
    observer.observe(np.zeros((3, 2), np.float32))
    assert observer.range() == (0.0, 0.0)


def test_percentile_leaves_outliers_out() -> None:
    batch = np.linspace(-1, 1, 200_000, dtype=np.float32)
    batch[0], batch[-1] = -1000, 1000
    observer = PercentileObserver()
    observer.observe(batch)
    low, high = observer.range()
    assert low == pytest.approx(-1, abs=1e-3)
    assert high == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", sorted(OBSERVERS))
def test_no_batch_is_an_error(name: str) -> None:
    with pytest.raises(CalibrationError, match="saw no batch"):
        make_observer(name).range()


def test_unknown_names_and_settings_out_of_bounds_are_refused() -> None:
    with pytest.raises(CalibrationError, match="observer 'magic' is unknown"):
        make_observer("magic")
    for percentile in (50.0, 100.1):
        with pytest.raises(CalibrationError, match="percentile is out of bounds"):
            PercentileObserver(percentile)
    with pytest.raises(CalibrationError, match="momentum is out of bounds"):
        MovingAverageObserver(1.0)
