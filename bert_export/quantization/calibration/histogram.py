"""A histogram of a stream whose bounds are not known in advance: it widens, and loses no count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "Histogram"]

BINS = 8192
"""Bins of every histogram: 64 KiB, however long the stream. A multiple of four, to merge pairs."""


class Histogram:
    """Counts of values between ``-width`` and ``width``, where ``width`` is a power of two.

    A value outside doubles the width: each pair of neighbouring bins becomes one. The edges of the
    wide bins are edges of the narrow ones too. The counts therefore depend neither on the order of
    the values nor on how the stream was cut into batches.

    Attributes:
        counts: int64 (BINS,), of values in ``[edge, next edge)``.
        width: The power of two; 0 until a value other than 0 is added.
        low: The smallest value so far.
        high: The largest value so far.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, dtype=np.int64)  # (BINS,)
        self.width = 0.0
        self.low, self.high = np.inf, -np.inf

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def centers(self) -> NDArray[np.float64]:
        """The centre of every bin, float64 (BINS,)."""
        step = 2.0 * self.width / BINS
        centers: NDArray[np.float64] = (np.arange(BINS, dtype=np.float64) + 0.5) * step - self.width
        return centers

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values.

        Args:
            values: Finite, any shape.
        """
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen_beyond(max(-low, high))
        if self.width == 0.0:  # only zeros so far
            self.counts[BINS // 2] += values.size
            return
        positions = values.reshape(-1).astype(np.float64)  # float32 would turn the smallest into 0
        positions *= BINS / 2 / self.width  # a power of two: exact
        bins = np.floor(positions).astype(np.int32) + BINS // 2
        self.counts += np.bincount(bins, minlength=BINS)

    def _widen_beyond(self, bound: float) -> None:
        """Widen until a bound lies below the width."""
        if bound >= self.width and bound > 0.0:
            # Not below float32's normal numbers, where a scale would overflow.
            self._widen_to(2.0 ** max(np.floor(np.log2(bound)) + 1, -100))

    def _widen_to(self, width: float) -> None:
        if self.width == 0.0:  # zeros lie in the same bin at any width
            self.width = width
        while self.width < width:
            pairs = self.counts.reshape(BINS // 2, 2).sum(axis=1)
            self.counts = np.zeros(BINS, dtype=np.int64)
            self.counts[BINS // 4 : 3 * BINS // 4] = pairs
            self.width *= 2.0
