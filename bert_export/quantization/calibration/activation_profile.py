"""The profile of an activation over the calibration set: per-channel extremes and a fair sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import CalibrationError

__all__ = ["MULTIPLICATIONS", "SAMPLE", "ActivationProfile", "Profiler"]

SAMPLE = 2048
"""Tokens that a profile keeps, drawn evenly from all: 530 MB for a BERT of base size."""

MULTIPLICATIONS = 3_300_000_000
"""Most multiplications of one product with a sample, some 50 ms: a search takes ten per layer."""

_SEED = 20
_SLACK = 1.25  # the sample grows to this many times its size before it is trimmed


@dataclass(frozen=True, slots=True)
class ActivationProfile:
    """An activation over the calibration set.

    Args:
        low, high: Extremes of every channel over all tokens, float32 (C,).
        sample: Some of the tokens, float32 (at most :data:`SAMPLE`, C).
        tokens: How many tokens were observed.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    sample: NDArray[np.float32]
    tokens: int

    def thinned(self, columns: int) -> ActivationProfile:
        """The same profile with an even part of its sample, small enough to multiply quickly.

        Args:
            columns: Columns of the weights that the sample is multiplied by. The product takes at
                most :data:`MULTIPLICATIONS`.
        """
        step = -(-self.sample.size * columns // MULTIPLICATIONS)
        return replace(self, sample=self.sample[::step])


class Profiler:
    """Builds the profile of an activation batch by batch.

    The sample is drawn by random keys: every token gets one, and the tokens with the smallest keys
    stay. Memory is bounded, every token has the same chance, and equal streams give equal samples.
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(_SEED)
        self._low: NDArray[np.float32] | None = None
        self._high: NDArray[np.float32] | None = None
        self._rows: list[NDArray[np.float32]] = []
        self._keys: list[NDArray[np.float64]] = []
        self._sample_size = 0
        self._tokens = 0
        self._largest_key = np.inf

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, padding already removed; float32 (..., C)."""
        tokens = batch.reshape(-1, batch.shape[-1])  # (T, C)
        low, high = tokens.min(axis=0), tokens.max(axis=0)  # (C,)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)
        self._tokens += len(tokens)
        keys = self._random.random(len(tokens))  # (T,)
        drawn = np.flatnonzero(keys < self._largest_key)
        self._rows.append(tokens[drawn])
        self._keys.append(keys[drawn])
        self._sample_size += len(drawn)
        if self._sample_size > _SLACK * SAMPLE:
            self._trim()

    def profile(self) -> ActivationProfile:
        """The profile of all batches so far.

        Raises:
            CalibrationError: There was no batch.
        """
        if self._low is None or self._high is None:
            raise CalibrationError("Profiler saw no batch", fix="Calibrate on some examples")
        self._trim()
        return ActivationProfile(self._low, self._high, self._rows[0], self._tokens)

    def _trim(self) -> None:
        """Keep the :data:`SAMPLE` tokens with the smallest keys, in the order they came."""
        keys = np.concatenate(self._keys)
        smallest = np.sort(np.argsort(keys, kind="stable")[:SAMPLE])
        if len(keys) >= SAMPLE:
            self._largest_key = float(keys[smallest].max())
        self._rows = [np.concatenate(self._rows)[smallest]]
        self._keys = [keys[smallest]]
        self._sample_size = len(smallest)
