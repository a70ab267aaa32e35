"""Sentence vectors: what is done to them after the graph, and how two are compared."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from bert_export.tasks.sentence_embedding import Similarity

__all__ = [
    "PRECISIONS",
    "Precision",
    "compare_pairs",
    "compare_vectors",
    "finish_vectors",
    "pooling_mask",
    "quantize_vectors",
]

Vectors: TypeAlias = NDArray[np.float32]

Precision: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_SIGN = np.uint8(128)
"""Flipped in a byte, it takes 128 off, and the byte is a signed one."""

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


def compare_vectors(left: Vectors, right: Vectors, similarity: Similarity) -> Vectors:
    """How alike every vector of one set is to every vector of another.

    Args:
        left: float32 (N, D).
        right: float32 (M, D).
        similarity: Of distances the negative is taken, so that more is more alike.

    Returns:
        float32 (N, M).
    """
    if similarity == "cosine":
        left, right = _scaled(left), _scaled(right)
    if similarity in ("cosine", "dot"):
        return np.asarray(left @ right.T)
    # Row by row: all differences at once would take N * M * D numbers.
    rows = [compare_pairs(row[None], right, similarity) for row in left]  # N x (M,)
    return np.stack(rows) if rows else np.empty((0, len(right)), dtype=np.float32)


def compare_pairs(left: Vectors, right: Vectors, similarity: Similarity) -> Vectors:
    """How alike each vector of one set is to the one at its place in another.

    Args:
        left: float32 (N, D), or (1, D), which is compared with each.
        right: float32 (N, D).
        similarity: See :func:`compare_vectors`.

    Returns:
        float32 (N,).
    """
    if similarity == "cosine":
        left, right = _scaled(left), _scaled(right)
    if similarity in ("cosine", "dot"):
        return np.asarray((left * right).sum(axis=-1))
    if similarity == "euclidean":
        return np.asarray(-np.sqrt(np.square(left - right).sum(axis=-1)))
    return np.asarray(-np.abs(left - right).sum(axis=-1))


def quantize_vectors(
    vectors: Vectors, precision: Precision, ranges: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Store vectors in fewer bits.

    Args:
        vectors: float32 (N, D).
        precision: ``int8`` and ``uint8`` keep 256 steps between the ends of a range, beyond which
            numbers are cut; ``binary`` and ``ubinary`` keep signs, eight of them in a byte, the
            first in its highest bit.
        ranges: (2, D), the least and the largest number of each dimension, which ``int8`` and
            ``uint8`` need.

    Returns:
        float32 (N, D) as they are; int8 or uint8 (N, D); or (N, D / 8, rounded up), int8 for
        ``binary`` and uint8 for ``ubinary``.

    Source: sentence-transformers, ``quantize_embeddings``.
    """
    if precision == "float32":
        return vectors
    if precision in ("binary", "ubinary"):
        packed = np.packbits(vectors > 0, axis=-1)  # (N, D / 8)
        return np.asarray(packed if precision == "ubinary" else (packed ^ _SIGN).view(np.int8))
    assert ranges is not None, "the pipeline asked for them"
    least, largest = np.asarray(ranges)
    steps = (largest - least) / 255  # (D,)
    levels = np.clip(np.floor((vectors - least) / np.where(steps == 0, 1, steps)), 0, 255)
    kind, shift = (np.uint8, 0) if precision == "uint8" else (np.int8, 128)
    return np.asarray((levels - shift).astype(kind))


def _scaled(vectors: Vectors) -> Vectors:
    return finish_vectors(vectors, truncate_dim=None, normalize=True)
