"""``--target auto``: every installed target is tried, what fails is dropped, the fastest serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bert_export
from bert_export.bundle import read_manifest, verify_files
from bert_export.errors import (
    BertExportError,
    BundleError,
    InputError,
    MeasurementError,
    TargetError,
)
from bert_export.exporter import AUTO, Export, ExportRequest, export, export_request
from bert_export.exporter.auto_target import candidates, choose, find_shapes, not_installed
from bert_export.measuring.timing import Measured, timing_of
from bert_export.measuring.workloads import parse_shapes
from bert_export.runtime import native
from bert_export.targets import Target
from tests.exporter.conftest import LABELS, RecordingListener
from tests.oracle import WORDS

pytest.importorskip("openvino")

SHAPES = parse_shapes("1x16,8x128")


def timed(**milliseconds: float) -> Measured:
    """Figures by shape, written ``s1x16=2.0``."""
    return Measured(
        timings={
            label[1:]: timing_of(rows=1, lifetimes=[[[value / 1000] * 3] * 4] * 2)
            for label, value in milliseconds.items()
        }
    )


class TestChoose:
    @pytest.mark.parametrize(
        ("first", "second", "wanted"),
        [
            ({"s1x16": 1.0, "s8x128": 10.0}, {"s1x16": 2.0, "s8x128": 20.0}, "a"),
            ({"s1x16": 1.0, "s8x128": 30.0}, {"s1x16": 2.0, "s8x128": 10.0}, "b"),
            # Shapes weigh the same, whatever they take: twice as fast on one is worth as much.
            ({"s1x16": 1.0, "s8x128": 21.0}, {"s1x16": 2.0, "s8x128": 10.0}, "b"),
            ({"s1x16": 1.0, "s8x128": 19.0}, {"s1x16": 2.0, "s8x128": 10.0}, "a"),
            # A target without a figure for every shape is out, however fast it is.
            ({"s1x16": 0.1}, {"s1x16": 2.0, "s8x128": 10.0}, "b"),
        ],
    )
    def test_least_mean(
        self, first: Mapping[str, float], second: Mapping[str, float], wanted: str
    ) -> None:
        measured = {"a": timed(**first), "b": timed(**second)}
        assert choose(("a", "b"), measured, SHAPES) == wanted

    def test_none_is_left(self) -> None:
        measured = {
            "a": Measured(failure="it died"),
            "b": Measured(refusals={"8x128": "too long"}),
        }
        with pytest.raises(MeasurementError, match=r"no target can be timed.*it died.*too long"):
            choose(("a", "b"), measured, SHAPES)


class TestCandidates:
    def test_those_with_the_precision(self) -> None:
        assert {"onnxruntime", "openvino"} <= {target.name for target in candidates("int8")}
        assert "onnxruntime" not in {target.name for target in candidates("bf16")}

    def test_no_gpu_no_engine_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        assert not any(target.gpu for target in candidates("fp32"))

    def test_what_is_not_installed_is_said_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(native, "_built_module", lambda: (None, "is not built"))
        (missing,) = (one for one in not_installed("int8") if "compiled module" in str(one.error))
        assert missing.target not in {target.name for target in candidates("int8")}
        assert "\n" not in str(missing.error)
        assert "bert-export cpp --native" in str(missing.error)
        assert missing.target not in {one.target for one in not_installed("fp16")}


class TestShapes:
    def test_usual_ones_are_cut_to_the_rows(self) -> None:
        assert tuple(map(str, find_shapes(None, 12))) == ("1x12", "8x12")
        assert tuple(map(str, find_shapes(None, None))) == ("1x16", "1x128", "8x128")

    def test_typed_ones_must_fit(self) -> None:
        assert tuple(map(str, find_shapes("1x4,2x8", 12))) == ("1x4", "2x8")
        with pytest.raises(InputError, match=r"shape 1x999 is longer.*at most 12.*--shapes"):
            find_shapes("1x4,1x999", 12)


@pytest.fixture(scope="session")
def request_auto(classifier: str) -> ExportRequest:
    return ExportRequest(
        task="text-classification", model=classifier, targets=(AUTO,), shapes="1x4,2x8", threads=1
    )


@pytest.fixture(scope="module")
def done(request_auto: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export_request(
        request_auto, seconds=0.2, output=tmp_path_factory.mktemp("auto") / "bundle"
    )


@pytest.fixture
def two_targets(target_table: dict[str, Target]) -> Callable[[str], None]:
    """Leaves ONNX Runtime and, in OpenVINO's place, a target of another module."""

    def place(module: str) -> None:
        for name in target_table.keys() - {"onnxruntime", "openvino"}:
            del target_table[name]
        target_table["openvino"] = replace(
            target_table["openvino"], module=module, precisions=("fp32", "int8")
        )

    return place


