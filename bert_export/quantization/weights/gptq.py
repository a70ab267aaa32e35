"""GPTQ: weights are rounded row by row, and each row makes up for the errors of those before it.

Rounding to nearest keeps the error of every single weight small. What counts is the error of the
product, and the channels of an activation are correlated. Let ``C`` be the covariance of the
quantized input. A column whose weights are off by ``e`` then has the squared error ``e' C e``, and
rows that are still to be rounded can take back what one row is off. With ``C = R D R'``, ``R``
upper triangular with ones on its diagonal and ``D`` diagonal, the next row is::

    Q[k] = round(W[k] + sum over j < k of R[j, k] (W[j] - Q[j]))

``R' e`` then holds nothing but each row's own rounding error. The scales are those of rounding to
nearest, and nothing changes at run time.

Source: Frantar et al. 2022, arXiv:2210.17323 (GPTQ), in the form of Chee et al. 2023,
arXiv:2307.13304, section 4.2 (LDLQ), which needs no inverse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bert_export.quantization.weights.number_formats import quantize_weight

__all__ = ["GptqQuantizer", "QuantizedWeight"]

QuantizedWeight = tuple[NDArray[np.int8], NDArray[np.float32]]
"""int8 (K, N) and float32 scales (N,), as
:func:`bert_export.quantization.weights.number_formats.quantize_weight` gives them."""

_DAMPING = 0.1
"""Share of the mean variance added to every variance: a few thousand tokens are only a sample."""

_BLOCK = 64  # rows whose feedback from earlier blocks is one product


class GptqQuantizer:
    """Quantizes the weights of layers with GPTQ, and remembers the results.

    The engines of an export and the configurations of a mixed-precision search ask for the same
    weights again and again.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, bytes], QuantizedWeight] = {}

    def quantize(
        self,
        activation: str,
        sample: NDArray[np.uint8],
        weights: Sequence[NDArray[np.float32]],
        *,
        largest: int,
    ) -> list[QuantizedWeight]:
        """Quantize the weights of the layers that read one activation.

        Args:
            activation: Its name; one name stands for one sample.
            sample: The quantized activation at tokens of the calibration set, (T, K).
            weights: float32 (K, N) each.
            largest: The largest quantized weight: 127 for 8 bits, 63 for 7.

        Returns:
            Quantized values and scales of each weight.
        """
        keys = [(activation, largest, _digest(weight)) for weight in weights]
        new = [index for index, key in enumerate(keys) if key not in self._known]
        if new:
            order, feedback = _feedback(sample)
            for index in new:
                self._known[keys[index]] = _round_with_feedback(
                    weights[index], order, feedback, largest=largest
                )
        return [self._known[key] for key in keys]


def _round_with_feedback(
    weight: NDArray[np.float32],
    order: NDArray[np.int64],
    feedback: NDArray[np.float32],
    *,
    largest: int,
) -> QuantizedWeight:
    """Round one weight row by row.

    Args:
        weight: float32 (K, N).
        order: The order in which rows are rounded, (K,).
        feedback: ``R``, upper triangular with ones on its diagonal, in that order, (K, K).
        largest: The largest quantized weight.

    Returns:
        Quantized values and scales.
    """
    _, scales = quantize_weight(weight, largest=largest)
    exact = weight[order] / scales  # (K, N), in steps of the scale
    errors = np.zeros_like(exact)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        # Feedback of all earlier blocks, then row by row of this block's own rows.
        block = exact[start:stop] + feedback[:start, start:stop].T @ errors[:start]
        for row in range(start, stop):
            within_block = feedback[start:row, row] @ errors[start:row]
            rounded = np.rint(block[row - start] + within_block)
            np.clip(rounded, -largest, largest, out=rounded)
            errors[row] = exact[row] - rounded
    quantized = np.empty(weight.shape, dtype=np.int8)
    quantized[order] = np.rint(exact - errors)
    return quantized, scales


def _feedback(sample: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The order of rows, largest variance first, and ``R`` of the covariance in that order."""
    centred = sample.astype(np.float32)
    centred -= centred.mean(axis=0)
    covariance = (centred.T @ centred).astype(np.float64) / len(sample)
    variances = covariance.diagonal().copy()
    order = np.argsort(-variances, kind="stable")
    covariance = covariance[np.ix_(order, order)]
    covariance[np.diag_indices_from(covariance)] += _DAMPING * (variances.mean() or 1.0)
    upper = np.linalg.cholesky(covariance[::-1, ::-1])[::-1, ::-1]  # covariance = upper @ upper.T
    return order, (upper / upper.diagonal()).astype(np.float32)


def _digest(weight: NDArray[np.float32]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(weight).data).digest()
