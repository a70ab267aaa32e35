"""The search for groups to leave in float: least cost, few measurements, honest when it fails."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.quantization.mixed_precision.search import (
    GIVE_BACKS,
    MAX_FLOAT_SHARE,
    Path,
    order_groups,
    search_mixed_precision,
)


def search(sensitivities: Sequence[float], costs: Sequence[float], budget: float) -> Path:
    """A search in a world where the drops of groups add up."""
    return search_mixed_precision(
        sensitivities,
        costs,
        lambda excluded: math.fsum(
            drop for index, drop in enumerate(sensitivities) if index not in excluded
        ),
        budget=budget,
    )


def test_int8_that_keeps_the_budget_is_measured_once() -> None:
    path = search([0.1, 0.2], [1, 1], budget=0.5)
    assert path.met
    assert path.best.excluded == ()
    assert len(path.configurations) == 1


def test_the_group_that_hurts_goes_to_float_alone() -> None:
    path = search([0.0, 0.9, 0.01, 0.0, 0.0, 0.0], [1] * 6, budget=0.1)
    assert path.met
    assert path.best.excluded == (1,)
    assert path.best.cost == pytest.approx(1 / 6)


def test_gain_counts_per_cost() -> None:
    assert order_groups([1.0, 0.9, 0.9], [4, 1, 1]) == [1, 2, 0]
    path = search([1.0, 0.9, 0.9, 0.0, 0.0], [4, 1, 1, 4, 4], budget=1.0)
    assert path.best.excluded == (1, 2)


def test_what_is_not_needed_is_given_back() -> None:
    # The prefix is 0, 1 and 2, but the measured drop comes from 2 alone.
    path = search_mixed_precision(
        [0.5, 0.4, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0],
        [1] * 8,
        lambda excluded: 0.0 if 2 in excluded else 1.0,
        budget=0.1,
    )
    assert path.met
    assert path.best.excluded == (2,)


def test_a_shorter_prefix_may_keep_the_budget_where_a_longer_one_does_not() -> None:
    # On few examples one answer more or less decides.
    path = search_mixed_precision(
        [1.0 - 0.1 * index for index in range(8)],
        [1] * 8,
        lambda excluded: 0.0 if len(excluded) in (1, 2) else 0.1,
        budget=0.05,
    )
    assert path.met
    assert path.best.excluded == (0,)


def test_a_budget_out_of_reach_gives_the_smallest_drop() -> None:
    path = search([1.0, 0.5, 0.25, 0.125], [1] * 4, budget=0.1)
    assert not path.met
    assert path.best.excluded == (0, 1)
    assert path.best.drop == pytest.approx(0.375)
    assert path.best.cost <= MAX_FLOAT_SHARE


def test_a_group_beyond_the_float_share_cannot_go_to_float() -> None:
    path = search([1.0], [1], budget=0.1)
    assert not path.met
    assert path.best.excluded == ()


@given(
    groups=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=40),
    budget=st.floats(0, 2),
)
def test_the_search_keeps_its_promises(groups: list[tuple[float, int]], budget: float) -> None:
    sensitivities, costs = [group[0] for group in groups], [group[1] for group in groups]
    path = search(sensitivities, costs, budget)
    again = search(sensitivities, costs, budget)
    assert path == again
    assert path.best in path.configurations
    assert path.met == (path.best.drop <= budget)
    assert all(configuration.cost <= MAX_FLOAT_SHARE for configuration in path.configurations)
    assert len(path.configurations) <= 3 + 2 * math.log2(len(groups) + 1) + GIVE_BACKS
    if path.met:
        within_budget = [
            configuration for configuration in path.configurations if configuration.drop <= budget
        ]
        assert path.best.cost == min(configuration.cost for configuration in within_budget)
    else:
        assert path.best.drop == min(configuration.drop for configuration in path.configurations)
