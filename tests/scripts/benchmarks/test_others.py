"""Throughput, cold starts and exports: their tables and turns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bert_export.errors import MeasurementError
from scripts.benchmarks import cold_start, export, throughput
from scripts.benchmarks.common.report import cell_text
from tests.scripts.benchmarks.support import Silent, compared


def test_answers_are_compared_by_what_they_say(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    spans = [[{"entity_group": "PER", "start": 0, "end": 3, "score": 0.9}], []]
    ours.write_text(json.dumps(spans), encoding="utf-8")
    spans[0][0]["score"] = 0.8
    others.write_text(json.dumps(spans), encoding="utf-8")
    assert throughput.alike(ours, others, vectors=False) == "100.00 % the same"
    others.write_text(json.dumps([[], []]), encoding="utf-8")
    assert throughput.alike(ours, others, vectors=False) == "50.00 % the same"
    for path, vectors in ((ours, [[1.0, 0.0]]), (others, [[1.0, 1.0]])):
        with path.open("wb") as file:
            np.save(file, np.array(vectors))
    assert throughput.alike(ours, others, vectors=True) == "cosine 0.7071 (least 0.7071)"


def test_throughput_is_over_ours() -> None:
    times = {"ours": 100.0, "ours, unsorted": 200.0, throughput.FP32: 650.0, throughput.BF16: 240.0}
    comparison = compared(
        {name: {throughput.TEXTS: time} for name, time in times.items()}, rows=256
    )
    section = throughput._section(throughput.EMBEDDING, comparison, "")
    assert [cell_text(row[1]) for row in section.rows] == ["2,560", "1,280", "393.8", "1,067"]
    assert section.rows[0][3] is None
    assert cell_text(section.rows[2][3]) == "6.50 (6.50 to 6.50)"
    assert [bound.verdict for bound in throughput._bounds(comparison)] == ["PASS", "MISS"]


def test_cold_starts_are_over_ours() -> None:
    comparison = compared({"ours": {}, "transformers pipeline": {}})
    for name, starts in (("ours", [0.2, 0.3]), ("transformers pipeline", [2.0, 3.0])):
        comparison.results[name].first_answers = starts
        comparison.results[name].first_answer_bytes = 100_000_000
    section = cold_start._section("token-classification", comparison)
    assert [list(map(cell_text, row)) for row in section.rows] == [
        ["ours", "0.25", "100", "-"],
        ["transformers pipeline", "2.5", "100", "10.00 (10.00 to 10.00)"],
    ]
    bounds = cold_start._bounds(comparison, "transformers pipeline")
    assert {bound.verdict for bound in bounds} == {"PASS"}


def test_exports_run_in_mirrored_rounds() -> None:
    order: list[str] = []

    def run(name: str, seconds: float, runs: export.Runs) -> None:
        order.append(name)
        if name == "c" and order.count("c") == 2:
            raise MeasurementError("no room")
        runs.seconds.append(seconds)

    runs = {name: export.Runs() for name in "abc"}
    contenders = {
        name: lambda own, name=name, seconds=seconds: run(name, seconds, own)  # type: ignore[misc]
        for name, seconds in (("a", 2.0), ("b", 1.0), ("c", 1.0))
    }
    export.take_turns(contenders, runs, 4, Silent())
    assert order[:3] == order[5:2:-1]
    assert runs["a"].seconds == [2.0] * 4
    assert runs["c"].failure == "no room."
    assert len(runs["c"].seconds) == 1
    ratio = export.runs_ratio(runs["a"], runs["b"])
    assert ratio is not None
    assert (ratio.value, ratio.lifetimes) == (pytest.approx(2.0), 4)
    assert export.runs_ratio(runs["a"], export.Runs()) is None


def test_export_bounds_of_long_calibration() -> None:
    runs = export.Runs(seconds=[170.0], calibrating=[100.0], peak_bytes=[2_500_000_000])
    bounds = export._bounds(runs, long_calibration=True)
    assert [bound.verdict for bound in bounds] == ["PASS"] * 3
    assert export._bounds(runs, long_calibration=False)[0].verdict == "MISS"
