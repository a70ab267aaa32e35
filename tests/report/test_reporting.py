"""A report of a tiny checkpoint from end to end, resumed, damaged and interrupted."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_export.bundle import AUTO, ExportRequest
from bert_export.errors import (
    BertExportError,
    DatasetError,
    InputError,
    MeasurementError,
    MissingExtraError,
    TargetError,
)
from bert_export.exporter.auto_target import candidates, not_installed
from bert_export.measuring.timing import conditions
from bert_export.measuring.workloads import parse_shapes
from bert_export.report.reporting import _read_data, make_report
from bert_export.report.schema import Report, read_report
from bert_export.report.variants import Plan, plan_variants
from bert_export.runtime import native
from bert_export.target_table import TARGETS
from bert_export.tasks import find_task

_MEASURING = ("shapes", "texts", "threads", "seconds", "tolerance", "lifetimes", "cold_starts")


class Silent:
    def __init__(self, *, stop_at: str = "") -> None:
        self.steps: list[str] = []
        self._stop_at = stop_at

    def begin(self, what: str, *, done: int, total: int) -> None:
        self.steps.append(what)
        if self._stop_at and what.startswith(self._stop_at):
            raise KeyboardInterrupt

    def measured(self) -> None: ...


@pytest.fixture(scope="module")
def checkpoint(tiny: Callable[..., Path]) -> Path:
    return tiny("BertForSequenceClassification", num_labels=3)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "labelled.jsonl"
    records = [{"text": f"the cat {n} sat", "label": f"LABEL_{n % 3}"} for n in range(18)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def run(
    checkpoint: Path, data: Path | None, folder: Path, *, stop_at: str = "", **changed: Any
) -> tuple[Report, Silent]:
    listener = Silent(stop_at=stop_at)
    measuring: dict[str, Any] = {
        "shapes": "1x8",
        "texts": 4,
        "threads": 1,
        "seconds": 0.1,
        "lifetimes": 1,
        "cold_starts": 1,
    }
    measuring |= {name: changed.pop(name) for name in tuple(changed) if name in _MEASURING}
    under = conditions(shapes=parse_shapes(measuring.pop("shapes")), **measuring)
    options = {
        "task": "text-classification",
        "model": str(checkpoint),
        "data": data,
        "output": folder,
        "targets": ["onnxruntime"],
        "precisions": ["fp32"],
        "under": under,
    }
    return make_report(listener=listener, **(options | changed)), listener


@pytest.fixture(scope="module")
def done(
    checkpoint: Path, labelled: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, Path, Silent]:
    folder = tmp_path_factory.mktemp("report") / "out"
    report, listener = run(checkpoint, labelled, folder)
    return report, folder, listener


def test_report_holds_everything(done: tuple[Report, Path, Silent]) -> None:
    report, folder, listener = done
    assert report.complete
    assert listener.steps[:2] == ["export onnxruntime fp32", "score onnxruntime fp32"]
    (variant,) = report.variants
    assert variant.reason is None
    assert list(variant.measured.timings) == ["1x8", "one text", "many texts"]
    assert variant.score is not None
    assert set(variant.score.scores) >= {"accuracy"}
    assert variant.score.agreement == 1.0
    assert variant.score.output_error == 0
    assert variant.score.gain_error == 0
    assert report.labelled
    assert report.model is not None
    assert variant.bytes == sum(file.bytes for file in variant.files.values())
    assert (variant.export_seconds or 0) > 0
    assert (variant.export_bytes or 0) > 50e6
    assert read_report(folder) == report
    assert "onnxruntime fp32" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "report.png").is_file()
    assert (folder / "report.svg").is_file()


def test_running_again_goes_on_from_there(
    done: tuple[Report, Path, Silent], checkpoint: Path, labelled: Path, tmp_path: Path
) -> None:
    before, folder, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    after, _ = run(checkpoint, labelled, copy, shapes="1x8,2x8")
    (old,), (new,) = before.variants, after.variants
    assert new.export_seconds == old.export_seconds
    assert new.score == old.score
    assert new.measured.timings["1x8"] == old.measured.timings["1x8"]
    assert "2x8" in new.measured.timings
    assert new.measured.first_answers == old.measured.first_answers


def test_other_data_is_timed_anew(
    done: tuple[Report, Path, Silent], checkpoint: Path, tmp_path: Path
) -> None:
    before, folder, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "a dog", "label": 0}\n' * 3, encoding="utf-8")
    after, _ = run(checkpoint, other, copy)
    (old,), (new,) = before.variants, after.variants
    assert new.export_seconds == old.export_seconds
    assert new.measured.timings["many texts"].rows == 3
    assert new.measured.timings["one text"] != old.measured.timings["one text"]
    assert new.measured.first_answers != old.measured.first_answers


def test_a_shape_that_all_refuse_is_not_what_the_page_opens_with(
    done: tuple[Report, Path, Silent], checkpoint: Path, labelled: Path, tmp_path: Path
) -> None:
    _, folder, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    report, _ = run(checkpoint, labelled, copy, shapes="1x8,1x4000")
    assert report.main_shape == "1x8"
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert "onnxruntime fp32 answers 1x8 in" in page
    assert "1x4000: shape 1x4000 is longer than the bundle" in page
    kept = read_report(copy)
    assert kept is not None
    assert kept.main_shape == "1x8"


def test_a_damaged_bundle_is_a_row_with_its_reason(
    done: tuple[Report, Path, Silent], checkpoint: Path, labelled: Path, tmp_path: Path
) -> None:
    _, folder, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "report.json").unlink()
    (weights,) = (copy / "variants").glob("*/weights.data")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(MeasurementError, match=r"no variant can be .* onnxruntime fp32: .*weights"):
        run(checkpoint, labelled, copy)
    report = read_report(copy)
    assert report is not None
    (variant,) = report.variants
    assert "weights.data" in (variant.reason or "")
    assert not report.complete
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert "weights.data has the wrong size" in page


def test_an_interrupt_keeps_what_was_measured(
    done: tuple[Report, Path, Silent], checkpoint: Path, labelled: Path, tmp_path: Path
) -> None:
    _, folder, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, labelled, copy, shapes="2x8,3x8", stop_at="time 3x8")
    kept = read_report(copy)
    assert kept is not None
    assert not kept.complete
    assert "2x8" in kept.variants[0].measured.timings
    assert "Not finished" in (copy / "report.html").read_text(encoding="utf-8")
    whole, _ = run(checkpoint, labelled, copy, shapes="2x8,3x8")
    assert whole.complete
    assert whole.variants[0].measured.timings["2x8"] == (kept.variants[0].measured.timings["2x8"])


def test_without_labels_agreement_is_what_counts(
    done: tuple[Report, Path, Silent], checkpoint: Path, tmp_path: Path
) -> None:
    _, folder, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    unlabelled = tmp_path / "texts.txt"
    unlabelled.write_text("the cat sat\n" * 4, encoding="utf-8")
    report, _ = run(checkpoint, unlabelled, copy, texts=0)
    assert not report.labelled
    assert report.quality(report.variants[0]) == 1.0


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"shapes": "8by16"}, InputError),
        ({"targets": ["none"]}, InputError),
        ({"precisions": ["fp7"]}, InputError),
        ({"threads": 4096}, InputError),
        ({"task": "none"}, BertExportError),
        *(({"max_drop": value}, InputError) for value in (math.nan, math.inf, -0.1)),
        *(({"seconds": value}, InputError) for value in (math.nan, math.inf, -1)),
        *(({"tolerance": value}, InputError) for value in (math.nan, math.inf, 0)),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(
    changed: dict[str, Any],
    error: type[Exception],
    checkpoint: Path,
    labelled: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    with pytest.raises(error):
        run(checkpoint, labelled, folder, **changed)
    assert not folder.exists()


def test_data_that_is_not_there_is_said_before_anything_is_made(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError):
        run(checkpoint, tmp_path / "none.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_in_some_records_are_said_before_anything_is_made(
    checkpoint: Path, tmp_path: Path
) -> None:
    some = tmp_path / "some.jsonl"
    some.write_text('{"text": "a", "label": 0}\n{"text": "b"}\n', encoding="utf-8")
    with pytest.raises(DatasetError, match="line 2 lacks label: expected labels in every record"):
        run(checkpoint, some, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_kind_of_label_may_have_gaps(tmp_path: Path) -> None:
    path = tmp_path / "both.jsonl"
    path.write_text('{"text": "a", "label": 0, "labels": ["x"]}\n{"text": "b", "label": 1}\n')
    _, record = _read_data(find_task("text-classification"), path)
    assert record.records == 2


def test_bundles_are_named_after_what_they_depend_on(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")

    def folders(**options: Any) -> list[str]:
        request = ExportRequest(task="fill-mask", model=str(model), **options)
        plan = plan_variants(
            request, find_task("fill-mask"), targets=["onnxruntime"], precisions=[]
        )
        return [variant.bundle for variant in plan.variants]

    first = folders()
    assert folders() == first
    assert len(set(first)) == len(first)
    in_float, in_int8 = first
    assert folders(calibration="other.txt")[0] == in_float  # which is not calibrated
    assert folders(calibration="other.txt")[1] != in_int8
    text = tmp_path / "text.txt"
    text.write_text("one")
    before = folders(calibration=str(text))
    assert folders(calibration=str(text)) == before
    text.write_text("one and another")
    assert folders(calibration=str(text))[1] != before[1]
    (model / "config.json").write_text("{ }", encoding="utf-8")
    assert set(folders()).isdisjoint(first)


class TestTargets:
    """What a report compares where a target cannot run here."""

    @staticmethod
    def plan(task: str, *targets: str) -> Plan:
        request = ExportRequest(task=task, model="demo")
        return plan_variants(request, find_task(task), targets=targets, precisions=[])

    @pytest.fixture
    def not_built(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """The target whose compiled module is not built."""
        monkeypatch.setattr(native, "_built_module", lambda: (None, "is not built"))
        (gone,) = (one for one in not_installed(AUTO) if "compiled module" in str(one.error))
        return gone.target

    def test_one_that_is_not_installed_is_left_out_and_said(self, not_built: str) -> None:
        plan = self.plan("fill-mask")
        assert not_built not in {variant.target for variant in plan.variants}
        (line,) = (line for line in plan.left_out if not_built in line)
        assert "bert-export cpp --native" in line

    def test_one_that_is_named_must_be_installed(self, not_built: str) -> None:
        with pytest.raises(MissingExtraError, match=f"target {not_built} needs"):
            self.plan("fill-mask", not_built)

    def test_one_that_does_not_take_the_task(self) -> None:
        plan = self.plan("text2text-generation")
        assert all(TARGETS[variant.target].takes_halves for variant in plan.variants)
        for target in candidates(AUTO):
            if not target.takes_halves:
                assert any(f"{target.name} does not take" in line for line in plan.left_out)
        with pytest.raises(TargetError, match="does not take text2text-generation"):
            self.plan("text2text-generation", *TARGETS)
