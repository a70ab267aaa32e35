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
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
