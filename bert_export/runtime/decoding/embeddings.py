"""Sentence vectors: the prompt before the text, truncation and normalization after the graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["finish_vectors", "pooling_mask"]

_EPSILON = 1e-12
"""Below this length a vector is divided by it instead of by its own length."""


def finish_vectors(
    vectors: NDArray[np.float32], *, truncate_dim: int | None, normalize: bool
) -> NDArray[np.float32]:
    """Cut vectors, then scale them to length 1.

    Args:
        vectors: float32 (..., D).
        truncate_dim: Numbers that are kept of each.
        normalize: Whether they are scaled; a zero vector stays zero.

    Returns:
        float32 (..., min(D, truncate_dim)).
    """
    vectors = vectors[..., :truncate_dim]
    if not normalize:
        return vectors
    lengths = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))  # (..., 1)
    return np.asarray(vectors / np.maximum(lengths, np.float32(_EPSILON)))


def pooling_mask(tokens: int, skipped: int) -> NDArray[np.int64]:
    """Which tokens of a row are pooled, where a prompt's are not.

    Args:
        tokens: S, of the row.
        skipped: Tokens of the prompt at its start, ``[CLS]`` included.

    Returns:
        int64 (S,), 0 for a token that is left out.
    """
    mask = np.ones(tokens, dtype=np.int64)
    mask[:skipped] = 0
    return mask
