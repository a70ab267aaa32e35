"""The gate: what passes, what does not, and what is compared."""

from __future__ import annotations

import numpy as np
import pytest

from bert_export.errors import VerificationError
from bert_export.verification import MIN_AGREEMENT, Case, agreement, verify

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
