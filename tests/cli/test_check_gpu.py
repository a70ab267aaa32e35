"""``bert-export check-gpu`` as a user types it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bert_export.cli import main

TOOL = f"""#!{sys.executable}
print("NVIDIA L4, 8.9, 580.65, 23034")
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check-gpu", *arguments])


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's tool of a machine with a GPU."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(TOOL, encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = invoke()
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: this machine has no NVIDIA GPU to check: expected a GPU that ")


@pytest.mark.usefixtures("driver")
def test_engines_are_printed_and_written(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = str(tiny("BertForSequenceClassification", num_labels=3))
    output = tmp_path / "gpu.json"
    options = (
        *("--model", model, "--task", "text-classification", "--precision", "fp32"),
        *("--target", "onnxruntime", "--target", "onnxruntime-tensorrt"),
    )
    printed = invoke(*options, "--output", str(output))
    assert printed.exit_code == 1  # there is no GPU for one of them
    lines = printed.stdout.splitlines()
    assert lines[0].startswith("passed  onnxruntime fp32 text-classification  1x")
    assert lines[1] == "FAILED  onnxruntime-tensorrt fp32 text-classification"
    assert lines[2].startswith("        open: TargetError: target onnxruntime-tensorrt cannot run")
    assert lines[-1] == "1 of 2 engines passed"
    written = json.loads(output.read_bytes())
    assert written["gpu"]["name"] == "NVIDIA L4"
    assert [check["passed"] for check in written["checks"]] == [True, False]
    assert not written["passed"]


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_json_and_quiet(option: str, tiny: Callable[..., Path]) -> None:
    model = str(tiny("BertForSequenceClassification", num_labels=3))
    result = invoke(
        *("--model", model, "--task", "text-classification", "--target", "onnxruntime"),
        *("--precision", "fp32", option),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    if option == "--quiet":
        assert result.stdout == ""
    else:
        assert json.loads(result.stdout)["passed"]