class TestExport:
    def test_the_fastest_is_the_default(self, done: Export) -> None:
        auto_target = done.manifest.auto_target
        assert auto_target is not None
        assert auto_target.shapes == ("1x4", "2x8")
        assert auto_target.threads == 1
        assert done.manifest.default_target == auto_target.chosen
        tried = {candidate.target: candidate for candidate in auto_target.candidates}
        assert {"onnxruntime", "openvino"} <= set(tried)
        times = {
            name: candidate.milliseconds["1x4"] * candidate.milliseconds["2x8"]
            for name, candidate in tried.items()
            if candidate.refusal is None
        }
        assert min(times, key=lambda name: times[name]) == auto_target.chosen

    def test_the_bundle_is_whole_and_serves_all(self, done: Export) -> None:
        manifest = read_manifest(done.path)
        verify_files(done.path, manifest)
        assert manifest == done.manifest
        assert [path.name for path in done.path.parent.iterdir()] == ["bundle"]
        answers = []
        for engine in manifest.engines:
            with bert_export.load(done.path, target=engine.target) as pipeline:
                answers.append(pipeline.ask({"text": "a b c"}))
        assert {answer[0]["label"] for answer in answers} == {answers[0][0]["label"]}
        assert done.stages[-1].name == "time"

    def test_the_manifest_keeps_what_was_asked(
        self, done: Export, request_auto: ExportRequest
    ) -> None:
        request = msgspec.structs.replace(request_auto, max_length=32)
        assert done.manifest.request == request

    def test_it_is_what_named_targets_give(
        self, done: Export, tiny_export: Callable[..., Export]
    ) -> None:
        targets = tuple(engine.target for engine in done.manifest.engines)
        named = tiny_export(
            "text-classification", "BertForSequenceClassification", targets=targets, **LABELS
        )
        assert named.manifest.files == done.manifest.files

    def test_texts_without_a_mask_get_one(self, tiny: Callable[..., Path], tmp_path: Path) -> None:
        request = ExportRequest(
            task="fill-mask",
            model=str(tiny("BertForMaskedLM")),
            targets=(AUTO,),
            shapes="1x8",
            threads=1,
        )
        found = export_request(request, seconds=0.1, output=tmp_path / "bundle")
        assert found.manifest.auto_target is not None
        served = {engine.target for engine in found.manifest.engines}
        tried = found.manifest.auto_target.candidates
        assert all(one.refusal is None for one in tried if one.target in served)

    def test_what_cannot_be_is_said_before_anything_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: RecordingListener
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "text-classification-fp32").mkdir()
        for options in ({}, {"threads": 4096, "force": True}):
            with pytest.raises(BertExportError, match=r"exists already|threads do not fit"):
                export(
                    task="text-classification",
                    model="nowhere",
                    targets=AUTO,
                    listener=listener,
                    **options,
                )
        assert listener.stages == []

    def test_what_exists_is_kept(self, done: Export, request_auto: ExportRequest) -> None:
        before = read_manifest(done.path)
        with pytest.raises(BundleError, match="exists already"):
            export_request(request_auto, output=done.path)
        assert read_manifest(done.path) == before

    def test_shapes_longer_than_the_rows_are_refused_before_the_trace(
        self, request_auto: ExportRequest, tmp_path: Path, listener: RecordingListener
    ) -> None:
        request = msgspec.structs.replace(request_auto, shapes="1x4,1x999")
        with pytest.raises(InputError, match=r"shape 1x999 is longer.*--shapes"):
            export_request(request, output=tmp_path / "bundle", listener=listener)
        assert listener.stages == ["load"]
        assert not list(tmp_path.iterdir())


