"""What a calibration run remembers of an activation: its channels' extremes and a fair sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import CalibrationError

__all__ = ["MULTIPLICATIONS", "SAMPLE", "ActivationProfile", "Profiler"]

SAMPLE = 2048
"""Tokens whose activations are kept, drawn evenly from all: 530 MB for a BERT of base size."""

MULTIPLICATIONS = 3_300_000_000
"""What one product with a sample may take, some 50 ms: the searches take ten of every layer."""

_SEED = 20
_SLACK = 1.25  # how many times as many are held between two trims


@dataclass(frozen=True, slots=True)
class ActivationProfile:
    """An activation over the calibration set.

    Args:
        low, high: Extremes of every channel over all tokens, float32 (C,).
        sample: Some of the tokens, float32 (at most :data:`SAMPLE`, C).
        tokens: How many were seen.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    sample: NDArray[np.float32]
    tokens: int

    def thinned(self, columns: int) -> ActivationProfile:
        """The same with an even share of the sample, if all of it takes too long to multiply.

        Args:
            columns: Of the weights that it is multiplied with.
        """
        share = -(-self.sample.size * columns // MULTIPLICATIONS)
        return replace(self, sample=self.sample[::share])


class Profiler:
    """Sees an activation batch by batch.

    The sample is drawn by keys: every token gets a random number, those with the smallest are kept.
    Memory is bounded, each token has the same chance, and the same stream gives the same sample.
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(_SEED)
        self._low: NDArray[np.float32] | None = None
        self._high: NDArray[np.float32] | None = None
        self._rows: list[NDArray[np.float32]] = []
        self._keys: list[NDArray[np.float64]] = []
        self._held = 0
        self._seen = 0
        self._largest_key = np.inf

    def observe(self, batch: NDArray[np.float32]) -> None:
        """Take in one batch, padding already removed; float32 (..., C)."""
        tokens = batch.reshape(-1, batch.shape[-1])  # (T, C)
        low, high = tokens.min(axis=0), tokens.max(axis=0)  # (C,)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)
        self._seen += len(tokens)
        keys = self._random.random(len(tokens))  # (T,)
        chosen = np.flatnonzero(keys < self._largest_key)
        self._rows.append(tokens[chosen])
        self._keys.append(keys[chosen])
        self._held += len(chosen)
        if self._held > _SLACK * SAMPLE:
            self._trim()

    def profile(self) -> ActivationProfile:
        """What was seen.

        Raises:
            CalibrationError: No batch was.
        """
        if self._low is None or self._high is None:
            raise CalibrationError("Profiler saw no batch", fix="Calibrate on some examples")
        self._trim()
        return ActivationProfile(self._low, self._high, self._rows[0], self._seen)

    def _trim(self) -> None:
        keys = np.concatenate(self._keys)
        smallest = np.sort(np.argsort(keys, kind="stable")[:SAMPLE])
        if len(keys) >= SAMPLE:
            self._largest_key = float(keys[smallest].max())
        self._rows = [np.concatenate(self._rows)[smallest]]
        self._keys = [keys[smallest]]
        self._held = len(smallest)
