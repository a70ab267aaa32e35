"""What repeated calls took: percentiles, and how sure the median is.

Calls come in turns, and calls of one turn share the machine's speed at that moment. So the interval
of the median is taken over the turns' medians and not over single calls, which would make it look
narrower than it is. A machine whose speed drifts moves every figure here, and those of all
contenders alike: what compares them is in :mod:`bert_export.measuring.ratios`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec

__all__ = ["LEAST_TURNS", "Summary", "median_interval", "percentile", "summarize"]

LEAST_TURNS = 6
"""With fewer turns no interval of the median has 95 % confidence."""

_CONFIDENCE = 0.95


class Summary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds of a call.

    Args:
        calls: How many were clocked.
        p50, p95, p99: Percentiles over all calls; of fewer than 100 calls p99 is the longest.
        low, high: The 95 % confidence interval of the median over turns; the fastest and the
            slowest turn where they are fewer than :data:`LEAST_TURNS`.
    """

    calls: int
    p50: float
    p95: float
    p99: float
    low: float
    high: float


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
        values: Any number of them; below :data:`LEAST_TURNS` the interval is all there is.

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


def summarize(turns: Sequence[Sequence[float]]) -> Summary:
    """Percentiles over turns of calls.

    Args:
        turns: Seconds of every call, turn by turn; no turn is empty.
    """
    calls = sorted(call for turn in turns for call in turn)
    low, high = median_interval([median(turn) for turn in turns])
    middle = median(calls)
    return Summary(
        calls=len(calls),
        p50=middle,
        p95=percentile(calls, 0.95),
        p99=percentile(calls, 0.99),
        low=min(low, middle),
        high=max(high, middle),
    )
