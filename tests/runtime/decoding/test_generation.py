"""Tokens are drawn as their scores say, and what is excluded never comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from bert_export.runtime.decoding.generation import BeamSearch, Decoding, Single
from bert_export.runtime.decoding.logits import block_ngrams, block_tokens, penalize_repetition
from bert_export.runtime.decoding.sampling import Sampling, settled_text

LOGITS = np.array([[2.0, 1.0, 0.5, 0.0, -1.0, -4.0]], np.float32)
DRAWS = 4000
CHI_SQUARE = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5, 5: 25.7}
"""That 1 of 10,000 fair samples exceeds, by degrees of freedom."""


@pytest.mark.parametrize(
    "sampling",
    [
        {"top_k": 0},
        {"top_k": 0, "temperature": 0.5},
        {"top_k": 0, "temperature": 3.0},
        {"top_k": 3},
        {"top_k": 0, "top_p": 0.8},
        {"top_k": 4, "top_p": 0.95, "temperature": 2.0},
    ],
)
def test_tokens_come_as_often_as_their_probabilities_say(sampling: dict[str, Any]) -> None:
    decoding = Decoding(ends=(), sampling=Sampling(**sampling))
    counts = np.zeros(LOGITS.shape[1])
    generator = np.random.default_rng(11)
    for _ in range(DRAWS):
        text = Single(np.zeros(1, np.int64), 1, decoding, generator)
        text.advance(LOGITS)
        counts[text.tokens[0]] += 1
    scores = torch.from_numpy(LOGITS) / sampling.get("temperature", 1.0)
    ids = torch.zeros((1, 1), dtype=torch.int64)
    if sampling["top_k"]:
        scores = transformers.TopKLogitsWarper(sampling["top_k"])(ids, scores)
    if "top_p" in sampling:
        scores = transformers.TopPLogitsWarper(sampling["top_p"])(ids, scores)
    wanted = DRAWS * scores.softmax(-1)[0].double().numpy()
    possible = wanted > 0
    assert not counts[~possible].any()
    statistic = ((counts - wanted)[possible] ** 2 / wanted[possible]).sum()
    assert statistic < CHI_SQUARE[int(possible.sum()) - 1]


ids_of = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(ids=ids_of, size=st.integers(1, 4), penalty=st.floats(0.2, 5.0))
def test_scores_are_those_of_the_original_processors(
    ids: list[int], size: int, penalty: float
) -> None:
    own, given_ids = np.array(ids), torch.tensor([ids])
    scores = torch.from_numpy(LOGITS.copy())
    wanted = transformers.RepetitionPenaltyLogitsProcessor(penalty)(given_ids, scores.clone())
    found = penalize_repetition(LOGITS[0], own, penalty)
    np.testing.assert_allclose(found, wanted[0].numpy(), rtol=1e-6)
    wanted = transformers.NoRepeatNGramLogitsProcessor(size)(given_ids, scores.clone())
    np.testing.assert_array_equal(block_ngrams(LOGITS[0], own, size), wanted[0].numpy())


def test_what_nothing_is_asked_of_stays() -> None:
    ids = np.array([0, 1])
    assert penalize_repetition(LOGITS[0], ids, 1.0) is not None
    np.testing.assert_array_equal(penalize_repetition(LOGITS[0], ids, 1.0), LOGITS[0])
    np.testing.assert_array_equal(block_ngrams(LOGITS[0], ids, 0), LOGITS[0])
    np.testing.assert_array_equal(block_ngrams(LOGITS[0], ids, 3), LOGITS[0])
    blocked = block_tokens(LOGITS[0], (1, 4))
    assert np.isneginf(blocked[[1, 4]]).all()
    assert np.isfinite(LOGITS).all()


WORDS = ["do", "n", "'", "t", "##s", ".", "the", "cat", "!", "we", "ve", "it", "s"]


def _spell(ids: list[int]) -> str:
    """As a WordPiece tokenizer spells and cleans up."""
    text = " ".join(WORDS[index] for index in ids).replace(" ##", "")
    for before, after in [(" .", "."), (" !", "!"), (" ' ", "'"), (" n't", "n't"), (" 's", "'s")]:
        text = text.replace(before, after)
    return text


@given(st.lists(st.integers(0, len(WORDS) - 1), max_size=14))
def test_what_is_settled_stays(ids: list[int]) -> None:
    whole, given_so_far = _spell(ids), ""
    for end in range(len(ids) + 1):
        text = settled_text(_spell, ids[:end], done=end == len(ids))
        assert text.startswith(given_so_far)
        assert whole.startswith(text)
        given_so_far = text
    assert given_so_far == whole


def test_beams_begin_with_the_only_row_that_was_run() -> None:
    """Where all but one token is blocked, the second beam is a likeness of the first."""
    scores = np.full((1, 6), -np.inf, np.float32)
    scores[0, 4] = 1
    beams = BeamSearch(np.array([1, 2]), 3, Decoding(ends=(3,), num_beams=3))
    beams.advance(scores)
    assert beams.parents.tolist() == [0, 0, 0]


@pytest.mark.parametrize("penalty", [1e308, -1e308, 200.0, 0.0])
def test_any_length_penalty_is_a_number(penalty: float) -> None:
    beams = BeamSearch(
        np.array([1, 2]), 3, Decoding(ends=(3,), num_beams=2, length_penalty=penalty)
    )
    rows = 1
    while not beams.done:
        beams.advance(np.tile(np.arange(6, dtype=np.float32), (rows, 1)))
        rows = len(beams.tokens)
    (answer,) = beams.answers
    assert len(answer) <= 3
    assert penalty < 0 or len(answer) > 0  # the lowest makes every end worse than none
