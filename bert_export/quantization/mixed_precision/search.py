"""The search for the groups that stay in float, so that a budget of accuracy holds at least cost.

The search knows nothing of graphs. It is given the cost of every group in float, the sensitivity of
the outputs to it in INT8, and a function that measures the drop of a configuration.

Groups are ordered by sensitivity per cost, and a configuration leaves the first groups of that
order in float:

1. INT8 everywhere. If it keeps the budget, that is the answer.
2. The longest prefix that may stay in float. If it fails, half of it, and so on.
3. The shortest prefix that keeps the budget, by bisection.
4. Groups of that prefix go back to INT8, one at a time, if the budget still holds.

The number of configurations that are measured grows with the logarithm of the number of groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = [
    "GIVE_BACKS",
    "MAX_FLOAT_SHARE",
    "MixedPrecision",
    "Path",
    "order_groups",
    "search_mixed_precision",
]

MAX_FLOAT_SHARE = 0.5
"""The largest share of the multiplications in float. Beyond it, FP32 is the better export."""

GIVE_BACKS = 4
"""How many groups the last step tries to bring back to INT8."""


@dataclass(frozen=True, slots=True)
class MixedPrecision:
    """A configuration: some groups in float, all others in INT8.

    Args:
        excluded: Indices of the groups in float, ascending.
        drop: How much worse than float alone it was measured to be.
        cost: Share of all multiplications that are in float, in [0, 1].
    """

    excluded: tuple[int, ...]
    drop: float
    cost: float


@dataclass(frozen=True, slots=True)
class Path:
    """The course of a search and its result.

    Args:
        configurations: All that were measured, in order.
        best: The cheapest that keeps the budget; if none does, the one with the smallest drop.
        met: Whether it keeps the budget.
    """

    configurations: tuple[MixedPrecision, ...]
    best: MixedPrecision
    met: bool


def order_groups(sensitivities: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Indices of groups, largest sensitivity per cost first; ties by index.

    Args:
        sensitivities: Of the outputs to each group in INT8 alone; not negative.
        costs: Multiplications of each group; positive.
    """
    return sorted(
        range(len(costs)), key=lambda index: (-sensitivities[index] / costs[index], index)
    )


def search_mixed_precision(
    sensitivities: Sequence[float],
    costs: Sequence[float],
    measure: Callable[[tuple[int, ...]], float],
    *,
    budget: float,
    max_float_share: float = MAX_FLOAT_SHARE,
    give_backs: int = GIVE_BACKS,
) -> Path:
    """Find the cheapest configuration that keeps a budget.

    Args:
        sensitivities: See :func:`order_groups`.
        costs: See :func:`order_groups`.
        measure: Gives the drop of the configuration with these groups in float.
        budget: The largest drop that is allowed.
        max_float_share: The largest share of ``costs`` that may be in float.
        give_backs: How many groups the last step tries to bring back to INT8.
    """
    order, total = order_groups(sensitivities, costs), sum(costs)
    configurations: list[MixedPrecision] = []

    def share(excluded: Sequence[int]) -> float:
        return sum(costs[index] for index in excluded) / total

    def measured(excluded: Sequence[int]) -> MixedPrecision:
        ascending = tuple(sorted(excluded))
        configuration = MixedPrecision(ascending, measure(ascending), share(ascending))
        configurations.append(configuration)
        return configuration

    # 1. INT8 everywhere.
    best = measured(())
    if best.drop <= budget:
        return Path(tuple(configurations), best, met=True)
    # 2. A prefix that keeps the budget.
    enough = max(
        count for count in range(len(order) + 1) if share(order[:count]) <= max_float_share
    )
    best = measured(order[:enough]) if enough else best
    while best.drop > budget and enough > 1:  # a metric on few examples is not monotonic
        enough //= 2
        best = measured(order[:enough])
    if best.drop > budget:
        closest = min(
            configurations, key=lambda configuration: (configuration.drop, configuration.cost)
        )
        return Path(tuple(configurations), closest, met=False)
    # 3. The shortest such prefix.
    too_few = 0
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        shorter = measured(order[:middle])
        if shorter.drop <= budget:
            best, enough = shorter, middle
        else:
            too_few = middle
    # 4. Give back the costliest groups, least sensitive per cost first. The last group of the
    #    shortest prefix was just shown to be needed.
    costliest = sorted(order[: enough - 1], key=lambda index: (-costs[index], index))[:give_backs]
    for index in sorted(costliest, key=order.index, reverse=True):
        without = measured([other for other in best.excluded if other != index])
        if without.drop <= budget:
            best = without
    return Path(tuple(configurations), best, met=True)
