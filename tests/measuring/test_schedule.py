"""Orders of turns, and how long a turn is."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.measuring.schedule import TURN_SECONDS, laps, turn_calls


def test_a_lap_runs_its_order_backwards() -> None:
    orders = list(islice(laps("abcd", random.Random(0)), 40))
    for there, back in zip(orders[::2], orders[1::2], strict=True):
        assert sorted(there) == list("abcd")
        assert back == there[::-1]
    assert len(set(orders[::2])) > 5


def test_the_same_chance_gives_the_same_orders() -> None:
    first, second = (list(islice(laps("abcd", random.Random(7)), 8)) for _ in range(2))
    assert first == second


@given(st.floats(min_value=0, max_value=100))
def test_a_turn_is_short_unless_a_call_is_long(seconds: float) -> None:
    count, warm_ups = turn_calls(seconds)
    assert count >= 1
    assert count == 1 or (count + warm_ups) * seconds <= TURN_SECONDS * (1 + 1e-9)


@pytest.mark.parametrize(
    ("seconds", "calls"),
    [
        (0.0, (500, 1)),
        (0.0005, (100, 1)),
        (0.01, (5, 1)),
        (0.04, (3, 1)),
        (0.07, (1, 1)),
        (0.11, (1, 0)),
        (3.0, (1, 0)),
    ],
)
def test_calls_of_a_turn(seconds: float, calls: tuple[int, int]) -> None:
    assert turn_calls(seconds) == calls
