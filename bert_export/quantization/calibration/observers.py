"""Observers: each takes in an activation batch by batch and gives the range that INT8 should span.

No observer keeps activations: it holds two bounds or one histogram, however long the stream is.
Batches may differ in shape; padding was removed before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import CalibrationError, one_of, shown
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

_VALUES = 256  # that eight bits can hold
_CLIPS = 128
"""Clipping bounds that a search tries, evenly from the largest magnitude down to a 128th of it."""

Bounds = tuple[float, float]


class Observer(Protocol):
    """Takes in every batch of one activation and gives the range that INT8 should span."""

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, padding already removed; any shape, float32, not empty."""
        ...

    def range(self) -> Bounds:
        """Lower and upper bound.

        Raises:
            CalibrationError: There was no batch.
        """
        ...


def _no_batch(observer: Observer) -> CalibrationError:
    """The error of an observer that is asked for a range too early."""
    return CalibrationError(
        f"{type(observer).__name__} saw no batch", fix="Calibrate on some examples"
    )


class _BoundsObserver(ABC):
    """Keeps two bounds, which every batch may move."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    @abstractmethod
    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""

    def range(self) -> Bounds:
        """Lower and upper bound."""
        if self._low > self._high:
            raise _no_batch(self)
        return self._low, self._high


class MinMaxObserver(_BoundsObserver):
    """The smallest and the largest value of all batches."""

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""
        self._low = min(self._low, float(batch.min()))
        self._high = max(self._high, float(batch.max()))


class MovingAverageObserver(_BoundsObserver):
    """An exponential moving average of each batch's extremes; the order of batches matters.

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
        if self._low > self._high:  # the first batch
            self._low, self._high = low, high
        else:
            self._low += (1.0 - self._momentum) * (low - self._low)
            self._high += (1.0 - self._momentum) * (high - self._high)


class PercentileObserver(_BoundsObserver):
    """The widest percentiles of any batch: a handful of outliers does not widen the range.

    Args:
        percentile: Share of a batch's values below the upper bound, and above the lower one, in
            percent, (50, 100].

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
    """The value of a rank, counted from the largest, which has rank 0.

    Partitioning all values takes long. Among the maxima of the channels, the one of that rank
    cannot exceed the answer, so only values from there on are looked at.
    """
    peaks = batch.reshape(-1, batch.shape[-1]).max(axis=0)  # (C,)
    candidates = batch.reshape(-1)
    if rank < peaks.size:
        threshold = np.partition(peaks, peaks.size - 1 - rank)[peaks.size - 1 - rank]
        candidates = candidates[candidates >= threshold]
    index = candidates.size - 1 - rank
    return float(np.partition(candidates, index)[index])


class _Distribution(NamedTuple):
    """The bins in use: their centres, float64 (bins,), and the share of all values in each."""

    values: NDArray[np.float64]
    shares: NDArray[np.float64]


class _HistogramObserver(ABC):
    """Searches the clipping bounds of least loss on the histogram of all batches."""

    def __init__(self) -> None:
        self._histogram = Histogram()

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch; any shape, float32."""
        self._histogram.add(batch)

    def range(self) -> Bounds:
        """Lower and upper bound: the extremes, both clipped at the magnitude of least loss."""
        histogram = self._histogram
        if histogram.total == 0:
            raise _no_batch(self)
        low, high = histogram.low, histogram.high
        largest = max(-low, high)
        if largest <= 0.0:
            return low, high
        used = np.flatnonzero(histogram.counts)
        distribution = _Distribution(
            values=histogram.centers[used], shares=histogram.counts[used] / histogram.total
        )
        best, least = (low, high), np.inf
        for clip in largest * np.arange(_CLIPS, 0, -1) / _CLIPS:
            bounds = max(low, -clip), min(high, clip)
            loss = self._loss(distribution, bounds)
            if loss < least:
                best, least = bounds, loss
        return best

    @abstractmethod
    def _loss(self, distribution: _Distribution, bounds: Bounds) -> float:
        """What quantizing the distribution with these bounds costs."""


def _scale_and_zero_point(bounds: Bounds) -> tuple[float, int]:
    """In double precision, of a range that is widened to hold 0."""
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = (high - low) / (_VALUES - 1)
    return scale, round(-low / scale)


def _quantize(values: NDArray[np.float64], bounds: Bounds) -> NDArray[np.int64]:
    """Values as integers from 0 to 255, clipped at the bounds."""
    scale, zero_point = _scale_and_zero_point(bounds)
    rounded = np.rint(values / scale) + zero_point
    quantized: NDArray[np.int64] = np.clip(rounded, 0, _VALUES - 1).astype(int)
    return quantized


class MseObserver(_HistogramObserver):
    """The bounds of least mean squared error between values and what INT8 keeps of them.

    Source: Choukroun et al. 2019, arXiv:1902.06822, section 3 (minimum MSE quantization).
    """

    def _loss(self, distribution: _Distribution, bounds: Bounds) -> float:
        values, shares = distribution
        scale, zero_point = _scale_and_zero_point(bounds)
        dequantized = (_quantize(values, bounds) - zero_point) * scale
        return float(((dequantized - values) ** 2) @ shares)


class EntropyObserver(_HistogramObserver):
    """The bounds of least Kullback-Leibler divergence between the distribution and its INT8 form.

    Values outside the bounds count as values at the ends of the reference distribution, but not of
    its INT8 form. That makes clipping cost something.

    Source: Wu et al. 2020, arXiv:2004.09602, section 5 (entropy calibration).
    """

    def _loss(self, distribution: _Distribution, bounds: Bounds) -> float:
        values, shares = distribution
        inside = (values >= bounds[0]) & (values <= bounds[1])
        if not inside.any():
            return np.inf
        # The reference: all values, clipped at the bounds.
        reference = shares[inside].copy()
        below, above = values < bounds[0], values > bounds[1]
        reference[0] += shares[below].sum()
        reference[-1] += shares[above].sum()
        # Its INT8 form: bins that share a quantized value share its mass evenly.
        quantized = _quantize(values[inside], bounds)
        mass = np.bincount(quantized, weights=shares[inside], minlength=_VALUES)
        bins = np.bincount(quantized, minlength=_VALUES)
        approximation = (mass / np.maximum(bins, 1))[quantized]
        approximation /= approximation.sum()
        return float((reference * np.log(reference / approximation)).sum())


OBSERVERS: Mapping[str, Callable[[], Observer]] = {
    "min-max": MinMaxObserver,
    "moving-average": MovingAverageObserver,
    "percentile": PercentileObserver,
    "entropy": EntropyObserver,
    "mse": MseObserver,
}
"""By the name that follows ``--calibration-method``."""


def make_observer(name: str) -> Observer:
    """A fresh observer of that name.

    Raises:
        CalibrationError: There is no such observer.
    """
    if name not in OBSERVERS:
        raise CalibrationError(f"observer {shown(name)} is unknown", **one_of(name, OBSERVERS))
    return OBSERVERS[name]()
