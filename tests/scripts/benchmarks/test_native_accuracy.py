"""The native target's accuracy beside ONNX Runtime's: tables and bounds from figures."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.benchmarks.accuracy import ERROR, SCORE, Scored
from scripts.benchmarks.native_accuracy import (
    APART,
    FP32,
    NATIVE,
    OTHER,
    bounds,
    sections,
)


def scored(native: float, *, apart: float = 1.0) -> Scored:
    figures = {
        FP32: {SCORE: 0.9, ERROR: 0.0},
        OTHER: {SCORE: 0.89, ERROR: 2.0},
        NATIVE: {SCORE: native, ERROR: 2.1, APART: apart},
    }
    replicates: dict[str, Sequence[float]] = {
        OTHER: (0.89, 0.88, 0.90),
        NATIVE: (native, native - 0.02, native + 0.01),
    }
    return Scored("accuracy", figures, replicates)


def test_tables_tell_native_beside_the_other() -> None:
    losses, errors = sections({"head": scored(0.888)}, whole=True)
    assert (losses.part, errors.part) == ("points lost", "error of outputs")
    ((name, exact, other, own, beside, error),) = losses.rows
    assert (name, exact) == ("head, accuracy", 0.9)
    assert [round(float(str(one)), 6) for one in (other, own, beside)] == [1.0, 1.2, 0.2]
    assert isinstance(error, float)
    assert error > 0
    assert list(errors.rows[0]) == ["head", 2.0, 2.1, 1.0]
    assert [section.part for section in sections({"head": scored(0.9)}, whole=False)] == [None] * 2


def test_bounds_are_a_tenth_of_a_point_and_the_spread() -> None:
    good = {bound.what: bound.verdict for bound in bounds("head", scored(0.8895))}
    assert set(good.values()) == {"PASS"}
    bad = {bound.what: bound.verdict for bound in bounds("head", scored(0.87, apart=9.0))}
    assert bad["head: native loses beside onnxruntime"] == "MISS"
    assert bad["head: outputs of both apart"] == "MISS"
