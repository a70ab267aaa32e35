"""Logits behind masks to the words that fit there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.runtime.decoding.ranking import largest
from bert_export.runtime.decoding.softmax import softmax

__all__ = ["Candidates", "Spell", "best_candidates", "describe_candidates", "find_candidates"]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best tokens of every mask of a row.

    Args:
        positions: int64 (M,), where the masks stand.
        ids: int64 (M, K), best first.
        scores: float32 (M, K), probabilities over the whole vocabulary.
    """

    positions: NDArray[np.int64]
    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class Spell(Protocol):
    """A tokenizer's decoding."""

    def __call__(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """The text that ids spell."""
        ...


def best_candidates(
    logits: NDArray[np.float32], *, top_k: int, targets: Sequence[int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rank the vocabulary behind every mask.

    Probabilities are taken over the whole vocabulary first and restricted to ``targets`` then, so
    those of the targets do not sum to one. Equal probabilities keep the order of ``targets``, or of
    ids.

    Args:
        logits: float32 (M, V).
        top_k: Candidates per mask; all targets where they are fewer.
        targets: Ids without repetition.

    Returns:
        Ids int64 (M, K) and probabilities float32 (M, K), best first.

    Raises:
        InputError: ``top_k`` is above the size of the vocabulary.
    """
    probabilities = softmax(logits)  # (M, V)
    if targets is None:
        allowed = np.arange(logits.shape[-1])
    else:
        allowed = np.asarray(targets, dtype=np.int64)  # (T,)
        probabilities = probabilities[:, allowed]
        top_k = min(top_k, len(allowed))
    if top_k > len(allowed):
        raise InputError("top_k is too large", expected=f"at most {len(allowed)}", got=top_k)
    ranked = [largest(own, top_k) for own in probabilities]
    order = np.array(ranked, np.intp).reshape(len(probabilities), top_k)  # (M, K)
    return allowed[order], np.take_along_axis(probabilities, order, axis=-1)


def find_candidates(
    input_ids: NDArray[np.int64],
    logits: NDArray[np.float32],
    *,
    mask_id: int,
    top_k: int,
    targets: Sequence[int] | None = None,
) -> Candidates:
    """Rank the vocabulary behind every mask of a row; see :func:`best_candidates`.

    Args:
        input_ids: int64 (S,).
        logits: float32 (S, V), of which only the masks' rows are read, or just these, (M, V).
        mask_id: Which id is a mask.
        top_k: Candidates per mask.
        targets: Ids that they are taken from.
    """
    positions = np.flatnonzero(input_ids == mask_id)  # (M,)
    if len(logits) != len(positions):
        logits = logits[positions]  # (M, V)
    return Candidates(positions, *best_candidates(logits, top_k=top_k, targets=targets))


def describe_candidates(
    input_ids: NDArray[np.int64], candidates: Candidates, *, pad_id: int, spell: Spell
) -> list[list[dict[str, Any]]]:
    """Spell candidates out: one list per mask, one dictionary per candidate.

    ``sequence`` is the row with the candidate in place; where it has several masks the special
    tokens are kept, or the other masks would vanish from it.

    Args:
        input_ids: int64 (S,), the row.
        candidates: Of its masks.
        pad_id: Id of ``[PAD]``, which no sequence shows.
        spell: The tokenizer's decoding.
    """
    single = len(candidates.positions) == 1
    answers = []
    for position, ids, scores in zip(
        candidates.positions.tolist(),
        candidates.ids.tolist(),
        candidates.scores.tolist(),
        strict=True,
    ):
        answer = []
        for token, score in zip(ids, scores, strict=True):
            filled = input_ids.copy()
            filled[position] = token
            filled = filled[filled != pad_id]
            answer.append(
                {
                    "score": score,
                    "token": token,
                    "token_str": spell([token], skip_special_tokens=False),
                    "sequence": spell(filled.tolist(), skip_special_tokens=single),
                }
            )
        answers.append(answer)
    return answers
