"""Bounds that figures must meet, and what their intervals say about that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from bert_export.measuring.ratios import Ratio

__all__ = ["Bound", "Figure", "Verdict", "interval_of", "quotient"]

Figure = float | Ratio
Verdict = Literal["PASS", "MISS", "OPEN", "UNMEASURED"]


def quotient(numerator: float | None, denominator: float | None) -> float | None:
    """A quotient; ``None`` where either side was not measured."""
    return None if numerator is None or not denominator else numerator / denominator


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure that must not be above, or below, a limit.

    Args:
        what: Of what, as a reader is told.
        value: The figure; ``None`` where it was not measured.
        limit: The bound, which still passes.
        side: ``at most`` or ``at least``.
        unit: Such as ``s``; ``x`` for a ratio.
    """

    what: str
    value: Figure | None
    limit: float
    side: Literal["at most", "at least"]
    unit: str

    @property
    def verdict(self) -> Verdict:
        """Whether the figure keeps to its limit.

        A ratio passes or misses with its whole 95 % interval; with the limit inside the interval,
        or without one, the question is open.
        """
        if self.value is None:
            return "UNMEASURED"
        interval = interval_of(self.value)
        if interval is None:
            return "OPEN"
        low, high = interval
        if self.side == "at most":
            low, high, limit = -high, -low, -self.limit
        else:
            limit = self.limit
        if low >= limit:
            return "PASS"
        return "MISS" if high < limit else "OPEN"

    def as_json(self) -> dict[str, Any]:
        """Every field and the verdict."""
        return {
            "what": self.what,
            "value": msgspec.to_builtins(self.value),
            "limit": self.limit,
            "side": self.side,
            "unit": self.unit,
            "verdict": self.verdict,
        }


def interval_of(value: Figure) -> tuple[float, float] | None:
    """A ratio's interval, where it has one; a number alone is taken to be sure."""
    return value.interval if isinstance(value, Ratio) else (value, value)
