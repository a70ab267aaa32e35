"""Masks for masked-language-model heads: as in pre-training, and for scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import TokenizerError
from bert_export.runtime.batching import Row
from bert_export.runtime.tokenization import Tokenizer

__all__ = ["corrupt_rows", "hide_rows", "hide_tokens", "mask_tokens"]

_SHARE = 0.15


def corrupt_rows(
    rows: Sequence[Row], tokenizer: Tokenizer, rng: np.random.Generator, *, vocab_size: int
) -> list[Row]:
    """Corrupt rows as pre-training does; a row that has a mask of its own stays as it is.

    Args:
        rows: Rows of one tokenizer.
        tokenizer: That tokenizer; it may know tokens beyond the word table.
        rng: Source of every draw.
        vocab_size: Rows of the word table.

    Raises:
        TokenizerError: The tokenizer has no mask token, or the word table no vector for it.
    """
    if tokenizer.required_mask_id >= vocab_size:
        raise TokenizerError(
            f"mask token {tokenizer.mask_token} has no vector in the model",
            expected=f"an id below {vocab_size}, the config's vocab_size",
            got=tokenizer.mask_id,
            fix="Choose a checkpoint that was trained on masks",
        )
    mask = partial(mask_tokens, vocab_size=min(tokenizer.vocab_size, vocab_size))
    return _mask_rows(rows, tokenizer, rng, mask)


def hide_rows(rows: Sequence[Row], tokenizer: Tokenizer, rng: np.random.Generator) -> list[Row]:
    """Hide tokens of rows, for a head to predict; a row with a mask of its own stays as it is.

    Raises:
        TokenizerError: The tokenizer has no mask token.
    """
    return _mask_rows(rows, tokenizer, rng, hide_tokens)


def _mask_rows(
    rows: Sequence[Row],
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    mask: Callable[..., NDArray[np.int64]],
) -> list[Row]:
    """Mask the rows without a mask; ``mask`` is one of the functions below, on a row's tokens."""
    mask_id = tokenizer.required_mask_id
    masked = []
    for row in rows:
        if not (row.input_ids == mask_id).any():
            special = np.asarray(row.encoding.special_tokens_mask, dtype=bool)
            row = replace(row, input_ids=mask(row.input_ids, special, mask_id=mask_id, rng=rng))
        masked.append(row)
    return masked


def mask_tokens(
    input_ids: NDArray[np.int64],
    special: NDArray[np.bool_],
    *,
    mask_id: int,
    vocab_size: int,
    rng: np.random.Generator,
    share: float = _SHARE,
) -> NDArray[np.int64]:
    """Corrupt tokens as BERT's pre-training does.

    Args:
        input_ids: int64 (S,).
        special: bool (S,), tokens that are never drawn.
        mask_id: Id of ``[MASK]``, which replaces 80 % of the drawn tokens.
        vocab_size: A random id below it replaces 10 % of them; the last 10 % stay as they are.
        rng: Source of every draw.
        share: Share of the tokens that are drawn; at least one, if there is any.

    Returns:
        int64 (S,), a copy.

    Source: Devlin et al. 2018, arXiv:1810.04805, section 3.1, task 1.
    """
    corrupted = input_ids.copy()
    drawn = _draw(special, rng, share)
    fate = rng.random(drawn.size)
    corrupted[drawn[fate < 0.8]] = mask_id
    randomized = drawn[(fate >= 0.8) & (fate < 0.9)]
    corrupted[randomized] = rng.integers(0, vocab_size, randomized.size)
    return corrupted


def hide_tokens(
    input_ids: NDArray[np.int64],
    special: NDArray[np.bool_],
    *,
    mask_id: int,
    rng: np.random.Generator,
    share: float = _SHARE,
) -> NDArray[np.int64]:
    """Replace tokens by ``[MASK]``, for a head to predict.

    Args:
        input_ids: int64 (S,).
        special: bool (S,), tokens that are never drawn.
        mask_id: Id of ``[MASK]``.
        rng: Source of every draw.
        share: Share of the tokens that are hidden; at least one, if there is any.

    Returns:
        int64 (S,), a copy.
    """
    hidden = input_ids.copy()
    hidden[_draw(special, rng, share)] = mask_id
    return hidden


def _draw(special: NDArray[np.bool_], rng: np.random.Generator, share: float) -> NDArray[np.int64]:
    """Positions of a share of the tokens, special ones left out."""
    candidates = np.flatnonzero(~special)
    if candidates.size == 0:
        return candidates
    return rng.permutation(candidates)[: max(1, round(share * candidates.size))]
