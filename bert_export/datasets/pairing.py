"""Pairs of passages for next-sentence heads, from running text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["pair_passages"]

_SEED = 0


def pair_passages(
    rows: Sequence[tuple[int, dict[str, Any]]], *, seed: int = _SEED
) -> list[tuple[int, dict[str, Any]]]:
    """Pair passages: half of them with the one that follows, half with any other one.

    Consecutive passages belong to one pair: no passage is the first of one and the follower of
    another.

    Args:
        rows: Line number and ``{"text": passage}``, in reading order.
        seed: Seed of the halves and of the other passages.

    Returns:
        Line number of the first passage, and ``text``, ``text_pair`` and ``label`` (1: it follows).

    Source: Devlin et al. 2018, arXiv:1810.04805, section 3.1, task 2.
    """
    count = len(rows) // 2
    rng = np.random.default_rng(seed)
    follows = rng.permutation(np.arange(count) % 2 == 0)  # (count,)
    pairs = []
    for index in range(count):
        (number, first), (_, second) = rows[2 * index], rows[2 * index + 1]
        if not follows[index] and len(rows) > 2:
            other = int(rng.integers(0, len(rows) - 2))  # neither of the two themselves
            second = rows[other if other < 2 * index else other + 2][1]
        label = int(follows[index] or len(rows) <= 2)
        pairs.append((number, {"text": first["text"], "text_pair": second["text"], "label": label}))
    return pairs
