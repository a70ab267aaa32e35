"""The parity check: what passes, what does not, and what is compared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest

from bert_export.bundle import ParityRecord
from bert_export.errors import VerificationError
from bert_export.exporter.agreement import (
    MIN_AGREEMENT,
    agreement,
    answers_given,
    rare_agreement,
)
from bert_export.exporter.cases import Case
from bert_export.exporter.unseen_text import UnseenText
from bert_export.exporter.verification import MIN_ROWS, describe_texts, verify

RNG = np.random.default_rng(0)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=np.int64)


def text(source: str = "built-in", *, held_out: bool = False, unknown: float = 0.0) -> UnseenText:
    """Real text; its rows are in the cases."""
    return UnseenText(source, held_out, (), unknown)


CASE = Case("real text", {"attention_mask": MASK}, text())
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


@pytest.mark.parametrize("turned", [False, True])
def test_an_inner_value_that_points_elsewhere_is_named(turned: bool) -> None:
    expected = {"logits": LOGITS, "hidden_states.1": LOGITS}
    given = expected | ({"hidden_states.1": -LOGITS} if turned else {})
    may_fail = pytest.raises(VerificationError, match=r"output hidden_states\.1 is not the PyTorch")
    with may_fail if turned else nullcontext():
        verify(
            lambda _: given,
            [(CASE, expected)],
            kind="token",
            per_token=frozenset(expected),
            tolerance=None,
            inner=frozenset({"hidden_states.1"}),
        )


def test_a_graph_that_always_gives_the_usual_answer_is_refused() -> None:
    """19 tokens of 20 have no entity: saying so of all is 95 % agreement and no answer."""
    answers = np.zeros((10, 20), dtype=np.int64)
    answers[:, 0] = 1
    case = Case("real text", {"attention_mask": np.ones_like(answers)}, text())
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


LABELS = ("a", "b")


class TestUnseenText:
    """What an agreement rests on: the user's held-out text, and built-in text beside it."""

    def check(
        self,
        *sets: tuple[UnseenText, int, int],
        answers: Callable[[int], np.ndarray] = lambda rows: np.arange(rows) % 2,
    ) -> ParityRecord:
        """A graph that errs on so many of the rows of each text."""
        cases, given = [], []
        for source, rows, errors in sets:
            right = answers(rows)
            left = np.where(np.arange(rows) < errors, 1 - right, right)
            mask = np.ones((rows, 3), dtype=np.int64)
            cases.append((Case("real text", {"attention_mask": mask}, source), right))
            given.append({"logits": one_hot(left)})
        outputs = iter(given)
        return verify(
            lambda _: next(outputs),
            [(case, {"logits": one_hot(right)}) for case, right in cases],
            kind="label",
            per_token=frozenset(),
            tolerance=None,
            labels=LABELS,
        )

    def test_the_users_held_out_text_decides(self) -> None:
        parity = self.check((text("mine", held_out=True), 64, 0), (text(), 64, 2))
        assert parity.agreement == 1.0
        assert [(one.source, one.held_out, one.rows) for one in parity.texts] == [
            ("mine", True, 64),
            ("built-in", False, 64),
        ]
        assert parity.texts[1].agreement == pytest.approx(62 / 64)
        assert parity.warnings == ()
        assert describe_texts(parity) == (
            "100.00 % on 64 rows held out of mine; 96.88 % on 64 rows of built-in"
        )
        with pytest.raises(VerificationError, match=r"label agreement.*at least 0.9, got 0.89"):
            self.check((text("mine", held_out=True), 64, 7), (text(), 64, 0))

    def test_an_engine_that_fails_on_other_text_is_refused(self) -> None:
        """Its ranges fit the calibration set alone, which its held-out part cannot tell."""
        with pytest.raises(VerificationError, match=r"on built-in, text unlike .* got 0.45"):
            self.check((text("mine", held_out=True), 64, 0), (text(), 64, 35))

    def test_other_text_may_differ_more_and_that_is_said(self) -> None:
        parity = self.check((text("mine", held_out=True), 64, 0), (text(), 64, 10))
        (warning,) = parity.warnings
        assert warning.startswith("INT8 agrees by 84.4 % only on built-in: calibrate on more kinds")

    def test_too_few_rows_of_ones_own_are_taken_together_with_the_others(self) -> None:
        parity = self.check((text("mine", held_out=True), MIN_ROWS - 1, 4), (text(), 64, 0))
        assert parity.agreement == pytest.approx((27 + 64) / 95)

    def test_text_that_the_vocabulary_does_not_know_does_not_count(self) -> None:
        parity = self.check((text("mine"), 64, 0), (text(unknown=0.87), 64, 60))
        assert parity.agreement == 1.0
        assert [one.counted for one in parity.texts] == [True, False]
        (warning,) = parity.warnings
        assert "built-in" in warning
        assert "87 % unknown to the vocabulary, and does not count" in warning
        assert "87.0 % [UNK], not counted" in describe_texts(parity)

    def test_a_head_that_gives_one_label_only_is_named(self) -> None:
        parity = self.check((text(), 64, 0), answers=lambda rows: np.zeros(rows, dtype=np.int64))
        assert parity.labels_never_given == ("b",)
        assert "the head gives one label only, 'a', on all 64 rows" in parity.warnings[0]


def given_of(kind: str, array: np.ndarray, labels: tuple[str, ...] = ()) -> str | None:
    kept = np.ones(array.shape if kind == "span" else array.shape[:1], dtype=bool)
    return answers_given(kind, [("output", array, kept)], labels).only


@pytest.mark.parametrize(
    ("kind", "array", "labels", "only"),
    [
        ("label", np.tile([0.0, 1.0], (9, 1)), LABELS, "one label only, 'b'"),
        ("token", np.tile([0.0, 1.0], (9, 1)), LABELS, "one label only, 'b'"),
        ("label", np.tile([0.0, 1.0], (9, 1)), (), "one label only, number 1"),
        ("mask", np.tile([0.0, 1.0, 0.0], (9, 1)), (), "one word only, number 1"),
        ("span", np.tile([1.0, 0.0, 0.0], (9, 1)), (), "one place in the text only, number 0"),
        ("sign", np.tile([-1.0, 1.0], (9, 1)), LABELS, "the labels b only"),
        ("sign", np.full((9, 2), -1.0), LABELS, "no label"),
        ("concordance", np.full((9, 1), 0.25), ("score",), "one score only, 0.25"),
        ("cosine", np.outer(np.arange(1.0, 10.0), [1.0, 2.0]), (), "nearly one vector only"),
    ],
)
def test_one_answer_to_everything_is_found_in_every_kind(
    kind: str, array: np.ndarray, labels: tuple[str, ...], only: str
) -> None:
    assert given_of(kind, array, labels) == only
    other = RNG.normal(size=array.shape)
    assert given_of(kind, other, labels) is None


def test_labels_that_are_never_given_are_named() -> None:
    kept = np.ones(4, dtype=bool)
    signs = np.array([[1, -1, -1], [1, 1, -1], [-1, -1, -1], [1, 1, -1]], dtype=np.float64)
    assert answers_given("sign", [("logits", signs, kept)], ("a", "b", "c")).never == ("c",)
    logits = np.eye(3)[[0, 0, 2, 2]]
    assert answers_given("label", [("logits", logits, kept)], ("a", "b", "c")).never == ("b",)
