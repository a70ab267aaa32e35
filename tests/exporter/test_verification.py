"""The parity check: what passes, what does not, and what is compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bert_export.errors import VerificationError
from bert_export.exporter.agreement import MIN_AGREEMENT, agreement, rare_agreement
from bert_export.exporter.cases import Case
from bert_export.exporter.verification import verify

RNG = np.random.default_rng(0)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=np.int64)
CASE = Case("real text", {"attention_mask": MASK}, real=True)
LOGITS = RNG.normal(size=(2, 4, 5)).astype(np.float32)


def compare(left: np.ndarray, *, kind: str = "token", tolerance: float | None = 1e-4):
    return verify(
        lambda _: {"logits": left},
        [(CASE, {"logits": LOGITS})],
        kind=kind,
        per_token=frozenset({"logits"}),
        tolerance=tolerance,
    )


def test_equal_answers_pass_with_their_figures() -> None:
    parity = compare(LOGITS + np.float32(1e-5))
    assert parity.agreement == 1.0
    assert 0 < parity.max_abs_difference < 2e-5
    assert [(case.name, case.rows) for case in parity.cases] == [("real text", 2)]


def test_padding_is_not_compared() -> None:
    other = LOGITS.copy()
    other[1, 2:] = 1e6
    assert compare(other).max_abs_difference == 0.0


def test_a_difference_above_the_tolerance_fails() -> None:
    with pytest.raises(VerificationError, match="differs from the PyTorch head on 'real text'"):
        compare(LOGITS + np.float32(1e-3))


def test_other_answers_fail_without_a_tolerance() -> None:
    with pytest.raises(VerificationError, match=r"token agreement.*at least 0.9"):
        compare(-LOGITS, tolerance=None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_fail(value: float) -> None:
    other = LOGITS.copy()
    other[0, 0, 0] = value
    with pytest.raises(VerificationError, match="finite values"):
        compare(other, tolerance=None)


def test_a_head_that_answers_no_numbers_cannot_be_compared_with() -> None:
    broken = np.full_like(LOGITS, np.nan)
    with pytest.raises(VerificationError, match="PyTorch head's logits is wrong on 'real text'"):
        verify(
            lambda _: {"logits": broken},
            [(CASE, {"logits": broken})],
            kind="cosine",
            per_token=frozenset({"logits"}),
            tolerance=None,
        )


def test_advice_is_of_use_in_the_precision() -> None:
    flipped = -LOGITS
    with pytest.raises(VerificationError, match="export with --fp32"):
        compare(flipped, tolerance=None)
    with pytest.raises(VerificationError, match="report the checkpoint's config"):
        compare(flipped, tolerance=1e3)


def test_another_shape_fails() -> None:
    with pytest.raises(VerificationError, match=r"got shape \(2, 4, 4\)"):
        compare(LOGITS[..., :4])


@pytest.mark.parametrize("kind", sorted(MIN_AGREEMENT))
def test_every_kind_of_agreement_is_one_for_equals_and_less_for_others(kind: str) -> None:
    shape = (64, 8) if kind == "span" else (64, 3)
    right = RNG.normal(size=shape)
    kept = np.ones(shape if kind == "span" else shape[:1], dtype=bool)
    assert agreement(kind, [("logits", right, right, kept)]) == pytest.approx(1.0)
    left = RNG.normal(size=shape)
    assert agreement(kind, [("logits", left, right, kept)]) < MIN_AGREEMENT[kind]


def test_the_worst_output_decides() -> None:
    kept = np.ones(8, dtype=bool)
    right = np.eye(8)
    pairs = [("start", right, right, kept), ("end", np.roll(right, 1, axis=1), right, kept)]
    assert agreement("label", pairs) == 0.0


@pytest.mark.parametrize("change", [lambda column: column + 3, lambda column: 2 * column])
def test_scores_that_are_shifted_or_scaled_do_not_agree(
    change: Callable[[np.ndarray], np.ndarray],
) -> None:
    """The users read the scores themselves, which a correlation would not look at."""
    right = RNG.normal(size=(64, 1))
    kept = np.ones(64, dtype=bool)
    shifted = agreement("concordance", [("logits", change(right), right, kept)])
    assert shifted < MIN_AGREEMENT["concordance"]


def test_concordance_is_lins_coefficient() -> None:
    left, right = np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [3.0], [5.0]])
    found = agreement("concordance", [("logits", left, right, np.ones(3, dtype=bool))])
    covariance = ((left - 7 / 3) * (right - 3)).mean()
    assert found == pytest.approx(2 * covariance / (left.var() + right.var() + (7 / 3 - 3) ** 2))


@pytest.mark.parametrize(("change", "same"), [(1e-9, True), (0.5, False)])
def test_one_score_for_every_text_is_compared_too(change: float, same: bool) -> None:
    right = np.full((8, 1), 0.25)
    found = agreement("concordance", [("logits", right + change, right, np.ones(8, dtype=bool))])
    assert (found == 1.0) is same


def test_vectors_of_zero_point_the_same_way_and_no_other() -> None:
    zero, kept = np.zeros((4, 3)), np.ones(4, dtype=bool)
    assert agreement("cosine", [("embedding", zero, zero, kept)]) == 1.0
    assert agreement("cosine", [("embedding", zero, zero + 1, kept)]) == 0.0


def one_hot(answers: np.ndarray) -> np.ndarray:
    return np.eye(2, dtype=np.float32)[answers]


def test_a_graph_that_always_gives_the_usual_answer_is_refused() -> None:
    """19 tokens of 20 have no entity: saying so of all is 95 % agreement and no answer."""
    answers = np.zeros((10, 20), dtype=np.int64)
    answers[:, 0] = 1
    case = Case("real text", {"attention_mask": np.ones_like(answers)}, real=True)
    expected = {"logits": one_hot(answers)}

    def check(given: np.ndarray) -> None:
        verify(
            lambda _: {"logits": one_hot(given)},
            [(case, expected)],
            kind="token",
            per_token=frozenset({"logits"}),
            tolerance=None,
        )

    check(answers)
    with pytest.raises(VerificationError, match=r"rarer answers \(token agreement\).*got 0\."):
        check(np.zeros_like(answers))


@pytest.mark.parametrize(
    ("kind", "kept", "share"),
    [("label", 12, 1.0), ("label", 4, 1 / 3), ("sign", 6, 0.5), ("cosine", 4, None)],
)
def test_rare_answers_are_those_beside_the_most_frequent(
    kind: str, kept: int, share: float | None
) -> None:
    answers = np.zeros(100, dtype=np.int64)
    answers[:12] = 1
    given = np.where(np.arange(100) < kept, answers, 0)
    right, left = (
        (one[:, None] - 0.5 if kind == "sign" else one_hot(one)) for one in (answers, given)
    )
    found = rare_agreement(kind, [("logits", left, right, np.ones(100, dtype=bool))])
    assert found == (None if share is None else pytest.approx(share))


def test_a_few_rare_answers_tell_nothing() -> None:
    answers = np.zeros(100, dtype=np.int64)
    answers[:9] = 1
    right, left = one_hot(answers), one_hot(np.zeros_like(answers))
    assert rare_agreement("label", [("logits", left, right, np.ones(100, dtype=bool))]) is None
