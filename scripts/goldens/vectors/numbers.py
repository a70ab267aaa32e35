"""Numbers of few decimals that depend on a row alone: the same on every machine, short as text."""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn", "level"]

Floats = NDArray[np.float32]


def drawn(key: object, *shape: int, reach: float = 4.0, decimals: int = 2) -> Floats:
    """Numbers from ``-reach`` to ``reach``, no two of a last axis equal.

    Args:
        key: What they depend on; equal keys give equal numbers.
        shape: At least one axis.
        reach: The largest size of a number.
        decimals: Of every number; more of them where equal sums are to be rare.

    Returns:
        float32, of that shape.
    """
    random = Random(repr(key))
    *outer, width = shape
    steps = int(reach * 10.0**decimals)
    rows = []
    for _ in range(int(np.prod(outer, dtype=np.int64))):
        row: dict[int, None] = {}
        while len(row) < width:
            row[int(random.random() * (2 * steps + 1)) - steps] = None
        rows.append(list(row))
    return (np.array(rows, dtype=np.float64).reshape(shape) / 10.0**decimals).astype(np.float32)


def level(value: float, *shape: int) -> Floats:
    """One number throughout: nothing but ties."""
    return np.full(shape, value, dtype=np.float32)
