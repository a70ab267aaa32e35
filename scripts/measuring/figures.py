"""Figures over several turns, their medians and ratios, and the bounds that they must meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

__all__ = ["Bound", "Samples", "ratio"]


@dataclass(slots=True)
class Samples:
    """Figures by name, one value per turn."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: Mapping[str, float]) -> None:
        """Add one turn's figures."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        """The figure's median; ``None`` where no turn had it."""
        values = self.values.get(name)
        return median(values) if values else None

    def as_json(self) -> dict[str, Any]:
        """Median and every value of each figure."""
        return {
            name: {"median": median(values), "values": values}
            for name, values in self.values.items()
        }


def ratio(numerator: float | None, denominator: float | None) -> float | None:
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
    value: float | None
    limit: float
    side: Literal["at most", "at least"]
    unit: str

    @property
    def verdict(self) -> Literal["PASS", "MISS", "UNMEASURED"]:
        """Whether the figure keeps to its limit."""
        if self.value is None:
            return "UNMEASURED"
        within = self.value <= self.limit if self.side == "at most" else self.value >= self.limit
        return "PASS" if within else "MISS"

    def as_json(self) -> dict[str, Any]:
        """Every field and the verdict."""
        return {
            "what": self.what,
            "value": self.value,
            "limit": self.limit,
            "side": self.side,
            "unit": self.unit,
            "verdict": self.verdict,
        }
