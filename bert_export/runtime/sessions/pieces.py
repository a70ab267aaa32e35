"""Large batches in pieces whose intermediate results stay in the processor's caches.

An encoder's widest results, attention scores and the feed-forward layer's inner states, grow with
the tokens of a call. Beyond some hundred tokens they leave the second-level cache, and every
operator waits for memory: on 2 cores with 1 MB each, 8 rows of 128 tokens took 8 % less time as two
calls of 4 rows, and 32 rows of 64 tokens 12 % less as four calls. No row of a BERT reads another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, prod

import numpy as np

from bert_export.bundle import TensorSpec
from bert_export.runtime.sessions.session import Feeds, Outputs

__all__ = ["PIECE_TOKENS", "can_cut", "cut_feeds", "join_outputs"]

PIECE_TOKENS = 512
"""Padded tokens of a piece at most, unless a single row has more."""

_ROWS = "batch"


def can_cut(specs: Sequence[TensorSpec]) -> bool:
    """Whether rows of a batch are the first axis of every input and output of a graph."""
    return all(spec.shape[:1] == (_ROWS,) for spec in specs)


def cut_feeds(feeds: Feeds) -> Iterator[Feeds]:
    """Cut a batch into pieces of nearly equal size, each within the token budget.

    Args:
        feeds: Arrays (B, ...) of one shape; the product of their axes counts as tokens.

    Yields:
        The feeds themselves where one piece is enough, otherwise views of them.
    """
    shape = next(iter(feeds.values())).shape
    rows = shape[0]
    most = max(1, PIECE_TOKENS // prod(shape[1:]))
    pieces = ceil(rows / most)
    if pieces == 1:
        yield feeds
        return
    size = ceil(rows / pieces)
    for start in range(0, rows, size):
        yield {name: array[start : start + size] for name, array in feeds.items()}


def join_outputs(pieces: Sequence[Outputs]) -> Outputs:
    """Put the outputs of the pieces together, in order."""
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
