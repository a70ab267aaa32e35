"""Which of a bundle's engines answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bert_export.bundle import AutoTargetRecord, Manifest, read_manifest
from bert_export.runtime import engine_choice
from bert_export.runtime.engine_choice import choose_engine
from bert_export.runtime.sessions import native
from tests.bundle.small import write_small


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A bundle of three engines in one precision, the default first."""
    return served(tmp_path, "onnxruntime", "openvino", "native")


def served(folder: Path, *targets: str) -> Manifest:
    write_small(folder)
    manifest = read_manifest(folder)
    (engine,) = manifest.engines
    assert engine.parity is not None
    engines = tuple(msgspec.structs.replace(engine, target=target) for target in targets)
    return msgspec.structs.replace(manifest, engines=engines, default_target=targets[0])


@pytest.fixture
def stands(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda standing: monkeypatch.setattr(native, "standing", lambda: standing)


def test_what_was_measured_ahead_answers(manifest, stands):
    for standing, target in (
        ("ahead", "native"),
        ("able", "onnxruntime"),
        ("absent", "onnxruntime"),
    ):
        stands(standing)
        assert choose_engine(manifest, None).target == target


def test_a_named_target_is_taken(manifest, stands):
    stands("ahead")
    assert choose_engine(manifest, "openvino").target == "openvino"


def test_options_of_the_default_keep_it(manifest, stands):
    stands("ahead")
    assert choose_engine(manifest, None, options=("threads",)).target == "native"
    assert choose_engine(manifest, None, options=("threads", "providers")).target == "onnxruntime"


def test_a_default_that_was_found_by_timing_stays(manifest, stands):
    stands("ahead")
    record = AutoTargetRecord(
        chosen="onnxruntime", shapes=("1x16",), threads=1, processors=2, candidates=()
    )
    timed = msgspec.structs.replace(manifest, auto_target=record)
    assert choose_engine(timed, None).target == "onnxruntime"


@pytest.mark.parametrize("change", [{"parity": None}, {"precision": "bf16"}])
def test_what_is_no_equal_does_not_answer(manifest, stands, change):
    stands("ahead")
    *others, last = manifest.engines
    other = msgspec.structs.replace(last, **change)
    changed = msgspec.structs.replace(manifest, engines=(*others, other))
    assert choose_engine(changed, None).target == "onnxruntime"


def test_a_default_whose_graph_takes_texts_stays(manifest, stands):
    stands("ahead")
    first, *others = manifest.engines
    first = msgspec.structs.replace(first, text=first.graph)
    taking = msgspec.structs.replace(manifest, engines=(first, *others))
    assert choose_engine(taking, None).target == "onnxruntime"


def test_where_the_default_cannot_run_the_next_answers(tmp_path, stands, caplog):
    bundle = served(tmp_path, "native", "onnxruntime")
    stands("absent")
    with caplog.at_level("INFO", logger="bert_export"):
        assert choose_engine(bundle, None).target == "onnxruntime"
    assert caplog.messages == ["target onnxruntime answers: native is absent here"]
    alone = served(tmp_path, "native")
    assert choose_engine(alone, None).target == "native"  # and the session says what is missing


def test_the_next_is_one_that_is_installed(tmp_path, stands, monkeypatch):
    bundle = served(tmp_path, "native", "openvino", "onnxruntime")
    stands("absent")
    assert choose_engine(bundle, None).target == "openvino"
    monkeypatch.setattr(engine_choice, "find_spec", lambda name: name == "onnxruntime" or None)
    assert choose_engine(bundle, None).target == "onnxruntime"


def test_a_gpu_s_bundle_stays_there(tmp_path, stands):
    stands("ahead")
    bundle = served(tmp_path, "tensorrt", "native")
    assert choose_engine(bundle, None).target == "tensorrt"
