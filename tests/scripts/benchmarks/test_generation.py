"""Generation: what is compared, and what must hold."""

from __future__ import annotations

from scripts.benchmarks import generation
from scripts.benchmarks.common.report import cell_text
from tests.scripts.benchmarks.support import compared


def test_speeds_are_over_native_int8() -> None:
    times = {
        generation.NATIVE: 50.0,
        generation.INT8: 100.0,
        generation.FP32: 300.0,
        generation.RECOMPUTE: 700.0,
        generation.ORIGINAL: 250.0,
    }
    labels = ("one text", "8 texts")
    comparison = compared(
        {name: dict.fromkeys(labels, time) for name, time in times.items()}, rows=64
    )
    section = generation._section(comparison, 1)
    assert [cell_text(row[3]) for row in section.rows[1:]] == [
        "2.00 (2.00 to 2.00)",
        "6.00 (6.00 to 6.00)",
        "14.00 (14.00 to 14.00)",
        "5.00 (5.00 to 5.00)",
    ]
    verdicts = [bound.verdict for bound in generation.bounds(comparison)]
    assert verdicts == ["PASS", "MISS", "PASS", "PASS"]
