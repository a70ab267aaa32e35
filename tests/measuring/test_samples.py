"""Percentiles and the interval of the median."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.measuring.samples import LEAST_TURNS, median_interval, percentile, summarize

seconds = st.floats(min_value=1e-6, max_value=10, allow_nan=False)


@pytest.mark.parametrize(
    ("share", "value"), [(0.01, 1), (0.5, 50), (0.95, 95), (0.951, 96), (0.99, 99), (1.0, 100)]
)
def test_percentiles_are_of_the_nearest_rank(share: float, value: int) -> None:
    assert percentile(list(range(1, 101)), share) == value


def test_a_single_run_is_every_percentile() -> None:
    assert percentile([3.0], 0.01) == percentile([3.0], 0.99) == 3.0


@pytest.mark.parametrize(
    ("count", "ranks"),
    # the ranks of Conover's table A3 for the median at 95 %
    [(1, (1, 1)), (5, (1, 5)), (6, (1, 6)), (9, (2, 8)), (15, (4, 12)), (20, (6, 15))],
)
def test_interval_has_the_binomial_ranks(count: int, ranks: tuple[int, int]) -> None:
    assert median_interval(range(count, 0, -1)) == ranks


def test_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    trials = 2000
    held = 0
    for _ in range(trials):
        low, high = median_interval([float(run) for run in rng.exponential(size=12)])
        held += low <= 0.6931471805599453 <= high  # ln 2, the distribution's median
    assert held / trials >= 0.94
    assert held / trials < 0.995  # not wider than it needs to be


@given(st.lists(st.lists(seconds, min_size=1, max_size=5), min_size=1, max_size=12))
def test_figures_are_in_order(turns: list[list[float]]) -> None:
    summary = summarize(turns)
    assert summary.low <= summary.p50 <= summary.high
    assert summary.p95 <= summary.p99 <= max(max(turn) for turn in turns)
    assert summary.p50 <= summary.p95 or summary.calls < 20
    assert summary.calls == sum(map(len, turns))


def test_calls_of_one_turn_do_not_make_the_median_sure() -> None:
    # a hundred calls each, but the turns disagree: the machine's speed is what varies
    turns = [[1.0 + 0.2 * (index % 2)] * 100 for index in range(LEAST_TURNS)]
    summary = summarize(turns)
    assert (summary.low, summary.high) == (1.0, 1.2)
    assert summary.p50 == median(call for turn in turns for call in turn)
