"""The accuracy table: losses and bounds from figures, and test sets that the tasks can read."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_accuracy import (
    ERROR,
    Scored,
    _bounds,
    _chances,
    _errors,
    _losses,
    _mean_loss,
    _section,
)
from measuring.accuracy import (
    BUDGET,
    CONTENDERS,
    DYNAMIC,
    FP32,
    MADE_FOR,
    NNCF,
    OURS,
    float_share,
)
from measuring.figures import Samples
from measuring.heads import HEADS, write_test_set

from bert_export.datasets import read_dataset
from bert_export.runtime.processor import PROCESSORS
from bert_export.tasks import find_task
from tests.support import SHARED_DATA


def scored(**scores: float) -> Scored:
    names = {"fp32": FP32, "ours": OURS, "budget": BUDGET, "dynamic": DYNAMIC, "nncf": NNCF}
    found = {}
    for short, score in scores.items():
        found[names[short]] = Samples()
        found[names[short]].add({"score": score, "seconds": 2.0 if short == "budget" else 1.0})
    return Scored("accuracy", found)


def test_every_kind_of_processor_has_its_contender() -> None:
    assert tuple(MADE_FOR) == PROCESSORS
    assert set(MADE_FOR.values()) <= set(CONTENDERS)


def test_losses_are_points_against_fp32() -> None:
    head = scored(fp32=0.9, ours=0.898, dynamic=0.91)
    assert head.loss(OURS) == pytest.approx(0.2)
    assert head.loss(DYNAMIC) == pytest.approx(-1)
    assert head.loss(NNCF) is None
    other = scored(fp32=0.5, ours=0.5)
    assert _mean_loss({"a": head, "b": other}, OURS) == pytest.approx(0.1)
    assert _mean_loss({"a": head, "b": other}, DYNAMIC) is None  # not measured everywhere


def test_bounds_say_what_is_missed() -> None:
    head = scored(fp32=0.9, ours=0.894, budget=0.8985, dynamic=0.899, nncf=0.897)
    head.figures[OURS].add({"cosine": 0.99})
    verdicts = {bound.what: bound.verdict for bound in _bounds({"a": head})}
    assert verdicts[f"a: {OURS} loses"] == "MISS"
    assert verdicts["a: mean cosine with FP32"] == "MISS"
    assert verdicts[f"a: {BUDGET} loses"] == "MISS"
    assert verdicts[f"mean: {OURS} loses"] == "MISS"
    assert verdicts[f"mean: {OURS} loses more than the best of the others ({DYNAMIC})"] == "MISS"
    better = scored(fp32=0.9, ours=0.9, budget=0.9, dynamic=0.899)
    assert {bound.verdict for bound in _bounds({"a": better})} == {"PASS"}


def test_tables_show_time_over_ours() -> None:
    section = _section("a", scored(fp32=0.9, ours=0.9, budget=0.9))
    times = section.header.index("time over ours INT8")
    assert [row[times] for row in section.rows] == [1.0, 1.0, 2.0]
    rows = _losses({"a": scored(fp32=0.9, ours=0.89)}).rows
    assert rows[0][:2] == ("a", 0.9)
    assert rows[-1][0] == "mean"
    assert rows[-1][2] == pytest.approx(1)


def test_another_tool_may_lose_less_by_chance_alone() -> None:
    head = scored(fp32=0.9, ours=0.89, dynamic=0.8, nncf=0.9)
    what = f"a: {OURS} loses more than the best of the others ({NNCF})"
    verdicts = {bound.what: bound.verdict for bound in _bounds({"a": head})}
    assert verdicts[what] == "UNMEASURED"  # without replicates
    # Two groups left out: the standard error is half the difference of their differences.
    for gap, verdict in ((0.02, "PASS"), (0.01, "PASS"), (0.009, "MISS")):
        head.replicates = {OURS: (0.89, 0.89), NNCF: (0.90, 0.90 + gap), DYNAMIC: (0.8, 0.9)}
        (bound,) = [bound for bound in _bounds({"a": head}) if bound.what == what]
        assert bound.value == pytest.approx(0.02 / gap)
        assert bound.verdict == verdict
    assert head.errors().median(f"{NNCF} against {OURS}") == pytest.approx(0.45)
    assert head.errors().median(f"{OURS} against {OURS}") is None
    assert _chances({"a": head}).rows == [("a", pytest.approx(5), pytest.approx(0.45))]
    head = scored(fp32=0.9, ours=0.91, dynamic=0.8, nncf=0.9)
    (bound,) = [bound for bound in _bounds({"a": head}) if bound.what == what]
    assert (bound.value, bound.verdict) == (0, "PASS")


def test_outputs_must_be_closer_than_those_of_any_other() -> None:
    head = scored(fp32=0.9, ours=0.89, dynamic=0.9, nncf=0.9)
    for contender, error in ((OURS, 5.0), (DYNAMIC, 30.0), (NNCF, 4.0)):
        head.figures[contender].add({ERROR: error})
    (bound,) = [bound for bound in _bounds({"a": head}) if "error of outputs" in bound.what]
    assert NNCF in bound.what
    assert (bound.value, bound.verdict) == (1.25, "MISS")
    found = dict(head.figures)
    found[NNCF] = Samples()
    found[NNCF].add({ERROR: 6.0})
    head.figures = found
    (bound,) = [bound for bound in _bounds({"a": head}) if "error of outputs" in bound.what]
    assert bound.verdict == "PASS"
    assert _errors({"a": head}).rows == [("a", 5.0, 30.0, 6.0)]


def test_a_bundle_without_a_search_has_no_share(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"engines": [{"quantization": null}]}')
    assert float_share(tmp_path) is None


@pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the open data sets are not beside the checkout"
)
@pytest.mark.parametrize("name", sorted(HEADS))
def test_test_sets_fit_their_tasks(name: str, tmp_path: Path) -> None:
    head = HEADS[name]
    path = tmp_path / "test.jsonl"
    count = write_test_set(head, SHARED_DATA, path, 40)
    found = read_dataset(find_task(head.task), path)
    assert len(found) == count == 40
