"""A target that is refused ends an export of named targets, and is left out by auto."""

from __future__ import annotations

import re

import pytest

from bert_export.errors import (
    BertExportError,
    BudgetError,
    BundleError,
    InputError,
    MissingExtraError,
    TargetError,
    VerificationError,
)
from bert_export.exporter.refusal import REFUSALS, Refusals
from bert_export.targets import TARGETS, Target

ERRORS = (
    TargetError("graph cannot be taken", expected="none", got="one"),
    BundleError("graph cannot be compiled", expected="a graph", got="another"),
    MissingExtraError("refusing", extra="openvino"),
    VerificationError("graph answers otherwise"),
    BudgetError("budget", expected="1 %", got="2 %", fix="Ask less", search=None),
)
FIRST, REFUSED, LAST = (TARGETS[name] for name in ("onnxruntime", "openvino", "tensorrt"))


def refuse(error: BertExportError) -> object:
    def step(target: Target) -> str:
        if target is REFUSED:
            raise error
        return target.name.upper()

    return step


def test_every_kind_is_tried() -> None:
    assert {type(error) for error in ERRORS} == set(REFUSALS)


@pytest.mark.parametrize("error", ERRORS)
def test_any_refusal_of_one_target_is_a_reason_to_go_on(error: BertExportError) -> None:
    refusals = Refusals(tolerated=True)
    results = refusals.each((FIRST, REFUSED, LAST), refuse(error))
    assert results == {"onnxruntime": "ONNXRUNTIME", "tensorrt": "TENSORRT"}
    ((refusal),) = refusals.refusals
    assert (refusal.target, refusal.error) == ("openvino", error)


@pytest.mark.parametrize("error", ERRORS)
def test_it_is_the_error_where_no_target_is_left(error: BertExportError) -> None:
    with pytest.raises(type(error), match=re.escape(str(error))):
        Refusals(tolerated=True).each((REFUSED,), refuse(error))


def test_a_named_target_is_not_left_out() -> None:
    asked = []

    def step(target: Target) -> None:
        asked.append(target)
        raise ERRORS[0]

    with pytest.raises(TargetError, match="graph cannot be taken"):
        Refusals().each((REFUSED, LAST), step)
    assert asked == [REFUSED]


def test_other_errors_are_not_about_a_target() -> None:
    with pytest.raises(InputError, match="mistake"):
        Refusals(tolerated=True).each((REFUSED, LAST), refuse(InputError("mistake")))
