"""Observers: ranges of streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bert_export.errors import CalibrationError
from bert_export.quantization.observers import (
    OBSERVERS,
    MinMaxObserver,
    PercentileObserver,
    make_observer,
)

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
        observer.see(batch)
    values = np.concatenate([batch.reshape(-1) for batch in batches])
    assert observer.range() == (values.min(), values.max())


@given(batches=BATCHES, name=st.sampled_from(sorted(OBSERVERS)))
def test_no_range_is_wider_than_what_was_seen(batches: list[np.ndarray], name: str) -> None:
    observer = make_observer(name)
    for batch in batches:
        observer.see(batch)
    low, high = observer.range()
    values = np.concatenate([batch.reshape(-1) for batch in batches])
    assert values.min() <= low <= high <= values.max()


def test_percentile_leaves_outliers_out() -> None:
    batch = np.linspace(-1, 1, 200_000, dtype=np.float32)
    batch[0], batch[-1] = -1000, 1000
    observer = PercentileObserver()
    observer.see(batch)
    low, high = observer.range()
    assert low == pytest.approx(-1, abs=1e-3)
    assert high == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", sorted(OBSERVERS))
def test_no_batch_is_an_error(name: str) -> None:
    with pytest.raises(CalibrationError, match="saw no batch"):
        make_observer(name).range()


def test_unknown_names_and_percentiles_are_refused() -> None:
    with pytest.raises(CalibrationError, match="observer 'magic' is unknown"):
        make_observer("magic")
    for percentile in (50.0, 100.1):
        with pytest.raises(CalibrationError, match="percentile is out of bounds"):
            PercentileObserver(percentile)
