"""Engines that are too old are refused with the version that is needed and how to get it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import onnxruntime
import pytest

import bert_export
from bert_export.bundle import GraphRecord
from bert_export.errors import TargetError
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession
from bert_export.runtime.sessions.versions import OLDEST_VERSIONS, check_version

PYPROJECT = Path(bert_export.__file__).parents[1] / "pyproject.toml"


@pytest.mark.parametrize(
    ("distribution", "found"),
    [
        ("onnxruntime", "1.25.0"),
        ("onnxruntime", "1.25"),
        ("onnxruntime", "1.25.0.dev20260101"),
        ("onnxruntime", "2.0"),
        ("onnxruntime-gpu", "1.25.1"),
        ("openvino", "2026.3.0-21903-52ddc073857-releases/2026/3"),
        ("openvino", "2027.0"),
        ("tensorrt", "11.0.0.114"),
        ("tensorrt-rtx", "1.7.1.116"),
    ],
)
def test_new_enough(distribution: str, found: str) -> None:
    check_version(distribution, found)


@pytest.mark.parametrize(
    ("distribution", "found"),
    [
        ("onnxruntime", "1.23.2"),
        ("onnxruntime", "1.24.1"),
        ("onnxruntime", "1.24.4"),
        ("onnxruntime-gpu", "1.24.1"),
        ("openvino", "2026.2.1-21903-52ddc073857-releases/2026/2"),
        ("openvino", "2025.4.1"),
        ("tensorrt", "10.16.1.11"),
        ("tensorrt-rtx", "1.6.1.120"),
        ("openvino", "custom_branch_0"),
        ("tensorrt", None),
    ],
)
def test_too_old(distribution: str, found: str | None) -> None:
    oldest = OLDEST_VERSIONS[distribution]
    text = (
        f"{distribution} {found} is too old for bundles of this bert-export: expected "
        f"{distribution} {oldest} or later, got {found}. "
        f"Run: pip install '{distribution}>={oldest}'."
    )
    with pytest.raises(TargetError, match=re.escape(text)):
        check_version(distribution, found)


def test_pyproject_asks_for_the_same() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"]]
    for requirements in project["optional-dependencies"].values():
        asked += requirements
    for distribution, oldest in OLDEST_VERSIONS.items():
        floors = [line for line in asked if line.startswith(f"{distribution}>=")]
        if distribution == "onnxruntime-gpu":  # beside it no onnxruntime may be installed
            assert not floors
        else:
            assert floors
            assert {floor.split(">=")[1] for floor in floors} == {oldest}


def test_onnxruntime_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.24.1")
    with pytest.raises(TargetError, match=r"onnxruntime(-gpu)? 1\.24\.1 is too old"):
        OnnxRuntimeSession(tmp_path / "graph.onnx")


def test_openvino_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    from bert_export.runtime.sessions.openvino import OpenVinoSession

    monkeypatch.setattr(openvino, "__version__", "2026.2.1-1-a")
    graph = GraphRecord(file="graph.onnx", opset=20, inputs=(), outputs=())
    with pytest.raises(TargetError, match=r"openvino 2026\.2\.1-1-a is too old"):
        OpenVinoSession(tmp_path / "graph.onnx", graph)
