"""Tagged tokens, words and entities: where they lie, and how they merge."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders

from bert_export.runtime.decoding.entities import (
    TaggedText,
    TagTable,
    Tokens,
    group_entities,
    list_tokens,
    merge_windows,
    merge_words,
    read_tokens,
)
from bert_export.runtime.decoding.softmax import softmax
from tests.runtime.decoding.encodings import TEXTS, encode

STRATEGIES = ("none", "simple", "first", "average", "max")
TABLE = TagTable.from_labels(("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"))
join = decoders.WordPiece(prefix="##", cleanup=True).decode


def tokens_of(text: str, seed: int) -> Tokens:
    encoding = encode(text)
    noise = np.random.default_rng(seed).normal(size=(len(encoding), len(TABLE.names)))
    scores = softmax((4 * noise).astype(np.float32))
    return read_tokens(TaggedText(text), encoding, scores, prefix="##", unk_id=1)


@given(TEXTS, st.integers(0, 99), st.sampled_from(STRATEGIES))
def test_entities_are_sorted_and_lie_in_the_text(text: str, seed: int, strategy: Any) -> None:
    tokens = tokens_of(text, seed)
    if strategy == "none":
        entities = list_tokens(tokens, TABLE)
        assert len(entities) == len(encode(text)) - len(("[CLS]", "[SEP]"))
    elif strategy == "simple":
        entities = group_entities(tokens, TABLE, join)
    else:
        words = merge_words(tokens, strategy, join)
        assert len(words.words) == len(words.scores) <= len(tokens.words)
        entities = group_entities(words, TABLE, join)
    assert bool(entities) is bool(tokens.words)
    previous = 0
    for entity in entities:
        assert 0 < entity["score"] <= 1 + 1e-6
        assert previous <= entity["start"] <= entity["end"] <= len(text)
        previous = entity["end"] if strategy != "none" else entity["start"]
    json.dumps(entities)


@given(TEXTS, st.integers(0, 99))
def test_words_agree_on_one_label(text: str, seed: int) -> None:
    tokens = tokens_of(text, seed)
    opening = np.flatnonzero([not on or not i for i, on in enumerate(tokens.continues)])
    first = merge_words(tokens, "first", join)
    assert np.array_equal(first.scores, tokens.scores[opening])
    surest = merge_words(tokens, "max", join)
    average = merge_words(tokens, "average", join)
    bounds = [*opening.tolist(), len(tokens.words)]
    for number, (start, end) in enumerate(pairwise(bounds)):
        own = tokens.scores[start:end]
        assert surest.scores[number].max() == own.max()
        assert average.scores[number] == pytest.approx(own.mean(axis=0), abs=1e-6)


def test_an_unknown_token_is_its_text_and_a_word() -> None:
    tokens = tokens_of("cats Ωmega", 0)
    assert tokens.words == ["cat", "##s", "Ωmega"]
    assert tokens.continues == [False, True, False]


def test_without_a_prefix_words_end_at_spaces() -> None:
    text = "cats sat"
    encoding = encode(text)
    scores = np.full((len(encoding), 2), 0.5, dtype=np.float32)
    tokens = read_tokens(TaggedText(text), encoding, scores, prefix="", unk_id=1)
    assert tokens.words == ["cat", "##s", "sat"]
    assert tokens.continues == [False, True, False]


def test_labels_without_a_prefix_continue() -> None:
    table = TagTable.from_labels(("O", "B-PER", "I-PER", "PER", "X-PER"))
    assert table.begins == (False, True, False, False, False)
    assert table.tags[1] == table.tags[2] == table.tags[3] != table.tags[4]
    assert table.groups == ("O", "PER", "PER", "PER", "PER")


def entity(start: int, end: int, score: float) -> dict[str, Any]:
    return {"entity_group": "PER", "score": score, "word": "", "start": start, "end": end}


def test_of_overlapping_entities_the_longer_then_the_surer_stays() -> None:
    long, short, surer = entity(0, 9, 0.1), entity(4, 6, 0.9), entity(0, 9, 0.2)
    apart, touching = entity(12, 13, 0.5), entity(13, 15, 0.5)
    assert merge_windows([short, long]) == [long]
    assert merge_windows([long, surer, apart, touching]) == [surer, apart, touching]
    assert merge_windows([surer, long]) == [surer]
    assert merge_windows([]) == []


spans = st.tuples(st.integers(0, 40), st.integers(1, 9), st.floats(0, 1)).map(
    lambda span: entity(span[0], span[0] + span[1], span[2])
)


@given(st.lists(spans, max_size=20))
def test_merged_windows_do_not_start_inside_each_other(entities: list[dict[str, Any]]) -> None:
    merged = merge_windows(entities)
    starts = [entity["start"] for entity in merged]
    assert starts == sorted(starts)
    assert all(entity in entities for entity in merged)
