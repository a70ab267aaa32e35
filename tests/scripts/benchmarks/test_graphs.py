"""Graphs beside the stock ones: ratios and bounds."""

from __future__ import annotations

from scripts.benchmarks import graphs
from scripts.benchmarks.common.report import cell_text
from scripts.benchmarks.making.shapes import LABELS
from tests.scripts.benchmarks.support import compared

NAMES = ("ours INT8", "ours FP32", *graphs.STOCK["int8"], *graphs.STOCK["fp32"])


def test_bounds_name_shapes_that_are_measured() -> None:
    for row in graphs.ROWS.values():
        assert set(row.int8) <= set(LABELS)


def test_the_best_stock_graph_is_what_counts() -> None:
    times = (10.0, 40.0, 14.0, 16.0, 50.0, 44.0, 42.0)
    comparison = compared(
        {name: dict.fromkeys(LABELS, time) for name, time in zip(NAMES, times, strict=True)}
    )
    _, ratios = graphs._sections("minilm-encoder", comparison, ("int8", "fp32"), [], part=None)
    lines = {line[0]: cell_text(line[1]) for line in ratios.rows}
    assert lines["ours INT8 over exported INT8"] == "1.40 (1.40 to 1.40)"
    assert lines["ours INT8 over the best stock"] == "1.40 (1.40 to 1.40)"
    assert lines["ours FP32 over the best stock"] == "1.05 (1.05 to 1.05)"
    verdicts = {
        bound.what: bound.verdict
        for bound in graphs._bounds("minilm-encoder", comparison, ("int8", "fp32"))
    }
    assert verdicts["minilm-encoder 1x16 INT8 over the best stock"] == "PASS"
    assert verdicts["minilm-encoder 8x128 INT8 over the best stock"] == "MISS"
