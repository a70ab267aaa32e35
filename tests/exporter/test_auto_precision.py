"""``--precision auto``: every precision is tried, what breaks the budget is dropped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import bert_export
from bert_export.bundle import AUTO, read_manifest, verify_files
from bert_export.errors import VerificationError
from bert_export.exporter import ExportRequest, export_request
from bert_export.runtime import native
from bert_export.targets import Target
from tests.exporter import reversing
from tests.exporter.conftest import RecordingListener
from tests.oracle import WORDS


@pytest.fixture
def reversed_target(
    target_table: dict[str, Target], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Target]:
    """In OpenVINO's place a target of FP32 and BF16 that answers the opposite."""
    monkeypatch.setattr(reversing, "RECIPES", {"fp32": (), "bf16": ()})
    target_table["openvino"] = replace(
        target_table["openvino"], module="tests.exporter.reversing", precisions=("fp32", "bf16")
    )
    return target_table


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "texts.txt"
    lines = [f"{who} {what}" for who in WORDS[5:15] for what in ("sat", "run")]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.mark.usefixtures("reversed_target")
def test_the_fastest_that_keeps_the_budget(
    classifier: str,
    texts: str,
    listener: RecordingListener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "_built_module", lambda: (None, "is not built"))
    request = ExportRequest(
        task="text-classification",
        model=classifier,
        precision=AUTO,
        targets=(AUTO,),
        shapes="1x4",
        threads=1,
        max_drop=0.5,
        eval_data=texts,
    )
    path = tmp_path / "bundle"
    done = export_request(request, seconds=0.1, output=path, listener=listener)
    # One trace, one calibration and one reference serve all precisions.
    once = ("load", "trace", "optimize", "calibrate", "reference", "time")
    assert {name: listener.stages.count(name) for name in once} == dict.fromkeys(once, 1)
    manifest = read_manifest(path)
    verify_files(path, manifest)
    assert manifest == done.manifest
    assert manifest.request is not None
    assert manifest.request.precision == AUTO
    # What was tried: an engine per precision, and why the others are left out.
    assert manifest.auto_target is not None
    tried = {(one.target, one.precision): one for one in manifest.auto_target.candidates}
    times = {pair: one.milliseconds["1x4"] for pair, one in tried.items() if one.refusal is None}
    assert set(times) == {("onnxruntime", "fp32"), ("onnxruntime", "int8")}
    reasons = {pair: str(tried[pair].refusal) for pair in tried.keys() - times.keys()}
    assert set(reasons) == {("openvino", "fp32"), ("openvino", "bf16"), ("native", AUTO)}
    assert "graph differs from the PyTorch head" in reasons["openvino", "fp32"]
    assert "BF16 does not keep the share of equal labels" in reasons["openvino", "bf16"]
    assert "expected a drop of at most 50 points, got" in reasons["openvino", "bf16"]
    assert "bert-export cpp --native" in reasons["native", AUTO]
    # The bundle holds the fastest alone.
    (engine,) = manifest.engines
    assert (engine.target, engine.precision) in times
    assert engine.target == manifest.auto_target.chosen == manifest.default_target
    assert (engine.quantization is not None) == (engine.precision == "int8")
    assert sorted(file.name for file in path.iterdir()) == [
        *("manifest.json", "onnxruntime.onnx", "tokenizer.json", "weights.data")
    ]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bundle", "texts.txt"]
    with bert_export.load(path) as pipeline:
        assert pipeline.ask({"text": "a b c"})


def test_none_is_left(reversed_target: dict[str, Target], classifier: str, tmp_path: Path) -> None:
    for name in reversed_target.keys() - {"openvino"}:
        del reversed_target[name]
    request = ExportRequest(
        task="text-classification", model=classifier, precision=AUTO, targets=("openvino",)
    )
    with pytest.raises(VerificationError, match="gives other answers than the PyTorch head"):
        export_request(request, output=tmp_path / "bundle")
    assert not list(tmp_path.iterdir())
