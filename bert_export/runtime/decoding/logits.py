"""What a call allows next: scores of tokens that were there already, n-grams, and the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["block_ngrams", "block_tokens", "penalize_repetition"]

Scores = NDArray[np.float32]


def penalize_repetition(scores: Scores, ids: NDArray[np.int64], penalty: float) -> Scores:
    """Make tokens that stand in a text already less likely.

    Args:
        scores: float32 (V,), logits or their logarithms of probabilities.
        ids: int64 (S,), the text so far.
        penalty: What positive scores are divided by, and negative ones multiplied; 1 for none.

    Source: Keskar 2019, "CTRL", section 4.1.
    """
    if penalty == 1:
        return scores
    there = np.unique(ids)
    old = scores[there]
    kept = scores.copy()
    kept[there] = np.where(old < 0, old * np.float32(penalty), old / np.float32(penalty))
    return kept


def block_ngrams(scores: Scores, ids: NDArray[np.int64], size: int) -> Scores:
    """Exclude tokens that would end an n-gram which the text holds already.

    Args:
        scores: float32 (V,).
        ids: int64 (S,), the text so far.
        size: Tokens of an n-gram; 0 excludes none.
    """
    if not 0 < size <= len(ids):
        return scores
    if size == 1:
        return block_tokens(scores, np.unique(ids))
    windows = np.lib.stride_tricks.sliding_window_view(ids, size)  # (S - size + 1, size)
    same = (windows[:, :-1] == ids[len(ids) - size + 1 :]).all(axis=1)
    return block_tokens(scores, windows[same, -1]) if same.any() else scores


def block_tokens(scores: Scores, tokens: Sequence[int] | NDArray[np.int64]) -> Scores:
    """Exclude tokens: float32 (V,) with ``-inf`` at each of them."""
    kept = scores.copy()
    kept[np.asarray(tokens, dtype=np.int64)] = -np.inf
    return kept
