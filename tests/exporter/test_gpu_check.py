"""The check of a GPU, as far as a processor shows it: the same steps over engines that run here."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_export.errors import InputError, TargetError, TaskError
from bert_export.exporter import Export
from bert_export.exporter.gpu_check import (
    BOUNDS,
    EngineCheck,
    _check_apart,
    _compare,
    _relative_error,
    _switch_profiles,
    check_engine,
    check_gpu,
)
from bert_export.runtime.loading import load
from bert_export.runtime.sessions.session import Feeds, Outputs, Session
from bert_export.targets import TARGETS
from bert_export.targets.gpu import Gpu

DYING = Path(__file__).with_name("dying_worker.py")
GPU = Gpu("NVIDIA L4", "SM89", "580.65", 23034)


@pytest.fixture
def model(tiny: Callable[..., Path]) -> str:
    return str(tiny("BertForSequenceClassification", num_labels=3))


def test_a_machine_without_a_gpu_is_refused() -> None:
    with pytest.raises(TargetError, match="this machine has no NVIDIA GPU to check: expected"):
        check_gpu(find=lambda: None)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"targets": ("abacus",)}, InputError, "target 'abacus' is unknown"),
        ({"precisions": ("fp4",)}, InputError, "precision fp4 is in none of the targets"),
        ({"tasks": ("poetry",)}, TaskError, "task 'poetry' is unknown"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_runs(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_gpu(find=lambda: GPU, **options)


def test_every_engine_is_checked_and_told(model: str) -> None:
    heard: list[EngineCheck] = []
    result = check_gpu(
        model=model,
        targets=("onnxruntime", "onnxruntime-cuda"),
        precisions=("fp32",),
        tasks=("text-classification",),
        find=lambda: GPU,
        report=heard.append,
    )
    assert tuple(heard) == result.checks
    assert [check.target for check in result.checks] == ["onnxruntime", "onnxruntime-cuda"]
    assert result.gpu == GPU
    assert result.versions["onnxruntime"]
    runs, absent = result.checks
    assert runs.passed
    names = [step.name for step in runs.steps]
    assert names[:4] == ["export", "open", "outputs", "profiles in turn"]
    assert all(name.startswith("latency ") for name in names[4:])
    assert len(names) > 4
    for step in runs.steps[4:]:
        assert step.facts["median_ms"] > 0
    for error in runs.steps[2].facts.values():
        assert error <= BOUNDS["fp32"]
    # No GPU is here: the step that needs one says so, and is the last.
    assert not absent.passed
    assert not result.passed
    assert {step.name: step.passed for step in absent.steps} == {"export": True, "open": False}
    assert "onnxruntime-cuda cannot run" in str(absent.steps[-1].reason)


def test_an_engine_is_built_before_it_is_opened(model: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    steps = check_engine(
        {
            "model": model,
            "target": "tensorrt-rtx",
            "precision": "fp16",
            "task": "text-classification",
        }
    )["steps"]
    # This machine has no GPU that the builder could be told of.
    assert {step["name"]: step["passed"] for step in steps} == {"export": True, "build": False}
    assert "expected --sm" in steps[-1]["reason"] or "NVIDIA GPU" in steps[-1]["reason"]


def test_a_process_that_dies_is_a_reason(model: str) -> None:
    check = _check_apart(model, "onnxruntime", "fp32", "text-classification", worker=DYING)
    (step,) = check.steps
    assert (step.name, step.passed, check.passed) == ("process", False, False)
    assert "ended with status" in str(step.reason)


class Altered:
    """A session whose outputs are changed after the first call."""

    def __init__(self, session: Session, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.inputs, self.outputs = session.inputs, session.outputs
        self._session, self._change, self._calls = session, change, 0

    def run(self, feeds: Feeds) -> Outputs:
        outputs = self._session.run(feeds)
        self._calls += 1
        if self._calls == 1:
            return outputs
        return {name: self._change(array) for name, array in outputs.items()}

    def close(self) -> None:
        self._session.close()


@pytest.fixture
def bundle(tiny_export: Callable[..., Export]) -> Path:
    return tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda array: array + 1, "outputs at .* differ from the same graph's"),
        (lambda array: np.full_like(array, np.nan), "at most 0.01, got nan"),
    ],
)
def test_outputs_that_differ_are_told(
    bundle: Path, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    facts: dict[str, Any] = {}
    with load(bundle) as pipeline:
        pipeline._session = Altered(pipeline._session, change)
        with pytest.raises(TargetError, match=message):
            _compare(bundle, pipeline, facts)
    first, second = facts.values()
    assert first == 0
    assert not second <= BOUNDS["fp32"]


def test_outputs_that_change_after_another_profile_are_told(bundle: Path) -> None:
    with load(bundle) as pipeline:
        longest = pipeline.tokenizer.max_length
        _switch_profiles(pipeline, longest)
        pipeline._session = Altered(pipeline._session, lambda array: np.nextafter(array, 9))
        with pytest.raises(TargetError, match="outputs logits changed after another profile"):
            _switch_profiles(pipeline, longest)


def test_the_error_is_relative_and_the_worst_output_counts() -> None:
    expected = {"a": np.full((2, 3), 10, np.float32), "b": np.full(4, 0.1, np.float32)}
    outputs = {"a": expected["a"] + 1, "b": expected["b"] + np.float32(0.05)}
    assert math.isclose(_relative_error(outputs, expected), 0.5, rel_tol=1e-5)
    assert math.isnan(_relative_error(outputs | {"a": outputs["a"] * np.nan}, expected))


def test_every_precision_has_a_bound() -> None:
    assert BOUNDS.keys() == {name for target in TARGETS.values() for name in target.precisions}
