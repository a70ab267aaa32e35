"""Paired ratios: what drifts does not move them, and their interval holds the truth."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import fmean, median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_export.measuring.ratios import Ratio, mean_interval, paired_ratio
from bert_export.measuring.schedule import laps, turn_calls
from bert_export.measuring.timing import Timing, speed_up, timing_of

Slowness = Callable[[float], float]
"""By the machine's clock: how many times slower it is than at its best."""

FIVEFOLD = 5.0
milliseconds = st.floats(min_value=1, max_value=40)
ratios = st.floats(min_value=0.4, max_value=2.5)


def simulate(
    bases: dict[str, float],
    slowness: Slowness,
    *,
    seconds: float = 12.0,
    begin: float = 0.0,
    seed: int = 0,
) -> dict[str, list[list[float]]]:
    """One lifetime of contenders on a machine of changing speed: calls by turn.

    Args:
        bases: Seconds of a call of each at the machine's best.
        slowness: Of the machine.
        seconds: That the lifetime lasts at least.
        begin: The clock's first value.
        seed: Of the order of turns.
    """
    turns: dict[str, list[list[float]]] = {name: [] for name in bases}
    orders = laps(tuple(bases), random.Random(seed))
    clock = begin

    def call(name: str) -> float:
        nonlocal clock
        taken = bases[name] * slowness(clock)
        clock += taken
        return taken

    while clock < begin + seconds:
        for order in (next(orders), next(orders)):
            for name in order:
                last = turns[name][-1][-1] if turns[name] else bases[name]
                count, warm_ups = turn_calls(last)
                for _ in range(warm_ups):
                    call(name)
                turns[name].append([call(name) for _ in range(count)])
    return turns


def measured(bases: dict[str, float], slowness: Slowness, **options: float) -> Ratio:
    """How many times as fast ``b`` is as ``a``."""
    turns = simulate(bases, slowness, **options)  # type: ignore[arg-type]
    timings = {name: timing_of(rows=1, lifetimes=[own]) for name, own in turns.items()}
    ratio = speed_up(timings["b"], timings["a"])
    assert ratio is not None
    return ratio


def waves(period: float, phase: float) -> Slowness:
    """A speed that swings fivefold."""
    return lambda clock: FIVEFOLD ** (0.5 + 0.5 * math.sin(2 * math.pi * (clock / period + phase)))


def throttled(seed: int, shortest: float, longest: float) -> Slowness:
    """A machine that is slowed down up to fivefold, for so many seconds at a time."""
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(shortest, longest, 4000)
    ends, factors = np.cumsum(lengths), rng.uniform(1, FIVEFOLD, 4000)
    return lambda clock: float(factors[np.searchsorted(ends, clock)])


@settings(deadline=None, max_examples=30)
@given(base=st.floats(0.3, 20), ratio=ratios, period=st.floats(5, 120), phase=st.floats(0, 1))
def test_a_fivefold_swing_of_the_speed_does_not_move_the_ratio(
    base: float, ratio: float, period: float, phase: float
) -> None:
    bases = {"a": base / 1000, "b": base / 1000 / ratio}
    assert measured(bases, waves(period, phase)).value == pytest.approx(ratio, rel=0.02)


@settings(deadline=None, max_examples=30)
@given(base=st.floats(20, 150), ratio=ratios, period=st.floats(20, 120), phase=st.floats(0, 1))
def test_calls_longer_than_a_turn_need_a_slower_swing(
    base: float, ratio: float, period: float, phase: float
) -> None:
    bases = {"a": base / 1000, "b": base / 1000 / ratio}
    found = measured(bases, waves(period, phase), seconds=30.0)
    assert found.value == pytest.approx(ratio, rel=0.03)


@settings(deadline=None, max_examples=30)
@given(base=milliseconds, ratio=ratios, seed=st.integers(0, 1000))
def test_throttling_for_seconds_does_not_move_the_ratio(
    base: float, ratio: float, seed: int
) -> None:
    bases = {"a": base / 1000, "b": base / 1000 / ratio}
    found = measured(bases, throttled(seed, 1.5, 6.0), seconds=30.0)
    assert found.value == pytest.approx(ratio, rel=0.03)


@settings(deadline=None, max_examples=30)
@given(ratio=ratios, others=st.lists(st.floats(0.5, 50), min_size=1, max_size=6))
def test_contenders_in_between_do_not_move_the_ratio(ratio: float, others: list[float]) -> None:
    bases = {"a": 0.004, **{str(index): one / 1000 for index, one in enumerate(others)}}
    bases["b"] = 0.004 / ratio
    found = measured(bases, waves(20.0, 0.0), seconds=40.0)
    assert found.value == pytest.approx(ratio, rel=0.03)


@given(ratio=ratios, slope=st.floats(-0.5, 0.5))
def test_a_steady_drift_cancels_within_a_lap(ratio: float, slope: float) -> None:
    # Turns of equal length, and a slowness that grows by one factor from turn to turn: A B B A.
    clock = [math.exp(slope * turn) for turn in range(8)]
    a = [clock[index] * ratio for index in (0, 3, 4, 7)]
    b = [clock[index] for index in (1, 2, 5, 6)]
    found = paired_ratio([a], [b])
    assert found is not None
    assert found.value == pytest.approx(ratio)
    assert found.interval is None  # of two laps


