"""What native keeps of pruning's gain, from ratios."""

from __future__ import annotations

import pytest

from bert_export.measuring.ratios import Ratio
from scripts.benchmarks.pruning import bounds, kept_of


def ratio(value: float) -> Ratio:
    return Ratio(value=value, interval=(value, value), lifetimes=1, laps=9)


def test_the_share_that_is_saved_is_compared() -> None:
    gains: dict[str, dict[str, Ratio | None]] = {
        "native": {"1x16": ratio(1.25), "8x128": ratio(1.1), "1x128": None},
        "onnxruntime": {"1x16": ratio(1.25), "8x128": ratio(1.25), "1x128": ratio(2.0)},
        "openvino": {"1x16": ratio(1.1), "8x128": None, "1x128": None},
    }
    found = {bound.what.split()[1].strip(":"): bound for bound in bounds("task", gains)}
    assert isinstance(found["1x16"].value, Ratio)
    assert found["1x16"].value.value == 1.0
    assert found["1x16"].verdict == "PASS"
    assert found["8x128"].verdict == "MISS"
    assert found["1x128"].verdict == "UNMEASURED"


def test_what_is_kept_has_the_intervals_of_both() -> None:
    own = Ratio(value=1.25, interval=(1.2, 1.3), lifetimes=3, laps=9)
    kept = kept_of(own, Ratio(value=2.0, interval=(1.9, 2.1), lifetimes=3, laps=9))
    assert kept is not None
    assert kept.value == pytest.approx(0.4)
    assert kept.interval == pytest.approx(((1 - 1 / 1.2) / (1 - 1 / 2.1), (3 / 13) / (9 / 19)))
    unsure = kept_of(own, Ratio(value=1.1, interval=(0.9, 1.3), lifetimes=3, laps=9))
    assert unsure is not None
    assert unsure.interval is None
    assert kept_of(own, Ratio(value=0.9, interval=(0.8, 1.0), lifetimes=3, laps=9)) is None
