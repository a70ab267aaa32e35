"""How many times as fast one contender is as another, and how sure that is.

A machine's speed drifts, and is throttled for seconds at a time; where a process's memory lies
decides its speed for as long as it lives. Neither may pass for a difference between contenders:

1. *Turns.* A turn has one figure: the median of its calls where all are the same call, their mean
   where each call has work of its own, which both contenders do in the same round.
2. *Laps.* Only turns of one lap are compared, which lie within a second or so of each other. A lap
   has two turns of each contender in mirrored order. Its figure is the mean of the two logarithms
   of the ratio, so that a steady drift of the speed cancels.
3. *Lifetimes.* The median over the laps of one lifetime stands for that pair of processes; a lap
   during which the speed jumped does not move it.
4. *Interval.* Lifetimes are independent of each other, calls and laps of one lifetime are not. So
   the ratio is the geometric mean over lifetimes, and its 95 % interval is Student's t interval of
   their logarithms. Noise within a lifetime is in it, as it spreads the lifetimes' medians. Three
   lifetimes make it wide unless they agree; a median over three with a bootstrap would make it
   narrower than it should be.
5. *One lifetime alone* has the interval of the median over its laps, where it has enough of them:
   it holds for that pair of processes and says nothing of the next.

Source: Kalibera and Jones 2013, Rigorous benchmarking in reasonable time (means over the highest
level of repetition); Student's t distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median, stdev

import msgspec

from bert_export.measuring.samples import LEAST_TURNS, median_interval

__all__ = ["Lifetimes", "Ratio", "mean_interval", "paired_ratio"]

Lifetimes = Sequence[Sequence[float | None]]
"""Seconds by lifetime and turn; ``None`` where a contender sat a turn out."""

# 97.5 % quantiles of Student's t distribution for 1, 2, ... degrees of freedom.
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.96


class Ratio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ratio and its 95 % interval; ``str`` writes both.

    Args:
        value: The ratio.
        interval: Its ends; ``None`` of a single lifetime with fewer laps than
            :data:`bert_export.measuring.samples.LEAST_TURNS`, which say nothing of their spread.
        lifetimes: Pairs of processes behind it.
        laps: Of all of them together.
    """

    value: float
    interval: tuple[float, float] | None
    lifetimes: int
    laps: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.interval_text})"

    @property
    def interval_text(self) -> str:
        """Both ends, in words."""
        if self.interval is None:
            return "no interval"
        low, high = self.interval
        return f"{low:.2f} to {high:.2f}"

    @property
    def spread(self) -> float:
        """Half the interval's width as a share of the ratio; infinite without an interval."""
        if self.interval is None:
            return math.inf
        low, high = self.interval
        return (high - low) / 2 / self.value


def paired_ratio(numerator: Lifetimes, denominator: Lifetimes) -> Ratio | None:
    """The ratio of two contenders' seconds, as the module's docstring says.

    Args:
        numerator: Figures of the turns of one contender, by lifetime.
        denominator: Those of another that took turns with it: the same lifetimes in the same order,
            as far as both reach, with as many turns each.

    Returns:
        The ratio; ``None`` where no lifetime has turns of both.
    """
    pairs = zip(numerator, denominator, strict=False)
    lifetimes = [laps for above, below in pairs if (laps := _lap_logarithms(above, below))]
    if not lifetimes:
        return None
    middles = [median(laps) for laps in lifetimes]
    if len(middles) > 1:
        interval: tuple[float, float] | None = mean_interval(middles)
    else:
        interval = median_interval(lifetimes[0]) if len(lifetimes[0]) >= LEAST_TURNS else None
    return Ratio(
        value=math.exp(fmean(middles)),
        interval=None if interval is None else (math.exp(interval[0]), math.exp(interval[1])),
        lifetimes=len(lifetimes),
        laps=sum(map(len, lifetimes)),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % confidence interval of the mean.

    Args:
        values: At least two.
    """
    freedom = len(values) - 1
    factor = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _NORMAL
    middle, half = fmean(values), factor * stdev(values) / math.sqrt(len(values))
    return middle - half, middle + half


def _lap_logarithms(above: Sequence[float | None], below: Sequence[float | None]) -> list[float]:
    """One logarithm of the ratio per lap of both; a last round without its mirror is a lap too."""
    rounds = list(zip(above, below, strict=True))
    laps = []
    for first in range(0, len(rounds), 2):
        logarithms = [
            math.log(upper / lower)
            for upper, lower in rounds[first : first + 2]
            if upper is not None and lower is not None
        ]
        if logarithms:
            laps.append(fmean(logarithms))
    return laps
