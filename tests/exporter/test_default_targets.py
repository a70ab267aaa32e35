"""What an export that names no target is for, by what stands how on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bert_export.bundle import EngineOptions, ExportRequest, QuantizationOptions
from bert_export.errors import MissingExtraError
from bert_export.exporter import check_request
from bert_export.exporter.default_targets import default_targets, targets_to_build
from bert_export.runtime import native as compiled
from bert_export.runtime import processor
from bert_export.runtime.processor import detect_processor
from bert_export.runtime.sessions import native
from bert_export.tasks.text2text_generation import TASK as TEXT2TEXT

AHEAD, ALONE = ("onnxruntime", "native"), ("onnxruntime",)


@pytest.fixture
def stands(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda standing: monkeypatch.setattr(native, "standing", lambda: standing)


def request(**options: Any) -> ExportRequest:
    return ExportRequest(**{"task": "token-classification", "precision": "int8"} | options)


@pytest.mark.parametrize("standing", ["ahead", "able", "unbuilt", "absent"])
def test_what_is_ahead_here_comes_to_the_one_that_is_everywhere(
    stands: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, standing: str
) -> None:
    monkeypatch.setattr(compiled, "_built_module", lambda: (SimpleNamespace(), ""))
    stands(standing)
    assert default_targets(request()) == (AHEAD if standing == "ahead" else ALONE)
    assert check_request(request()).targets == default_targets(request())
    assert check_request(request(targets=("openvino",))).targets == ("openvino",)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp32"},
        {"precision": "auto"},
        {"quantization": QuantizationOptions(mode="dynamic")},
        {"text_input": True},
        {"engines": EngineOptions()},
        {"cpu": "arm64"},
        {"task": TEXT2TEXT.name},
    ],
)
@pytest.mark.parametrize("standing", ["ahead", "unbuilt"])
def test_nothing_comes_to_what_was_not_measured(
    stands: Callable[[str], None], standing: str, options: dict[str, Any]
) -> None:
    stands(standing)
    assert default_targets(request(**options)) == ALONE
    assert targets_to_build(request(**options)) == ()


@pytest.mark.parametrize(
    "options",
    [
        {"task": None},
        {"quantization": QuantizationOptions()},
        {"cpu": detect_processor()},
        {"max_drop": 0.01, "eval_data": "data.jsonl"},
    ],
)
def test_other_options_change_nothing(
    stands: Callable[[str], None], options: dict[str, Any]
) -> None:
    stands("ahead")
    assert default_targets(request(**options)) == AHEAD


def test_what_would_be_ahead_if_it_were_built_says_so(
    stands: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_built_module", lambda: (None, "is not built"))
    stands("unbuilt")
    (refusal,) = targets_to_build(request())
    assert refusal.target == "native"
    assert isinstance(refusal.error, MissingExtraError)
    assert "which is not built. Run: pip install" in str(refusal.error)
    stands("able")
    assert targets_to_build(request()) == ()


@pytest.mark.parametrize(
    ("flags", "isas", "standing"),
    [
        ("amx_tile amx_int8 avx2", ["amx", "avx2"], "ahead"),
        ("amx_tile amx_int8 avx2", ["avx512_vnni", "avx2"], "able"),  # it is forced to another
        ("avx2", ["avx2"], "able"),
        ("amx_tile amx_int8 avx2", None, "unbuilt"),
        ("amx_tile avx2", None, "absent"),
        ("", None, "absent"),
    ],
)
def test_how_our_kernels_stand(
    monkeypatch: pytest.MonkeyPatch, flags: str, isas: list[str] | None, standing: str
) -> None:
    module = None if isas is None else SimpleNamespace(native_isas=lambda: isas)
    monkeypatch.setattr(compiled, "_built_module", lambda: (module, "is not built"))
    monkeypatch.setattr(native, "processor_flags", lambda: frozenset(flags.split()))
    assert native.standing() == standing


def test_flags_are_those_of_the_first_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: x\nflags\t\t: fpu avx2\n\nflags\t\t: other\n", encoding="utf-8")
    monkeypatch.setattr(processor, "_CPUINFO", file)
    assert processor.processor_flags() == {"fpu", "avx2"}
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    assert processor.processor_flags() == set()
