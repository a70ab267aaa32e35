"""Scores that were worked out by hand, and properties that they all have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.datasets import read_dataset
from bert_export.evaluation.classification import MultiLabelScorer, SingleLabelScorer
from bert_export.evaluation.labels import Notes
from bert_export.evaluation.scorer import correlation
from bert_export.evaluation.spans import SpanScorer, normalize_answer, word_f1
from bert_export.evaluation.tagging import TaggingScorer
from bert_export.evaluation.vectors import mean_cosine
from bert_export.evaluation.words import MaskedWordScorer
from bert_export.tasks import find_task


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("The cat!", "cat", 1.0),
        ("a big cat", "the cat", 2 / 3),
        ("dog", "cat", 0.0),
        ("", "", 1.0),
        ("the", "", 1.0),
        ("", "cat", 0.0),
        ("cat cat", "cat", 2 / 3),
    ],
)
def test_word_f1(answer: str, gold: str, f1: float) -> None:
    assert word_f1(answer, gold) == pytest.approx(f1)


@given(st.text(), st.text())
def test_word_f1_is_a_symmetric_share(answer: str, gold: str) -> None:
    assert 0 <= word_f1(answer, gold) <= 1
    assert word_f1(answer, gold) == word_f1(gold, answer)
    assert word_f1(answer, answer) == 1
    assert normalize_answer(normalize_answer(answer)) == normalize_answer(answer)


def test_the_best_of_several_answers_counts() -> None:
    gold = [("the red cat", "cat"), ("",), ("dog",)]
    scores = SpanScorer("answer F1").score(gold, ["Cat", "mouse", "dog house"])
    assert scores["answer F1"] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert scores["exact match"] == pytest.approx(1 / 3)
    assert scores["answered F1"] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("texts", "gold"),
    [(["a cat", "the"], ("a cat",)), (["the", "!"], ("",)), ([], ("",)), (["x", "y"], ("x", "y"))],
)
def test_answers_without_a_word_that_counts_are_none(
    texts: list[str], gold: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    answers = {"text": texts, "answer_start": [0] * len(texts)}
    path.write_text(json.dumps({"question": "q", "context": "c", "answers": answers}))
    data = read_dataset(find_task("question-answering"), path)
    assert SpanScorer("answer F1").gold((), data, Notes()) == [gold]


def test_entities_count_whole() -> None:
    gold = [["B-x", "I-x", "O", "B-y"], ["O", "B-x"]]
    answers = [["B-x", "O", "O", "B-y"], ["B-x", "B-x"]]
    scores = TaggingScorer("entity F1").score(gold, answers)
    assert scores["precision"] == pytest.approx(2 / 4)
    assert scores["recall"] == pytest.approx(2 / 3)
    assert scores["entity F1"] == pytest.approx(4 / 7)
    assert TaggingScorer("entity F1").score([["O"]], [["O"]])["entity F1"] == 1
    assert TaggingScorer("entity F1").score([["O"]], [["B-x"]])["entity F1"] == 0


def test_tags_without_a_prefix_are_entities() -> None:
    score = TaggingScorer("entity F1").score
    for kind in ("ORG", "PER", "BRAND", "EVENT", "SPORT", "IDEA", "organization", "x-y"):
        assert score([[kind, "O"]], [[kind, "O"]])["entity F1"] == 1
        assert score([[kind, "O"]], [["O", "O"]])["recall"] == 0
        assert score([[kind, "O"]], [["other", "O"]])["entity F1"] == 0
        assert score([[f"B-{kind}", f"I-{kind}"]], [[kind, kind]])["entity F1"] == 1
    assert score([["U-x", "B-y", "L-y"]], [["S-x", "B-y", "E-y"]])["entity F1"] == 1
    assert score([["B-x", "M-x", "E-x"]], [["x", "x", "x"]])["entity F1"] == 1
    assert score([["B", "I", "O", "B"]], [["B", "I", "O", "O"]])["recall"] == 0.5


@pytest.mark.parametrize("tag", ["O", "B-ORG", "I-ORG", "ORG", "B", "PER"])
def test_no_tag_warns(tag: str) -> None:
    scores = TaggingScorer("entity F1").score([[tag]], [[tag]])  # a warning is an error
    assert scores["entity F1"] == 1


def test_labels_of_neither_side_are_left_out_of_the_average() -> None:
    gold = np.zeros((2, 10), dtype=bool)
    gold[:, 3] = True
    nothing = list(np.zeros((2, 10), dtype=bool))
    assert MultiLabelScorer("micro F1").score(gold, nothing) == {
        "micro F1": 0.0,
        "macro F1": 0.0,
        "exact match": 0.0,
    }
    neither = MultiLabelScorer("micro F1").score(np.stack(nothing), nothing)
    assert neither == {"micro F1": 1.0, "macro F1": 1.0, "exact match": 1.0}


def test_single_and_several_labels() -> None:
    assert SingleLabelScorer("accuracy").score([0, 0, 1, 2], [0, 1, 1, 1]) == {
        "accuracy": 0.5,
        "macro F1": pytest.approx((2 / 3 + 1 / 2 + 0) / 3),
    }
    gold = np.array([[1, 0], [1, 1], [0, 0]], dtype=bool)
    answers = list(np.array([[1, 0], [0, 1], [0, 1]], dtype=bool))
    scores = MultiLabelScorer("micro F1").score(gold, answers)
    assert scores["micro F1"] == pytest.approx(2 * 2 / (3 + 3))
    assert scores["exact match"] == pytest.approx(1 / 3)


def test_masks_of_the_text_itself_do_not_count() -> None:
    gold = [np.array([5, 6]), np.array([-1]), np.array([], dtype=np.int64)]
    answers = [np.array([5, 7]), np.array([9]), np.array([], dtype=np.int64)]
    assert MaskedWordScorer("masked-token accuracy").score(gold, answers) == {
        "masked-token accuracy": 0.5,
        "masked tokens": 2.0,
    }


@pytest.mark.parametrize("kind", ["spearmanr", "pearsonr"])
@given(values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_correlations_are_never_undefined(kind: str, values: Sequence[float]) -> None:
    rounded = [round(value, 2) for value in values]
    assert correlation(kind, rounded, rounded) == pytest.approx(1)
    assert -1.0001 <= correlation(kind, rounded, rounded[::-1]) <= 1.0001
    assert correlation(kind, [0.0] * len(rounded), rounded) in (0, 1)


def test_cosine_of_zero_vectors() -> None:
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert mean_cosine([zeros, ones], [zeros, ones]) == pytest.approx(1)
    assert mean_cosine([zeros], [ones]) == 0
    assert mean_cosine([np.stack([ones, -ones])], [np.stack([ones, ones])]) == pytest.approx(0)
