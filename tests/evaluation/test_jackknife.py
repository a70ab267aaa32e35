"""The jackknife against what is known in closed form, and over every scorer's records."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.datasets import DataSet
from bert_export.evaluation.choices import ChoiceScorer
from bert_export.evaluation.jackknife import GROUPS, leave_out_groups, standard_error
from bert_export.evaluation.scorer import Examples, Scorer
from bert_export.evaluation.vectors import EmbeddingScorer, ScoredPair
from bert_export.evaluation.words import PretrainingGold, PretrainingScorer


def examples_of(gold: object, records: int) -> Examples:
    data = DataSet(
        source="made up", sha256="", records=tuple({} for _ in range(records)), places=()
    )
    return Examples(data=data, items=(), rows=(), settings=None, gold=gold)


def replicates(answers: Sequence[int], *, seed: int = 0) -> tuple[float, ...]:
    """Of answers that are right where they are 1."""
    examples = examples_of([1] * len(answers), len(answers))
    return leave_out_groups(ChoiceScorer("choice accuracy"), examples, answers, seed)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=GROUPS))
def test_of_few_records_it_is_the_standard_error_of_the_mean(answers: list[int]) -> None:
    exact = math.sqrt(float(np.var(answers, ddof=1)) / len(answers))
    assert standard_error(replicates(answers)) == pytest.approx(exact)


def test_of_many_records_it_is_that_of_a_share() -> None:
    right = np.random.default_rng(0).random(4000) < 0.8
    errors = [standard_error(replicates(right.astype(int).tolist(), seed=n)) for n in range(30)]
    exact = math.sqrt(right.mean() * (1 - right.mean()) / len(right))
    assert np.mean(np.square(np.array(errors, dtype=float))) == pytest.approx(exact**2, rel=0.2)


def test_engines_that_err_alike_differ_by_less_than_each_is_off() -> None:
    ours = (np.random.default_rng(0).random(1000) < 0.7).astype(int)
    theirs = ours.copy()
    theirs[::100] ^= 1
    pair = replicates(ours.tolist()), replicates(theirs.tolist())
    apart = standard_error(*pair)
    alone = standard_error(pair[0])
    assert apart is not None
    assert alone is not None
    assert 0 < apart < alone / 3


def test_what_never_changes_has_no_error_and_one_record_none_to_tell() -> None:
    assert standard_error(replicates([1] * 50)) == 0
    assert replicates([1]) == ()
    assert standard_error(()) is None


def test_the_same_seed_leaves_out_the_same_groups() -> None:
    answers = np.random.default_rng(1).integers(0, 2, 100).tolist()
    assert replicates(answers) == replicates(answers)
    assert replicates(answers) != replicates(answers, seed=1)
    assert len(replicates(answers)) == GROUPS


def test_a_pair_of_texts_is_left_out_whole() -> None:
    """Four pairs of vectors whose order fits their scores but for one pair."""
    angles = [0.0, 0.1, 0.0, 0.2, 0.0, 0.3, 0.0, 0.15]
    vectors = [np.array([math.cos(a), math.sin(a)], dtype=np.float32) for a in angles]
    gold = [ScoredPair(2 * n, 2 * n + 1, score) for n, score in enumerate((3.0, 2.0, 1.0, 0.0))]
    scorer: Scorer = EmbeddingScorer("Spearman correlation")
    assert scorer.score(gold, vectors)[scorer.metric] < 0.5
    kept = scorer.keep(gold, vectors, [0, 1, 2])
    assert scorer.score(*kept)[scorer.metric] == pytest.approx(1)
    assert len(leave_out_groups(scorer, examples_of(gold, 4), vectors, 0)) == 4


def test_both_heads_of_pretraining_leave_out_the_same_texts() -> None:
    gold = PretrainingGold([np.array([n]) for n in range(3)], [True, False, True])
    answers = [(np.array([0]), True), (np.array([9]), False), (np.array([2]), False)]
    some, given = PretrainingScorer("masked-token accuracy").keep(gold, answers, [0, 2])
    assert PretrainingScorer("masked-token accuracy").score(some, given) == {
        "masked-token accuracy": 1.0,
        "masked tokens": 2.0,
        "next-sentence accuracy": 0.5,
    }
