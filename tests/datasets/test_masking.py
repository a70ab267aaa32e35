"""Masks as in pre-training, and masks for scoring."""

from __future__ import annotations

import numpy as np
import pytest

from bert_export.datasets.masking import corrupt_rows, hide_tokens, mask_tokens
from bert_export.errors import TokenizerError
from bert_export.runtime.tokenization import Tokenizer
from tests.runtime.test_tokenization import record
from tests.runtime.vocabulary import small_json


def test_masking_follows_the_paper() -> None:
    ids = np.arange(1000, 1000 + 40_000, dtype=np.int64)
    special = np.zeros(ids.size, dtype=bool)
    special[::10] = True
    corrupted = mask_tokens(ids, special, mask_id=103, vocab_size=900, rng=np.random.default_rng(0))
    changed = corrupted != ids
    assert not changed[special].any()
    drawn = 0.15 * (~special).sum()
    assert (corrupted == 103).sum() == pytest.approx(0.8 * drawn, rel=0.03)
    assert (changed & (corrupted != 103)).sum() == pytest.approx(0.1 * drawn, rel=0.12)
    np.testing.assert_array_equal(ids, np.arange(1000, 41_000))


def test_a_mask_without_a_vector_is_refused() -> None:
    tokenizer = Tokenizer.from_json(small_json(), record())
    with pytest.raises(TokenizerError, match="has no vector in the model"):
        corrupt_rows([], tokenizer, np.random.default_rng(0), vocab_size=tokenizer.required_mask_id)


def test_masking_a_row_of_special_tokens_changes_nothing() -> None:
    ids = np.array([101, 102], dtype=np.int64)
    rng = np.random.default_rng(0)
    corrupted = mask_tokens(ids, np.ones(2, dtype=bool), mask_id=103, vocab_size=9, rng=rng)
    np.testing.assert_array_equal(corrupted, ids)


def test_hidden_tokens_are_masks_and_nothing_else_changes() -> None:
    ids = np.arange(1000, 1400, dtype=np.int64)
    special = np.zeros(ids.size, dtype=bool)
    special[[0, -1]] = True
    hidden = hide_tokens(ids, special, mask_id=103, rng=np.random.default_rng(0))
    assert (hidden == 103).sum() == round(0.15 * 398)
    assert (hidden[hidden != 103] == ids[hidden != 103]).all()
    assert not (hidden[special] == 103).any()
    again = hide_tokens(ids, special, mask_id=103, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(hidden, again)
