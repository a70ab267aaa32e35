"""Which groups to leave in float so that a budget of accuracy holds, at the least cost in time.

The search knows nothing of graphs: it is told what every group costs in float, how much it disturbs
the outputs in INT8, and a function that measures the drop of a configuration.

Places are ordered by sensitivity per cost. Of the prefixes of that order, the longest that may be
taken is tried first, then shorter ones until one keeps the budget; the shortest that does is found
by halving; then what turned out not to be needed is given back. So a handful of configurations is
measured, whatever the number of groups.
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
"""Of the multiplications, the most that may go back to float: beyond, FP32 is the better export."""

GIVE_BACKS = 4
"""Places that the last step tries to bring back to INT8."""


@dataclass(frozen=True, slots=True)
class MixedPrecision:
    """Some groups in float, all others in INT8.

    Args:
        excluded: Indices of those in float, ascending.
        drop: What was measured: how much worse than float alone.
        cost: Share of all multiplications that are in float, in [0, 1].
    """

    excluded: tuple[int, ...]
    drop: float
    cost: float


@dataclass(frozen=True, slots=True)
class Path:
    """What a search measured, in order, and what it chose.

    Args:
        configurations: Every one that was measured.
        best: The cheapest that keeps the budget; where none does, the one with the least drop.
        met: Whether it keeps the budget.
    """

    configurations: tuple[MixedPrecision, ...]
    best: MixedPrecision
    met: bool


def order_groups(sensitivities: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Indices of groups, those first that gain most for what they cost; ties by index.

    Args:
        sensitivities: Of the outputs, when one group alone is in INT8; not negative.
        costs: Multiplications of each; positive.
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
        costs: The same.
        measure: Gives the drop of a configuration, told by the indices in float.
        budget: The largest drop that is allowed.
        max_float_share: The largest share of ``costs`` that may be in float.
        give_backs: Places that the last step tries.
    """
    order, total = order_groups(sensitivities, costs), sum(costs)
    configurations: list[MixedPrecision] = []

    def share(excluded: Sequence[int]) -> float:
        return sum(costs[index] for index in excluded) / total

    def try_(excluded: Sequence[int]) -> MixedPrecision:
        chosen = tuple(sorted(excluded))
        configurations.append(MixedPrecision(chosen, measure(chosen), share(chosen)))
        return configurations[-1]

    best = try_(())
    if best.drop <= budget:
        return Path(tuple(configurations), best, met=True)
    enough = max(
        count for count in range(len(order) + 1) if share(order[:count]) <= max_float_share
    )
    best = try_(order[:enough]) if enough else best
    while best.drop > budget and enough > 1:  # a metric on few examples is not monotonous
        enough //= 2
        best = try_(order[:enough])
    if best.drop > budget:
        least = min(
            configurations, key=lambda configuration: (configuration.drop, configuration.cost)
        )
        return Path(tuple(configurations), least, met=False)
    too_few = 0  # of the order's first
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        found = try_(order[:middle])
        if found.drop <= budget:
            best, enough = found, middle
        else:
            too_few = middle
    # The last group of the shortest prefix was just shown to be needed.
    spare = sorted(order[: enough - 1], key=lambda index: (-costs[index], index))
    for index in sorted(spare[:give_backs], key=lambda index: -order.index(index)):
        found = try_([other for other in best.excluded if other != index])
        if found.drop <= budget:
            best = found
    return Path(tuple(configurations), best, met=True)
