"""The widening histogram: no count is lost, and neither order nor batches matter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bert_export.quantization.calibration.histogram import BINS, Histogram

VALUES = st.floats(-(2.0**100), 2.0**100, width=32)
BATCHES = st.lists(
    arrays.arrays(np.float32, arrays.array_shapes(max_dims=2, max_side=8), elements=VALUES),
    min_size=1,
    max_size=5,
)


def filled(batches: list[np.ndarray]) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


@given(batches=BATCHES)
def test_every_value_is_counted_where_it_is(batches: list[np.ndarray]) -> None:
    histogram = filled(batches)
    values = np.concatenate([batch.reshape(-1) for batch in batches])
    assert histogram.total == values.size
    assert (histogram.low, histogram.high) == (values.min(), values.max())
    if histogram.width:
        assert np.abs(values).max() < histogram.width
        edges = np.linspace(-histogram.width, histogram.width, BINS + 1)
        np.testing.assert_array_equal(
            np.histogram(values.astype(float), edges)[0], histogram.counts
        )


@given(batches=BATCHES, seed=st.integers(0, 99))
def test_neither_order_nor_batches_matter(batches: list[np.ndarray], seed: int) -> None:
    values = np.concatenate([batch.reshape(-1) for batch in batches])
    at_once = filled([np.random.default_rng(seed).permutation(values)])
    assert same(filled(batches), at_once)


def test_zeros_stay_in_the_middle_bin_while_the_width_grows() -> None:
    histogram = filled([np.zeros(5, np.float32), np.array([1e-3], np.float32)])
    histogram.add(np.array([-1e6], np.float32))
    assert histogram.counts[BINS // 2] == 6
    assert histogram.total == 7


def test_an_empty_batch_counts_nothing() -> None:
    histogram = filled([np.zeros(0, np.float32)])
    assert histogram.total == 0
    assert histogram.width == 0


def same(left: Histogram, right: Histogram) -> bool:
    return (left.width, left.low, left.high) == (right.width, right.low, right.high) and bool(
        (left.counts == right.counts).all()
    )
