"""An export for the native target: what stands in the bundle, and what is missing without it.

A program's interpreter stands for the compiled module, whose protocol it has; ``tests/cpp`` exports
with the module itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx_ir as ir
import pytest
from click.testing import CliRunner

import bert_export
from bert_export.bundle import read_bundle, read_manifest
from bert_export.bundle.program import read_program
from bert_export.cli import main
from bert_export.errors import MissingExtraError, TargetError
from bert_export.exporter import export
from bert_export.exporter.add_targets import build
from bert_export.runtime import native
from bert_export.runtime.engine_choice import choose_engine
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions import native as sessions_native
from bert_export.runtime.sessions.session import RaggedSession
from bert_export.tasks.text_generation import TASK as GENERATION
from tests.targets.native.interpreter import Interpreter

TEXTS = ["the cat sat on the mat", "a", "running " * 12]


def absent() -> tuple[None, str]:
    return None, "is not built"


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter, in the compiled module's place."""

    def open_program(program: str, *_: Any, **__: Any) -> Interpreter:
        return Interpreter(Path(program))

    module = SimpleNamespace(Program=open_program, native_isas=lambda: ["reference"])
    monkeypatch.setenv(native.SWITCH, "0")
    monkeypatch.setattr(native, "_built_module", lambda: (module, ""))


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, on a machine where it was measured ahead."""
    monkeypatch.setattr(native._built_module()[0], "native_isas", lambda: ["amx"])


@pytest.fixture
def model(tiny: Callable[..., Path]) -> str:
    return str(tiny("BertForSequenceClassification", num_labels=3))


@pytest.mark.usefixtures("interpreted")
def test_two_engines_over_the_same_weights(model: str, tmp_path: Path) -> None:
    options: Any = {"task": "text-classification", "model": model, "precision": "int8"}
    alone = export(**options, output=tmp_path / "alone")
    both = build(alone.path, "native")
    engine = both.manifest.engine("native")
    assert engine.graph.file == "native.json"
    assert engine.parity is not None
    assert engine.parity.agreement >= engine.parity.min_agreement
    program = read_program(both.path / engine.graph.file)
    quantized = [name for name, tensor in program.tensors.items() if tensor.dtype == "int8"]
    assert len(quantized) == 2 * 6 + 2  # of two layers, the pooler and the word table
    graph = ir.load(both.path / "onnxruntime.onnx").graph
    stored = [value.const_value for value in graph.initializers.values()]
    shared = {one.offset for one in stored if isinstance(one, ir.ExternalTensor)}
    assert len(shared) >= 1
    assert shared <= {tensor.offset for tensor in program.tensors.values()}
    assert read_manifest(both.path).default_target == "onnxruntime"
    answers = []
    for target in ("onnxruntime", "native"):
        with bert_export.load(both.path, target=target, threads=1) as pipeline:
            rows = pipeline(TEXTS, top_k=None)
            answers.append([{one["label"]: one["score"] for one in row} for row in rows])
    for left, right in zip(*answers, strict=True):
        assert left == pytest.approx(right, abs=0.02)


@pytest.mark.usefixtures("interpreted")
def test_rows_go_in_as_they_are(model: str, tmp_path: Path, monkeypatch: Any) -> None:
    done = export(
        task="text-classification", model=model, targets=("native",), output=tmp_path / "bundle"
    )
    with bert_export.load(done.path, threads=1) as pipeline:
        assert isinstance(pipeline, Pipeline)
        session = pipeline._session
        assert isinstance(session, RaggedSession)
        monkeypatch.setattr(session, "run", None)  # padded rows never come
        seen: list[list[int]] = []
        ragged = session.run_ragged
        monkeypatch.setattr(
            session,
            "run_ragged",
            lambda feeds: (seen.append(feeds["lengths"].tolist()), ragged(feeds))[1],
        )
        together = pipeline(TEXTS)
        assert len(seen) == 1
        assert len(set(seen[0])) == 3
        for text, found in zip(TEXTS, together, strict=True):
            (alone,) = pipeline(text)
            assert found == {"label": alone["label"], "score": pytest.approx(alone["score"])}


@pytest.mark.usefixtures("interpreted")
def test_what_a_program_cannot_hold_is_refused_before_there_is_a_bundle(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    model = str(tiny("BertForSequenceClassification", hidden_act="quick_gelu"))
    with pytest.raises(TargetError, match="cannot be held by a program of target native"):
        export(
            task="text-classification", model=model, targets=("native",), output=tmp_path / "bundle"
        )
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("interpreted")
def test_a_causal_head_keeps_its_keys_and_values(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = str(tiny("BertLMHeadModel", is_decoder=True))
    both = export(
        task=GENERATION.name,
        model=model,
        targets=("onnxruntime", "native"),
        precision="fp32",
        output=tmp_path / "bundle",
    )
    engine = both.manifest.engine("native")
    program = read_program(both.path / engine.graph.file)
    assert (program.schema, len(program.caches)) == (2, 2)
    assert [spec.name for spec in engine.graph.outputs][1:3] == ["present.0.key", "present.0.value"]
    prompts = ["the cat sat", "running on the", "a"]
    answers = []
    for target in ("onnxruntime", "native"):
        with bert_export.load(both.path, target=target, threads=1) as pipeline:
            answers.append(
                [pipeline(prompts, max_new_tokens=9, num_beams=beams) for beams in (1, 3)]
            )
    assert answers[0] == answers[1]


def test_without_the_module_one_line_says_how_to_get_it(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_built_module", absent)
    with pytest.raises(MissingExtraError) as refused:
        export(
            task="text-classification", model=model, targets=("native",), output=tmp_path / "bundle"
        )
    assert str(refused.value) == (
        "target native needs the compiled module, which is not built. "
        "Run: pip install 'bert-export[native]' && bert-export cpp --native."
    )


@pytest.mark.usefixtures("interpreted", "ahead")
def test_where_it_is_ahead_int8_comes_with_it(model: str, tmp_path: Path) -> None:
    options: Any = {"task": "text-classification", "model": model, "precision": "int8"}
    done = export(**options, output=tmp_path / "bundle")
    manifest = read_manifest(done.path)
    assert [engine.target for engine in manifest.engines] == ["onnxruntime", "native"]
    assert manifest.default_target == "onnxruntime"
    assert manifest.request is not None
    assert manifest.request.targets == ("onnxruntime", "native")
    assert done.left_out == ()
    assert choose_engine(manifest, None).target == "native"
    told = CliRunner().invoke(main, ["inspect", str(done.path)])
    assert "native int8 (answers on this machine)" in told.stdout
    plain = export(task="text-classification", model=model, output=tmp_path / "float")
    assert [engine.target for engine in plain.manifest.engines] == ["onnxruntime"]


@pytest.mark.usefixtures("interpreted", "ahead")
def test_what_it_cannot_hold_is_exported_without_it_and_said(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    model = str(tiny("BertForSequenceClassification", hidden_act="quick_gelu"))
    folder = tmp_path / "bundle"
    command = ["--model", model, "--int8", "-o", str(folder)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.stderr
    assert re.search(
        "^left out, though it is ahead on this processor: .* cannot be held by a program of "
        "target native",
        done.stderr,
        re.MULTILINE,
    )
    manifest = read_manifest(folder)
    assert [engine.target for engine in manifest.engines] == ["onnxruntime"]
    assert manifest.request is not None
    assert manifest.request.targets == ("onnxruntime",)
    assert not (folder / "native.json").exists()
    assert read_bundle(folder).files.keys() == {
        "onnxruntime.onnx",
        "tokenizer.json",
        "weights.data",
    }
    again = CliRunner().invoke(main, [*command, "--force", "--json"])
    (left_out,) = json.loads(again.stdout)["left_out"].items()
    assert left_out[0] == "native"
    named = CliRunner().invoke(main, [*command, "--force", "--target", "native"])
    assert named.exit_code == 1
    assert "cannot be held" in named.stderr


def test_where_it_would_be_ahead_the_export_says_how_to_get_it(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_built_module", absent)
    monkeypatch.setattr(sessions_native, "processor_flags", lambda: {"amx_int8", "amx_tile"})
    options: Any = {"task": "text-classification", "model": model, "precision": "int8"}
    done = export(**options, output=tmp_path / "bundle")
    assert [engine.target for engine in done.manifest.engines] == ["onnxruntime"]
    (refusal,) = done.left_out
    assert str(refusal.error).startswith("target native needs the compiled module")
    named = export(**options, targets="onnxruntime", output=tmp_path / "named")
    assert named.left_out == ()
