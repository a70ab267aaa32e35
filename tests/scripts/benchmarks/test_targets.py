"""The matrix of targets: what counts as ours, ratios, bounds."""

from __future__ import annotations

import pytest

from scripts.benchmarks import targets
from scripts.benchmarks.common.comparison import Comparison
from scripts.benchmarks.common.report import cell_text
from scripts.benchmarks.making.shapes import LABELS, SHAPES
from scripts.benchmarks.targets import ANY_SHAPE, NNCF, OURS_OPENVINO, REFERENCE, ROWS
from tests.scripts.benchmarks.support import compared

NAMES = {
    "torch": REFERENCE,
    "nncf": NNCF,
    "openvino": OURS_OPENVINO,
    "free_nncf": NNCF + ANY_SHAPE,
    "free_openvino": OURS_OPENVINO + ANY_SHAPE,
    "onnxruntime": "ours, onnxruntime INT8",
}


def measured(**milliseconds: float) -> Comparison:
    """One figure for all shapes; names by their short forms."""
    return compared(
        {NAMES[short]: dict.fromkeys(LABELS, time) for short, time in milliseconds.items()}
    )


def test_rows_are_weights_and_tasks() -> None:
    assert tuple(ROWS) == (
        "minilm-encoder",
        "minilm-text-classification",
        "minilm-fill-mask",
        "bert-base-encoder",
        "bert-base-text-classification",
        "bert-base-fill-mask",
    )
    assert all(kind in targets.TASKS for _, kind in ROWS.values())
    assert LABELS == ("1x16", "1x128", "8x128", "32x64")


@pytest.mark.parametrize(
    ("name", "milliseconds", "missed"),
    [
        ("minilm-encoder", {"torch": 66, "nncf": 9.75, "openvino": 10}, set()),
        ("minilm-encoder", {"torch": 64, "nncf": 9.75, "openvino": 10}, {REFERENCE}),
        ("minilm-encoder", {"torch": 66, "nncf": 9.6, "openvino": 10}, {"peer", "NNCF"}),
        # Another target of ours may be the fastest, but OpenVINO's own bound holds all the same.
        ("minilm-encoder", {"torch": 66, "nncf": 9, "openvino": 10, "onnxruntime": 8}, {"NNCF"}),
        ("bert-base-text-classification", {"nncf": 11.1, "openvino": 10}, set()),
        ("bert-base-text-classification", {"nncf": 10.9, "openvino": 10}, {"NNCF"}),
        ("minilm-fill-mask", {"nncf": 12.9, "openvino": 10}, {"NNCF"}),
        ("minilm-fill-mask", {"nncf": 13.1, "openvino": 10}, set()),
    ],
)
def test_bounds(name: str, milliseconds: dict[str, float], missed: set[str]) -> None:
    bounds = targets._bounds(name, measured(**milliseconds))
    assert len(bounds) == len(SHAPES) * (3 if name.endswith("encoder") else 2)
    found = {bound.what for bound in bounds if bound.verdict == "MISS"}
    words = (REFERENCE, "peer", "NNCF")
    assert {word for word in words if any(word in what for what in found)} == missed


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    bounds = targets._bounds("minilm-encoder", measured(openvino=1.0))
    assert {bound.verdict for bound in bounds} == {"UNMEASURED"}


def test_tables_name_our_best_at_every_shape() -> None:
    comparison = measured(
        torch=80, nncf=12, openvino=10, onnxruntime=8, free_nncf=16.5, free_openvino=15
    )
    times, ratios = targets._sections("minilm-encoder", comparison, [], part="minilm-encoder")
    assert times.rows[0][:2] == [REFERENCE, "80 (80)"]
    lines = {line[0]: {cell_text(cell) for cell in line[1:]} for line in ratios.rows}
    assert lines["our best"] == {"onnxruntime INT8"}
    assert lines[f"over {REFERENCE}"] == {"10.00 (10.00 to 10.00)"}
    assert lines["over the best of them"] == {"1.50 (1.50 to 1.50)"}
    assert lines["our OpenVINO INT8 over NNCF's"] == {"1.20 (1.20 to 1.20)"}
    assert lines["our OpenVINO INT8 over NNCF's, any shape"] == {"1.10 (1.10 to 1.10)"}


def test_targets_of_this_machine_have_the_precision() -> None:
    assert "onnxruntime" in targets.targets_of("int8")
    assert "onnxruntime" not in targets.targets_of("bf16")
    assert not any("tensorrt" in name for name in targets.targets_of("fp32"))
