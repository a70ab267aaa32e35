"""Observers: streams of activations in, one range out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import CalibrationError

__all__ = ["OBSERVERS", "MinMaxObserver", "Observer", "PercentileObserver", "make_observer"]


class Observer(Protocol):
    """Sees every batch of one activation and answers the range that INT8 should span."""

    def see(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, padding already removed; any shape, float32."""
        ...

    def range(self) -> tuple[float, float]:
        """Lower and upper bound.

        Raises:
            CalibrationError: No batch was seen.
        """
        ...


class MinMaxObserver:
    """The smallest and largest value ever seen."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def see(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""
        self._low = min(self._low, float(batch.min()))
        self._high = max(self._high, float(batch.max()))

    def range(self) -> tuple[float, float]:
        """Lower and upper bound."""
        if self._low > self._high:
            raise CalibrationError("MinMaxObserver saw no batch", fix="Calibrate on some examples")
        return self._low, self._high


class PercentileObserver:
    """The widest per-batch percentiles: a handful of outliers does not widen the range.

    Args:
        percentile: Share of a batch's values that each bound spans, in percent, (50, 100].

    Source: Wu et al. 2020, arXiv:2004.09602, section 5 (percentile calibration).
    """

    def __init__(self, percentile: float = 99.999) -> None:
        if not 50.0 < percentile <= 100.0:
            raise CalibrationError(
                "percentile is out of bounds", expected="above 50, at most 100", got=percentile
            )
        self._tail = 1.0 - percentile / 100.0
        self._low, self._high = np.inf, -np.inf

    def see(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""
        flat = batch.reshape(-1)
        outside = int(flat.size * self._tail)
        inside = flat.size - 1 - outside
        ordered = np.partition(flat, (outside, inside))
        self._low = min(self._low, float(ordered[outside]))
        self._high = max(self._high, float(ordered[inside]))

    def range(self) -> tuple[float, float]:
        """Lower and upper bound."""
        if self._low > self._high:
            raise CalibrationError(
                "PercentileObserver saw no batch", fix="Calibrate on some examples"
            )
        return self._low, self._high


OBSERVERS: dict[str, type[MinMaxObserver | PercentileObserver]] = {
    "min-max": MinMaxObserver,
    "percentile": PercentileObserver,
}


def make_observer(name: str) -> Observer:
    """A fresh observer of that name.

    Raises:
        CalibrationError: No observer is called so.
    """
    if name not in OBSERVERS:
        raise CalibrationError(
            f"observer {name!r} is unknown", expected=f"one of {', '.join(OBSERVERS)}", got=name
        )
    return OBSERVERS[name]()
