"""Native on texts of unequal length: the table, the bounds, and the rows that are drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bert_export.exporter import Export
from scripts.benchmarks.common.report import cell_text
from scripts.benchmarks.native_ragged import (
    MIXED,
    NATIVE,
    ONNXRUNTIME,
    OPENVINO,
    SHORT,
    bounds,
    section,
)
from scripts.benchmarks.workers.feeds import write_mixed
from tests.scripts.benchmarks.support import compared


def test_native_is_over_every_engine() -> None:
    times = {NATIVE: 10.0, OPENVINO: 18.5, ONNXRUNTIME: 19.0}
    labels = (SHORT, MIXED)
    comparison = compared(
        {name: dict.fromkeys(labels, time) for name, time in times.items()}, rows=100
    )
    table = section(comparison, 1)
    assert table.part == "1 thread"
    assert [row[0] for row in table.rows] == list(labels)
    assert list(map(cell_text, table.rows[0][1:3])) == ["10,000", "5,405"]
    assert cell_text(table.rows[0][-2]) == "1.85 (1.85 to 1.85)"
    assert [bound.verdict for bound in bounds(comparison, "AMX")] == ["PASS", "MISS"]
    assert [bound.what for bound in bounds(comparison, "AVX2")] == [
        f"{MIXED}: native over the fastest padded engine"
    ]


def test_rows_are_drawn_between_both_lengths(
    tiny_export: Callable[..., Export], tmp_path: Path
) -> None:
    bundle = str(tiny_export("token-classification", "BertForTokenClassification").path)
    batches = tmp_path / "batches.npz"
    request = {
        "bundle": bundle,
        "lengths": [3, 8],
        "rows": 2,
        "count": 3,
        "batches": str(batches),
    }
    told = write_mixed(request)
    with np.load(batches) as stored:
        masks = [stored[f"attention_mask.{index}"] for index in range(3)]
        ids = [stored[f"input_ids.{index}"] for index in range(3)]
    lengths = np.concatenate([mask.sum(axis=1) for mask in masks])
    assert lengths.min() >= 3
    assert lengths.max() <= 8
    assert told == {"tokens": lengths.sum(), "padded": sum(mask.size for mask in masks)}
    ends = {
        int(row[mask.sum() - 1])
        for one, other in zip(ids, masks, strict=True)
        for row, mask in zip(one, other, strict=True)
    }
    assert len(ends) == 1  # every row ends with the same special token
