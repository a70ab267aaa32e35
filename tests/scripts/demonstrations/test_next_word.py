"""A causal head's start in closed form, and the loss of a step that scores a part of all words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from bert_export.checkpoints import load_checkpoint
from bert_export.models import BertHead, load_head

pytest.importorskip("seqeval")
from scripts.demonstrations import objectives
from scripts.demonstrations.objectives import NextWord

WORDS = ("the", "cat", "sat", "on", "mat", "a", "dog", "run")


@pytest.fixture
def objective(tiny: Callable[..., Path]) -> tuple[BertHead, NextWord]:
    """A random causal head whose parameters may be changed."""
    checkpoint = load_checkpoint(str(tiny("BertLMHeadModel", is_decoder=True)))
    head = load_head("BertLMHeadModel", checkpoint)
    for parameter in head.parameters():
        parameter.data = parameter.data.clone()
    return head, NextWord(Tokenizer.from_str(checkpoint.tokenizer.json), ())


# Each word is followed by the one two places on: what comes next is in the word itself.
RECORDS = [{"text": " ".join(WORDS[(first + 2 * i) % 8] for i in range(9))} for first in range(8)]


def test_the_start_tells_the_next_word_from_the_one_before(
    objective: tuple[BertHead, NextWord],
) -> None:
    head, next_word = objective
    rows = next_word.encode(RECORDS)
    next_word.start_from_frequencies(head, rows)
    fitted = next_word.score(head, RECORDS)
    head.get_parameter("cls.predictions.transform.LayerNorm.weight").data.zero_()
    frequent = next_word.score(head, RECORDS)  # the words' frequencies are all that is left
    assert fitted["perplexity"] < 0.6 * frequent["perplexity"]
    assert fitted["next-token accuracy"] > 2 * frequent["next-token accuracy"]
    assert fitted["tokens"] == sum(len(row.target) for row in rows)


def test_every_text_ends(objective: tuple[BertHead, NextWord]) -> None:
    _, next_word = objective
    (row,) = next_word.encode([{"text": "the cat sat"}])
    spelt = [next_word.tokenizer.id_to_token(index) for index in (*row.parts[0], *row.target)]
    assert spelt == ["[CLS]", "the", "cat", "sat", "the", "cat", "sat", "[SEP]"]


def test_a_sample_of_the_other_words_stands_for_all(
    objective: tuple[BertHead, NextWord], monkeypatch: pytest.MonkeyPatch
) -> None:
    head, next_word = objective
    rows = next_word.encode(RECORDS)
    with torch.no_grad():
        scores = torch.cat([head(*objectives._pad([row])).flatten(0, 1) for row in rows])
        wanted = torch.tensor([token for row in rows for token in row.target])
        exact = float(functional.cross_entropy(scores, wanted))
        assert float(next_word.loss(head, rows)) == pytest.approx(exact, abs=1e-5)  # all are drawn
        monkeypatch.setattr(objectives, "_OTHER_WORDS", 40)
        torch.manual_seed(0)
        drawn = sum(float(next_word.loss(head, rows)) for _ in range(60)) / 60
    assert drawn == pytest.approx(exact, rel=0.05)
