"""Observers: each sees an activation batch by batch and answers the range that INT8 should span.

None keeps activations: what an observer holds is bounded by a histogram's size however long the
stream is. Batches may differ in shape; padding was taken off before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import CalibrationError
from bert_export.quantization.calibration.histogram import Histogram

__all__ = [
    "OBSERVERS",
    "EntropyObserver",
    "MinMaxObserver",
    "MovingAverageObserver",
    "MseObserver",
    "Observer",
    "PercentileObserver",
    "make_observer",
]

_LEVELS = 256
_CLIPS = 128
"""Clipping bounds that a search tries, evenly from all that was seen down to a 128th of it."""


class Observer(Protocol):
    """Sees every batch of one activation and answers the range that INT8 should span."""

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, padding already removed; any shape, float32, not empty."""
        ...

    def range(self) -> tuple[float, float]:
        """Lower and upper bound.

        Raises:
            CalibrationError: No batch was seen.
        """
        ...


class _Bounds:
    """Two bounds that observers widen or move."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def range(self) -> tuple[float, float]:
        """Lower and upper bound."""
        if self._low > self._high:
            raise CalibrationError(
                f"{type(self).__name__} saw no batch", fix="Calibrate on some examples"
            )
        return self._low, self._high


class MinMaxObserver(_Bounds):
    """The smallest and largest value ever seen."""

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""
        self._low = min(self._low, float(batch.min()))
        self._high = max(self._high, float(batch.max()))


class MovingAverageObserver(_Bounds):
    """Each batch pulls the bounds a tenth of the way to its own extremes; the order matters.

    Args:
        momentum: Share of the old bounds that stays, in [0, 1).

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.1 (exponential moving averages).
    """

    def __init__(self, momentum: float = 0.9) -> None:
        super().__init__()
        if not 0.0 <= momentum < 1.0:
            raise CalibrationError(
                "momentum is out of bounds", expected="at least 0, below 1", got=momentum
            )
        self._momentum = momentum

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""
        low, high = float(batch.min()), float(batch.max())
        if self._low > self._high:
            self._low, self._high = low, high
        else:
            self._low += (1.0 - self._momentum) * (low - self._low)
            self._high += (1.0 - self._momentum) * (high - self._high)


class PercentileObserver(_Bounds):
    """The widest per-batch percentiles: a handful of outliers does not widen the range.

    Args:
        percentile: Share of a batch's values that each bound spans, in percent, (50, 100].

    Source: Wu et al. 2020, arXiv:2004.09602, section 5 (percentile calibration).
    """

    def __init__(self, percentile: float = 99.999) -> None:
        super().__init__()
        if not 50.0 < percentile <= 100.0:
            raise CalibrationError(
                "percentile is out of bounds", expected="above 50, at most 100", got=percentile
            )
        self._tail = 1.0 - percentile / 100.0

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""
        outside = int(batch.size * self._tail)
        self._low = min(self._low, -_largest(-batch, outside))
        self._high = max(self._high, _largest(batch, outside))


def _largest(batch: NDArray[np.float32], rank: int) -> float:
    """The value with ``rank`` larger ones, found among the few that can be it.

    Every channel has a maximum; the one with ``rank`` larger ones among them is no larger than the
    value that is looked for, so that only values from it on need to be ordered.
    """
    peaks = batch.reshape(-1, batch.shape[-1]).max(axis=0)  # (C,)
    flat = batch.reshape(-1)
    if rank < peaks.size:
        flat = flat[flat >= np.partition(peaks, peaks.size - 1 - rank)[peaks.size - 1 - rank]]
    place = flat.size - 1 - rank
    return float(np.partition(flat, place)[place])


class _HistogramObserver:
    """Searches a clipping bound on the histogram of everything seen."""

    def __init__(self) -> None:
        self._histogram = Histogram()

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""
        self._histogram.add(batch)

    def range(self) -> tuple[float, float]:
        """Lower and upper bound: the seen extremes, each cut to the magnitude of least loss."""
        histogram = self._histogram
        if histogram.total == 0:
            raise CalibrationError(
                f"{type(self).__name__} saw no batch", fix="Calibrate on some examples"
            )
        low, high = histogram.low, histogram.high
        largest = max(-low, high)
        if largest <= 0.0:
            return low, high
        kept = np.flatnonzero(histogram.counts)
        values = histogram.centers[kept]  # (bins in use,)
        shares = histogram.counts[kept] / histogram.total
        best, fewest = (low, high), np.inf
        for clip in largest * np.arange(_CLIPS, 0, -1) / _CLIPS:
            bounds = max(low, -clip), min(high, clip)
            loss = self._loss(values, shares, bounds)
            if loss < fewest:
                best, fewest = bounds, loss
        return best

    def _loss(
        self,
        values: NDArray[np.float64],
        shares: NDArray[np.float64],
        bounds: tuple[float, float],
    ) -> float:
        raise NotImplementedError


def _levels(values: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.int64]:
    """The level, from 0 to 255, that each value is rounded to."""
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = (high - low) / (_LEVELS - 1)
    zero = round(-low / scale)
    levels: NDArray[np.int64] = np.clip(np.rint(values / scale) + zero, 0, _LEVELS - 1).astype(int)
    return levels


class MseObserver(_HistogramObserver):
    """The bounds of least mean squared error between the values and their 256 levels.

    Source: Choukroun et al. 2019, arXiv:1902.06822, section 3 (minimum MSE quantization).
    """

    def _loss(
        self,
        values: NDArray[np.float64],
        shares: NDArray[np.float64],
        bounds: tuple[float, float],
    ) -> float:
        low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
        scale = (high - low) / (_LEVELS - 1)
        back = (_levels(values, bounds) - round(-low / scale)) * scale
        return float(((back - values) ** 2) @ shares)


class EntropyObserver(_HistogramObserver):
    """The bounds whose 256 levels tell most of the distribution (least KL divergence).

    The values outside are poured into the outermost levels of what is to be told, and not into what
    tells it: clipping costs.

    Source: Wu et al. 2020, arXiv:2004.09602, section 5 (entropy calibration).
    """

    def _loss(
        self,
        values: NDArray[np.float64],
        shares: NDArray[np.float64],
        bounds: tuple[float, float],
    ) -> float:
        inside = (values >= bounds[0]) & (values <= bounds[1])
        if not inside.any():
            return np.inf
        told = shares[inside].copy()  # the reference, outliers at its ends
        below, above = values < bounds[0], values > bounds[1]
        told[0] += shares[below].sum()
        told[-1] += shares[above].sum()
        levels = _levels(values[inside], bounds)
        mass = np.bincount(levels, weights=shares[inside], minlength=_LEVELS)
        bins = np.bincount(levels, minlength=_LEVELS)
        spread = (mass / np.maximum(bins, 1))[levels]
        spread /= spread.sum()
        return float((told * np.log(told / spread)).sum())


OBSERVERS: Mapping[str, Callable[[], Observer]] = {
    "min-max": MinMaxObserver,
    "moving-average": MovingAverageObserver,
    "percentile": PercentileObserver,
    "entropy": EntropyObserver,
    "mse": MseObserver,
}
"""By the name that is typed after ``--calibration-method``."""


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
