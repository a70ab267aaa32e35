"""Labels: scores are probabilities, ranks are stable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bert_export.runtime.decoding.labels import (
    choose_activation,
    find_entailment,
    judge_next_sentence,
    rank_hypotheses,
    rank_labels,
    score_hypotheses,
    score_labels,
)


@pytest.mark.parametrize(
    ("problem_type", "labels", "expected"),
    [
        ("regression", 1, "none"),
        ("regression", 3, "none"),
        ("multi_label_classification", 3, "sigmoid"),
        ("single_label_classification", 1, "sigmoid"),
        ("single_label_classification", 2, "softmax"),
        (None, 1, "sigmoid"),
        (None, 2, "softmax"),
    ],
)
def test_the_default_activation(problem_type: str | None, labels: int, expected: str) -> None:
    assert choose_activation(problem_type, labels) == expected


logits = arrays.arrays(np.float32, st.integers(1, 9), elements=st.floats(-1e4, 1e4, width=32))


@given(logits, st.sampled_from(["sigmoid", "softmax"]))
def test_scores_are_probabilities(values: np.ndarray, activation: Any) -> None:
    scores = score_labels(values, activation)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1 + 1e-6)).all()
    assert (np.argsort(scores[np.argsort(values)], kind="stable") == np.arange(len(values))).all()


@given(logits, st.one_of(st.none(), st.integers(1, 12)))
def test_ranking_is_stable(values: np.ndarray, top_k: int | None) -> None:
    names = [f"L{index}" for index in range(len(values))]
    ranked = rank_labels(values, names, top_k)
    expected = sorted(zip(names, values.tolist(), strict=True), key=lambda pair: -pair[1])[:top_k]
    assert [(entry["label"], entry["score"]) for entry in ranked] == expected


def test_the_first_entailing_label_counts() -> None:
    assert find_entailment(["x", "ENTAILS", "entailment"]) == 1
    assert find_entailment(["x", "not_entailment"]) is None
    assert find_entailment([]) is None


hypotheses = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(2, 4)),
    elements=st.floats(-1e4, 1e4, width=32),
)


@given(hypotheses, st.booleans(), st.integers(0, 1))
def test_scores_of_hypotheses_are_probabilities(
    values: Any, multi_label: bool, entailment: int
) -> None:
    scores = score_hypotheses(values, entailment, multi_label=multi_label)
    assert scores.shape == (len(values),)
    assert ((scores >= 0) & (scores <= 1)).all()
    if not multi_label and len(values) > 1:
        assert scores.sum() == pytest.approx(1, abs=1e-5)


@given(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 2))
def test_the_verdict_follows_the_score(logits: tuple[float, float]) -> None:
    answer = judge_next_sentence(np.asarray(logits, dtype=np.float32))
    assert 0 <= answer["score"] <= 1
    assert answer["is_next"] == (logits[0] >= logits[1])
    assert answer["is_next"] == (answer["score"] >= 0.5) or abs(logits[0] - logits[1]) < 1e-3


@given(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=1, max_size=6))
def test_of_equal_hypotheses_the_last_comes_first(values: list[float]) -> None:
    labels = [str(index) for index in range(len(values))]
    answer = rank_hypotheses("text", labels, np.array(values, dtype=np.float32))
    assert list(answer) == ["sequence", "labels", "scores"]
    order = sorted(range(len(values)), key=lambda index: (-values[index], -index))
    assert answer["labels"] == [labels[index] for index in order]
    assert answer["scores"] == [np.float32(values[index]) for index in order]
