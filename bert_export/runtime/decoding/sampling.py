"""Logits of the next token to the token, and new tokens to text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from bert_export.runtime.decoding.softmax import softmax

__all__ = [
    "Sampling",
    "added_text",
    "draw_token",
    "filter_logits",
    "keep_top_k",
    "keep_top_p",
    "settled_text",
]

_UNSETTLED = 4
"""Tokens at the end that later ones may still join: "do n ' t" becomes "don't" at its last."""

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a token is drawn.

    Args:
        temperature: Logits are divided by it.
        top_k: Only that many of the likeliest tokens remain; 0 keeps all.
        top_p: Only the likeliest tokens that together reach this probability remain.
        seed: Of each prompt's own generator; fresh entropy when ``None``.
    """

    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    seed: int | None = None


def keep_top_k(logits: Logits, top_k: int) -> Logits:
    """Set all but the ``top_k`` largest logits to ``-inf``; those equal to the last remain too.

    Args:
        logits: float32 (V,).
        top_k: How many remain; 0 keeps all.
    """
    if not 0 < top_k < len(logits):
        return logits
    bound = np.partition(logits, -top_k)[-top_k]
    return np.where(logits < bound, np.float32(-np.inf), logits)


def keep_top_p(logits: Logits, top_p: float) -> Logits:
    """Keep the smallest set of likeliest tokens that reaches ``top_p``, the likeliest always.

    Args:
        logits: float32 (V,).
        top_p: Probability in [0, 1]; 1 keeps all.

    Source: Holtzman 2019, "The Curious Case of Neural Text Degeneration", §3.1.
    """
    if top_p >= 1:
        return logits
    order = np.argsort(logits, kind="stable")  # least likely first
    below = np.cumsum(softmax(logits[order]), dtype=np.float32)  # (V,)
    dropped = order[:-1][below[:-1] <= np.float32(1 - top_p)]
    kept = logits.copy()
    kept[dropped] = -np.inf
    return kept


def filter_logits(logits: Logits, sampling: Sampling) -> Logits:
    """Temperature, then ``top_k``, then ``top_p``.

    Args:
        logits: float32 (V,).
        sampling: The three.

    Returns:
        float32 (V,); ``-inf`` where a token cannot be drawn.
    """
    scaled = logits / np.float32(sampling.temperature)
    return keep_top_p(keep_top_k(scaled, sampling.top_k), sampling.top_p)


def draw_token(logits: Logits, number: float) -> int:
    """Draw from the softmax of logits by inverting its distribution function.

    Args:
        logits: float32 (V,); ``-inf`` is never drawn.
        number: Random, in [0, 1).
    """
    reach = np.cumsum(softmax(logits.astype(np.float64)))  # (V,)
    return int(np.searchsorted(reach, number * reach[-1], side="right"))


def added_text(prompt: str, whole: str) -> str:
    """What new tokens add to a prompt's spelling.

    Args:
        prompt: As its tokens spell it.
        whole: As its tokens and the new ones spell it.

    Source: upstream's ``text-generation`` pipeline, which cuts the decoded whole where the decoded
    prompt would end.
    """
    return whole[len(prompt) :]


def settled_text(decode: Callable[[list[int]], str], ids: Sequence[int], *, done: bool) -> str:
    """The beginning of a text that no later token changes.

    Args:
        decode: Ids to text.
        ids: Of the text so far.
        done: Whether no more follow: then it is the whole text.
    """
    whole = decode(list(ids))
    if done:
        return whole
    begun = decode(list(ids[:-_UNSETTLED]))
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(begun, whole, strict=False))
    return "".join(letter for letter, _ in alike)
