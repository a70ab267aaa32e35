"""Rounding of weights: each row makes up for what rounding the rows before it did to the output.

Nearest levels make the error of every weight small. What counts is the error of the products, and
the channels of an activation move together: with the covariance ``C`` of what INT8 leaves of the
input, a column whose weights are off by ``e`` has the squared error ``e' C e``, and what one row is
off can be taken back by the rows that are still to be rounded. With ``C = R D R'``, ``R`` upper
triangular with ones on its diagonal, ``D`` diagonal, the next row is::

    Q[k] = round(W[k] + sum over j < k of R[j, k] (W[j] - Q[j]))

so that ``R' e`` holds nothing but what each row's own rounding left. The scales are those of the
nearest levels, and nothing changes at run time.

Source: Frantar et al. 2022, arXiv:2210.17323 (GPTQ), in the form of Chee et al. 2023,
arXiv:2307.13304, section 4.2 (LDLQ), which needs no inverse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bert_export.quantization.weights.number_formats import quantize_weight

__all__ = ["WeightRounder", "round_rows"]

Levels = tuple[NDArray[np.int8], NDArray[np.float32]]

_DAMPING = 0.1
"""Of the mean variance, added to each: what a few thousand tokens say of others."""

_BLOCK = 64  # rows whose feedback is one product


class WeightRounder:
    """Rounds the weights of layers, and remembers them.

    The engines of an export and the mixtures of a search ask for the same weights again and again.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, bytes], Levels] = {}

    def round(
        self,
        activation: str,
        sample: NDArray[np.uint8],
        weights: Sequence[NDArray[np.float32]],
        *,
        largest: int,
    ) -> list[Levels]:
        """Round the weights of the layers that read one activation.

        Args:
            activation: Its name; one name stands for one sample.
            sample: Levels of tokens that calibration saw, (T, K).
            weights: float32 (K, N) each.
            largest: The largest level, 127 for 8 bits.

        Returns:
            As :func:`bert_export.quantization.weights.number_formats.quantize_weight` does, for
            each.
        """
        keys = [(activation, largest, _digest(weight)) for weight in weights]
        new = [index for index, key in enumerate(keys) if key not in self._known]
        if new:
            feedback = _feedback(sample)
            for index in new:
                self._known[keys[index]] = round_rows(weights[index], *feedback, largest=largest)
        return [self._known[key] for key in keys]


def round_rows(
    weight: NDArray[np.float32],
    order: NDArray[np.int64],
    feedback: NDArray[np.float32],
    *,
    largest: int,
) -> Levels:
    """Round one weight row by row.

    Args:
        weight: float32 (K, N).
        order: In which the rows are rounded, (K,).
        feedback: ``R``, upper triangular with ones on its diagonal, in that order, (K, K).
        largest: The largest level.

    Returns:
        int8 (K, N) and float32 scales (N,).
    """
    _, scales = quantize_weight(weight, largest=largest)
    wanted = weight[order] / scales  # (K, N), in levels
    errors = np.zeros_like(wanted)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        block = wanted[start:stop] + feedback[:start, start:stop].T @ errors[:start]
        for row in range(start, stop):
            inside = feedback[start:row, row] @ errors[start:row]
            levels = np.rint(block[row - start] + inside)
            np.clip(levels, -largest, largest, out=levels)
            errors[row] = wanted[row] - levels
    rounded = np.empty(weight.shape, dtype=np.int8)
    rounded[order] = np.rint(wanted - errors)
    return rounded, scales


def _feedback(sample: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The order of rows, most variance first, and ``R`` of the covariance in that order."""
    channel_shifted = sample.astype(np.float32)
    channel_shifted -= channel_shifted.mean(axis=0)
    covariance = (channel_shifted.T @ channel_shifted).astype(np.float64) / len(sample)
    variances = covariance.diagonal().copy()
    order = np.argsort(-variances, kind="stable")
    covariance = covariance[np.ix_(order, order)]
    covariance[np.diag_indices_from(covariance)] += _DAMPING * (variances.mean() or 1.0)
    upper = np.linalg.cholesky(covariance[::-1, ::-1])[::-1, ::-1]  # covariance = upper @ upper.T
    return order, (upper / upper.diagonal()).astype(np.float32)


def _digest(weight: NDArray[np.float32]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(weight).data).digest()
