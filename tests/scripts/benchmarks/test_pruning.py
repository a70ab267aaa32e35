"""What native keeps of pruning's gain, from ratios."""

from __future__ import annotations

from bert_export.measuring.ratios import Ratio
from scripts.benchmarks.pruning import bounds


def ratio(value: float) -> Ratio:
    return Ratio(value=value, interval=(value, value), lifetimes=1, laps=9)


def test_the_share_that_is_saved_is_compared() -> None:
    gains = {
        "native": {"1x16": ratio(1.25), "8x128": ratio(1.1), "1x128": None},
        "onnxruntime": {"1x16": ratio(1.25), "8x128": ratio(1.25), "1x128": ratio(2.0)},
        "openvino": {"1x16": ratio(1.1), "8x128": None, "1x128": None},
    }
    found = {bound.what.split()[1].strip(":"): bound for bound in bounds("task", gains)}
    assert found["1x16"].value == 1.0
    assert found["1x16"].verdict == "PASS"
    assert found["8x128"].verdict == "MISS"
    assert found["1x128"].verdict == "UNMEASURED"