def test_figures_that_are_not_paired_are_moved() -> None:
    # The same machine, one contender after the other: what the pairs are for.
    slowness = throttled(1, 1.5, 6.0)
    alone = [
        median(
            call for turn in simulate({name: 0.01}, slowness, begin=begin)[name] for call in turn
        )
        for name, begin in (("a", 0.0), ("b", 12.0))
    ]
    assert not 0.9 < alone[0] / alone[1] < 1.1
    assert measured({"a": 0.01, "b": 0.01}, slowness).value == pytest.approx(1, rel=0.01)


def lived(rng: np.random.Generator, base: float, lifetimes: int, placement: float) -> Timing:
    """A contender whose processes differ by their places, and whose calls are noisy."""
    return timing_of(
        rows=1,
        lifetimes=[
            [[base * place * math.exp(rng.normal(0, 0.05)) for _ in range(3)] for _ in range(24)]
            for place in np.exp(rng.normal(0, placement, lifetimes))
        ],
    )


@pytest.mark.parametrize("lifetimes", [2, 3, 5])
def test_interval_holds_the_truth_as_often_as_it_says(lifetimes: int) -> None:
    rng = np.random.default_rng(lifetimes)
    trials, held = 400, 0
    for _ in range(trials):
        pair = (lived(rng, base, lifetimes, 0.1) for base in (1.0, 1.3))
        ratio = speed_up(*pair)
        assert ratio is not None
        assert ratio.lifetimes == lifetimes
        assert ratio.interval is not None
        low, high = ratio.interval
        held += low <= 1.3 <= high
    assert 0.92 <= held / trials <= 0.98


def test_one_lifetime_does_not_speak_for_the_next() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        ratio = speed_up(lived(rng, 1.0, 1, 0.1), lived(rng, 1.3, 1, 0.1))
        assert ratio is not None
        assert ratio.interval is not None
        low, high = ratio.interval
        held += low <= 1.3 <= high
    assert held < 50  # which is why several are the default


def test_interval_is_student_s() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    for count in (2, 3, 4, 10, 31, 200):
        values = rng.normal(size=count).tolist()
        low, high = mean_interval(values)
        expected = stats.t.interval(0.95, count - 1, loc=fmean(values), scale=stats.sem(values))
        assert (low, high) == pytest.approx(expected, rel=0.02, abs=0.002)


def test_a_jump_of_the_speed_is_one_lap() -> None:
    level = [1.0] * 12
    jumped = [*level[:5], 4.0, *level[6:]]
    found = paired_ratio([jumped], [level])
    assert found is not None
    assert found.value == 1.0
    assert found.laps == 6


def test_ratios_are_inverse_to_each_other() -> None:
    rng = np.random.default_rng(2)
    above, below = (lived(rng, base, 3, 0.1) for base in (1.0, 2.0))
    ratio, inverse = speed_up(above, below), speed_up(below, above)
    assert ratio is not None
    assert inverse is not None
    assert ratio.interval is not None
    assert inverse.interval is not None
    low, high = ratio.interval
    assert low < ratio.value < high
    assert 1 / inverse.value == pytest.approx(ratio.value)
    assert [1 / bound for bound in inverse.interval] == pytest.approx([high, low])
    assert ratio.spread == pytest.approx((high - low) / 2 / ratio.value)
    assert str(ratio) == f"{ratio.value:.2f} ({low:.2f} to {high:.2f})"


def test_lifetimes_are_paired_as_far_as_both_reach() -> None:
    found = paired_ratio([[2.0, 2.0], [2.0, 2.0], [9.0]], [[1.0, 1.0], [1.0, 1.0]])
    assert found is not None
    assert (found.value, found.lifetimes, found.laps) == (pytest.approx(2.0), 2, 2)
    assert paired_ratio([], [[1.0]]) is None
    assert speed_up(None, timing_of(rows=1, lifetimes=[[[1.0]]])) is None


def test_calls_of_different_work_are_compared_as_a_whole() -> None:
    # A pass of a short and a long call, which turns cut in the same places for both contenders.
    short, long = 1.0, 9.0
    a = timing_of(rows=2, calls=2, lifetimes=[[[short, long, short], [long, short, long]]])
    b = timing_of(
        rows=2,
        calls=2,
        lifetimes=[[[short / 2, long / 2, short / 2], [long / 2, short / 2, long / 2]]],
    )
    ratio = speed_up(b, a)
    assert ratio is not None
    assert ratio.value == pytest.approx(2.0)
    assert a.pass_seconds == 10.0
    assert a.rows_per_second == 0.2


def test_a_few_laps_of_one_lifetime_have_no_interval() -> None:
    few, enough = ([[2.0] * count] for count in (10, 12))
    for turns, interval in ((few, None), (enough, (2.0, 2.0))):
        ratio = paired_ratio(turns, [[1.0] * len(turns[0])])
        assert ratio is not None
        assert ratio.value == pytest.approx(2.0)
        assert ratio.interval == (None if interval is None else pytest.approx(interval))
    ratio = paired_ratio(few, [[1.0] * 10])
    assert ratio is not None
    assert (str(ratio), ratio.spread) == ("2.00 (no interval)", math.inf)


def test_a_lap_that_one_sat_out_is_none() -> None:
    above = [2.0, 2.0, None, None, 2.0, 2.0]
    below = [1.0, 1.0, 5.0, 5.0, 1.0, 1.0]
    ratio = paired_ratio([above, [None, None]], [below, [1.0, 1.0]])
    assert ratio is not None
    assert (ratio.value, ratio.lifetimes, ratio.laps) == (pytest.approx(2.0), 1, 2)
    timing = timing_of(rows=1, lifetimes=[[[0.5], [0.5], [], []]])
    assert timing.turns == [[0.5, 0.5, None, None]]
    assert timing.summary.calls == 2
    assert timing.rows_per_second == 2.0
