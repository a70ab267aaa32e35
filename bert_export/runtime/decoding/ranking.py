"""The order of scores in which equal ones keep their places."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["largest"]


def largest(scores: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Places of the largest scores, largest first; of equal ones the first comes first.

    Args:
        scores: Floats (N,), none of them NaN.
        count: How many; all N where there are not so many.

    Returns:
        int64 (min(count, N),).
    """
    if count <= 0:
        return np.empty(0, np.intp)
    if count >= len(scores):
        return np.argsort(-scores, kind="stable")
    # Of a vocabulary only the few that may be among them are sorted.
    places = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    return places[np.argsort(-scores[places], kind="stable")][:count]
