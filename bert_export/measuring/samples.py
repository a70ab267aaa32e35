"""What repeated runs say: percentiles, and how sure the median is.

Runs come in rounds, and contenders take turns round by round. Runs of one round share the
machine's mood, so the interval is taken over the rounds' medians and not over single runs, which
would make it look tighter than it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec

__all__ = ["LEAST_ROUNDS", "Summary", "median_interval", "percentile", "summarize"]

LEAST_ROUNDS = 6
"""With fewer rounds no interval of the median has 95 % confidence."""

_CONFIDENCE = 0.95


class Summary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures of one workload, in seconds.

    Args:
        runs: How many runs were timed.
        p50, p95, p99: Percentiles over all runs; of fewer than 100 runs p99 is the longest.
        low, high: The 95 % confidence interval of the median over rounds; the fastest and the
            slowest round where they are fewer than :data:`LEAST_ROUNDS`.
        tight: Whether half that interval is within the wanted share of the median.
    """

    runs: int
    p50: float
    p95: float
    p99: float
    low: float
    high: float
    tight: bool


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so great a share of the values does not exceed (nearest rank).

    Args:
        ordered: Ascending, not empty.
        share: In (0, 1].
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The exact distribution-free 95 % confidence interval of the median.

    Its ends are order statistics, whose ranks follow from the binomial distribution alone.

    Args:
        values: Any number of them; below :data:`LEAST_ROUNDS` the interval is all there is.

    Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.
    """
    ordered = sorted(values)
    count = len(ordered)
    rank, below = 0, 0.0
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if below > (1 - _CONFIDENCE) / 2:
            break
        rank += 1
    rank = max(0, rank - 1)
    return ordered[rank], ordered[count - 1 - rank]


def summarize(rounds: Sequence[Sequence[float]], *, tolerance: float) -> Summary:
    """Figures over rounds of runs.

    Args:
        rounds: Seconds of every run, round by round; no round is empty.
        tolerance: Share of the median that half the interval may be wide.
    """
    runs = sorted(run for one in rounds for run in one)
    low, high = median_interval([median(one) for one in rounds])
    middle = median(runs)
    return Summary(
        runs=len(runs),
        p50=middle,
        p95=percentile(runs, 0.95),
        p99=percentile(runs, 0.99),
        low=min(low, middle),
        high=max(high, middle),
        tight=len(rounds) >= LEAST_ROUNDS and (high - low) / 2 <= tolerance * middle,
    )