class TestRefusals:
    """One of two targets is refused: the head is traced and calibrated once all the same."""

    def export(
        self, request: ExportRequest, folder: Path, listener: RecordingListener, **options: Any
    ) -> Export:
        request = msgspec.structs.replace(request, **{"precision": "int8"} | options)
        return export_request(request, seconds=0.1, output=folder, listener=listener)

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            ("tests.targets.refusing", "graph cannot be taken"),  # before it is written
            ("tests.exporter.reversing", "gives other answers than the PyTorch head"),  # once open
        ],
    )
    def test_a_target_that_is_refused_is_left_out(
        self,
        module: str,
        message: str,
        two_targets: Callable[[str], None],
        request_auto: ExportRequest,
        listener: RecordingListener,
        tmp_path: Path,
    ) -> None:
        two_targets(module)
        assert [target.name for target in candidates("int8")] == ["onnxruntime", "openvino"]
        done = self.export(request_auto, tmp_path / "bundle", listener)
        once = ("load", "trace", "optimize", "calibrate", "reference", "time")
        assert {name: listener.stages.count(name) for name in once} == dict.fromkeys(once, 1)
        assert listener.stages.count("verify") == 1
        assert [engine.target for engine in done.manifest.engines] == ["onnxruntime"]
        verify_files(done.path, read_manifest(done.path))
        assert not (done.path / "openvino.onnx").exists()
        auto_target = done.manifest.auto_target
        assert auto_target is not None
        assert auto_target.chosen == "onnxruntime"
        served, left_out = auto_target.candidates
        assert (served.target, served.refusal) == ("onnxruntime", None)
        assert left_out.target == "openvino"
        assert left_out.milliseconds == {}
        assert message in str(left_out.refusal)

    def test_a_target_over_the_budget_is_left_out(
        self,
        two_targets: Callable[[str], None],
        request_auto: ExportRequest,
        listener: RecordingListener,
        tmp_path: Path,
    ) -> None:
        two_targets("tests.exporter.reversing")
        texts = tmp_path / "texts.txt"
        lines = [f"{who} {what}" for who in WORDS[5:15] for what in ("sat", "run")]
        texts.write_text("\n".join(lines), encoding="utf-8")
        budget = {"max_drop": 0.5, "eval_data": str(texts)}
        done = self.export(request_auto, tmp_path / "bundle", listener, **budget)
        once = ("trace", "calibrate", "search", "write", "verify")
        assert {name: listener.stages.count(name) for name in once} == dict.fromkeys(once, 1)
        assert [engine.target for engine in done.manifest.engines] == ["onnxruntime"]
        assert done.manifest.auto_target is not None
        assert "INT8 does not keep" in str(done.manifest.auto_target.candidates[-1].refusal)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "texts.txt"]

    def test_none_is_left(
        self,
        two_targets: Callable[[str], None],
        target_table: dict[str, Target],
        request_auto: ExportRequest,
        tmp_path: Path,
    ) -> None:
        two_targets("tests.targets.refusing")
        del target_table["onnxruntime"]
        with pytest.raises(TargetError, match="graph cannot be taken"):
            export_request(request_auto, output=tmp_path / "bundle")
        assert not list(tmp_path.iterdir())
