"""What is made of the answers of nvidia-smi, with a tool that gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bert_export.targets import gpu as module
from bert_export.targets.gpu import Gpu, find_gpu

A10 = "NVIDIA A10, 8.6, 570.1, 23028"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def tool(folder: Path, content: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o755)


def says(folder: Path, answer: str) -> None:
    tool(folder, f"#!/bin/sh\necho \"$@\" > {folder}/asked\nprintf '{answer}\\n'\n")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (A10, Gpu("NVIDIA A10", "SM86", "570.1", 23028)),
        ("NVIDIA GB10, 12.1, 580.1, [N/A]", Gpu("NVIDIA GB10", "SM121", "580.1", None)),
        ("NVIDIA A10, [N/A], 570.1, 23028", None),
        ("NVIDIA A10, 8, 570.1, 23028", None),
        ("No devices were found", None),
        ("\\377, 8.6, 570.1, 1", Gpu("\ufffd", "SM86", "570.1", 1)),
        ("", None),
    ],
)
def test_answers(folder: Path, answer: str, found: Gpu | None) -> None:
    says(folder, answer)
    assert find_gpu() == found


@pytest.mark.parametrize("content", ["#!/no/such/interpreter\n", "\x7fELF broken"])
def test_a_tool_that_cannot_run_is_no_gpu(folder: Path, content: str) -> None:
    tool(folder, content)
    assert find_gpu() is None


def test_a_driver_that_hangs_is_no_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    tool(folder, "#!/bin/sh\nexec sleep 30\n")
    assert find_gpu() is None


@pytest.mark.parametrize(
    ("visible", "named"),
    [
        (None, ""),
        ("1", "--id=1"),
        ("GPU-12ab, 0", "--id=GPU-12ab"),
        ("MIG-12ab", ""),
    ],
)
def test_the_first_that_cuda_may_use_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, named: str
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    says(folder, A10)
    assert find_gpu() is not None
    asked = (folder / "asked").read_text(encoding="utf-8").strip()
    assert asked.partition("nounits")[2].strip() == named


def test_none_may_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    says(folder, A10)
    assert find_gpu() is None
