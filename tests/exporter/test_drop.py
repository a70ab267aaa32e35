"""A drop on some examples: its standard error, and whether it decides a budget."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.bundle import MixedPrecisionRecord
from bert_export.datasets import DataSet
from bert_export.errors import DatasetError
from bert_export.evaluation.choices import ChoiceScorer
from bert_export.evaluation.jackknife import leave_out_agreement
from bert_export.evaluation.vectors import FeatureScorer
from bert_export.exporter.accuracy_budget import Budget, _search_warnings
from bert_export.exporter.drop import (
    MIN_EXAMPLES,
    Drop,
    Score,
    check_decides,
    check_enough,
    examples_needed,
    paired_drop,
)


def data_of(examples: int) -> DataSet:
    return DataSet(source="a.jsonl", sha256="", records=({},) * examples, places=("",) * examples)


def score_of(answers: list[int], reference: list[int]) -> Score:
    scorer = ChoiceScorer("choice accuracy")
    return Score(
        scorer.agreement(answers, reference), leave_out_agreement(scorer, answers, reference, 0)
    )


@given(st.integers(20, 400), st.integers(0, 10))
def test_the_error_is_that_of_a_share_and_never_below_one_answer(count: int, lost: int) -> None:
    reference = [0] * count
    answers = [1] * lost + [0] * (count - lost)
    drop = paired_drop(
        score_of(reference, reference),
        score_of(answers, reference),
        examples=count,
        counts_answers=True,
    )
    assert drop.value == pytest.approx(lost / count)
    assert drop.error >= 1 / count
    share = lost / count
    exact = math.sqrt(share * (1 - share) / count)
    assert drop.error <= max(1 / count, 3 * exact)


def test_what_both_engines_get_wrong_cancels() -> None:
    """300 records of which float misses 30, and INT8 the same and two more."""
    right = np.ones(300, dtype=int)
    in_float, in_int8 = right.copy(), right.copy()
    in_float[::10] = 0
    in_int8[::10] = 0
    in_int8[[1, 152]] = 0
    gold = right.tolist()
    drop = paired_drop(
        score_of(in_float.tolist(), gold),
        score_of(in_int8.tolist(), gold),
        examples=300,
        counts_answers=True,
    )
    assert drop.value == pytest.approx(2 / 300)
    assert 0.003 < drop.error < 0.006  # alone, either score is known to 0.017


def test_numbers_that_are_compared_have_no_least_error() -> None:
    scorer = FeatureScorer("mean cosine")
    vectors = [np.ones((2, 3), dtype=np.float32)] * 30
    replicates = leave_out_agreement(scorer, vectors, vectors, 0)
    same = Score(1.0, replicates)
    assert paired_drop(same, same, examples=30, counts_answers=scorer.counts_answers).error < 1e-6
    check_enough(data_of(30), 0.001, counts_answers=False)
    with pytest.raises(DatasetError, match=f"at least {MIN_EXAMPLES} examples, got 2,"):
        check_enough(data_of(2), 0.5, counts_answers=False)


@pytest.mark.parametrize(("examples", "points"), [(200, 0.5), (1000, 0.1), (100, 1), (143, 0.7)])
def test_one_answer_must_be_no_more_than_the_budget(examples: int, points: float) -> None:
    check_enough(data_of(examples), points / 100, counts_answers=True)
    with pytest.raises(DatasetError, match=f"at least {examples:,} examples, got {examples - 1:,}"):
        check_enough(data_of(examples - 1), points / 100, counts_answers=True)


def test_a_drop_as_uncertain_as_the_budget_decides_nothing() -> None:
    check_decides(data_of(300), Drop(0.0033, 0.0039), 0.005)
    with pytest.raises(
        DatasetError,
        match=r"a drop of 0.33 with a standard error of 0.39 on 300 examples. Measure on about "
        r"1,200 examples, or raise --max-drop",
    ):
        check_decides(data_of(300), Drop(0.0033, 0.0039), 0.002)


def test_a_drop_far_above_the_budget_is_one_whatever_its_error() -> None:
    check_decides(data_of(100), Drop(0.3, 0.05), 0.01)


def test_how_many_examples_are_needed() -> None:
    assert examples_needed(300, 0.0039, 0.002) == "1,200 examples"
    assert examples_needed(64, 0.02, 0.02) == "64 examples"
    assert examples_needed(300, 0.01, 1e-9) == "more than 100,000 examples"
    assert examples_needed(300, 0.01, 0.0) == "more than 100,000 examples"


def configuration(excluded: tuple[int, ...], drop: float, error: float) -> MixedPrecisionRecord:
    return MixedPrecisionRecord(
        excluded=excluded, score=1 - drop, drop=drop, float_share=0.1, drop_error=error
    )


def test_layers_that_chance_may_have_left_in_float_are_said_to_be() -> None:
    budget = Budget(0.005, data_of(300))
    path = (configuration((), 0.0067, 0.0047), configuration((1,), 0.0033, 0.0039))
    (warning,) = _search_warnings(path, 1, 300, budget)
    assert warning.startswith(
        "INT8 everywhere loses 0.67 points, above the budget of 0.5 by less than the standard "
        "error of 0.47"
    )
    assert "which about 2,300 examples would tell" in warning
    assert _search_warnings(path[:1], 0, 300, budget) == ()  # nothing is in float
    clear = (configuration((), 0.03, 0.0047), path[1])
    assert _search_warnings(clear, 1, 300, budget) == ()
