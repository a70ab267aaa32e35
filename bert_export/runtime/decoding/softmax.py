"""Logits to probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["softmax"]


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Probabilities over the last axis, shifted by the maximum so that nothing overflows.

    Args:
        logits: Floats (..., L), not all of a row ``-inf``.

    Returns:
        Floats (..., L) of the same dtype.
    """
    # Arrays' own max and sum are wrappers of these, and dearer than a few labels.
    powers = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    return np.asarray(powers / np.add.reduce(powers, axis=-1, keepdims=True))
