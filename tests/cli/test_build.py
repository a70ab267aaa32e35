"""``bert-export build``: a bundle gets another target, or stays as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import onnx_ir as ir
import pytest
from click.testing import CliRunner, Result

import bert_export
from bert_export.bundle import (
    AutoTargetRecord,
    CandidateRecord,
    read_manifest,
    verify_files,
    write_manifest,
)
from bert_export.cli import main
from bert_export.exporter import Export, text_graphs
from bert_export.targets.weights import WEIGHTS_FILE
from bert_export.text_input.check import check_tokenizer

pytest.importorskip("openvino")

HEAD = ("text-classification", "BertForSequenceClassification")
LABELS = {"num_labels": 3}


@pytest.fixture
def bundle(tiny_export: Callable[..., Export], tmp_path: Path) -> Path:
    return copied(tiny_export(*HEAD, **LABELS), tmp_path)


@pytest.fixture
def bundle_int8(tiny_export: Callable[..., Export], tmp_path: Path) -> Path:
    return copied(tiny_export(*HEAD, precision="int8", **LABELS), tmp_path)


def copied(done: Export, folder: Path) -> Path:
    return Path(shutil.copytree(done.path, folder / "bundle"))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["build", *map(str, arguments)])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestAdds:
    def test_a_target(self, bundle: Path) -> None:
        before = read_manifest(bundle)
        done = run(bundle, "--target", "openvino")
        assert done.exit_code == 0, done.stderr
        assert "serves onnxruntime fp32, openvino fp32" in done.stdout
        manifest = read_manifest(bundle)
        verify_files(bundle, manifest)
        assert manifest.default_target == "onnxruntime"
        assert manifest.engines[0] == before.engines[0]
        assert manifest.versions == before.versions
        assert manifest.engine("openvino").parity is not None
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]
        answers = []
        for target in ("onnxruntime", "openvino"):
            with bert_export.load(bundle, target=target) as pipeline:
                answers.append(pipeline.ask({"text": "a b"})[0])
        assert answers[0]["label"] == answers[1]["label"]
        assert answers[0]["score"] == pytest.approx(answers[1]["score"], abs=1e-4)

    def test_float_weights_are_not_stored_again(self, bundle: Path) -> None:
        before = read_manifest(bundle).files[WEIGHTS_FILE].bytes
        assert run(bundle, "--target", "openvino", "--quiet").exit_code == 0
        after = read_manifest(bundle).files[WEIGHTS_FILE].bytes
        assert before <= after <= before + before // 50

    def test_int8_weights_come_out_the_same(self, bundle_int8: Path) -> None:
        before = content(bundle_int8)
        assert run(bundle_int8, "--target", "openvino").exit_code == 0
        after = content(bundle_int8)
        assert after["onnxruntime.onnx"] == before["onnxruntime.onnx"]
        assert after[WEIGHTS_FILE].startswith(before[WEIGHTS_FILE])
        old, new = (int8_of(bundle_int8 / f"{name}.onnx") for name in ("onnxruntime", "openvino"))
        assert old
        assert old == new
        plans = [engine.quantization for engine in read_manifest(bundle_int8).engines]
        own, added = (plan.layers for plan in plans if plan is not None)
        replace = msgspec.structs.replace  # but for queries and keys, which meet in int8 there
        assert own == tuple(replace(layer, output_scale=None) for layer in added)

    def test_another_precision(self, bundle: Path) -> None:
        done = run(bundle, "--target", "openvino", "--precision", "bf16", "--json")
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)
        assert [(engine["target"], engine["precision"]) for engine in found["engines"]] == [
            ("onnxruntime", "fp32"),
            ("openvino", "bf16"),
        ]
        assert found["bytes"] == sum(
            record.bytes for record in read_manifest(bundle).files.values()
        )

    def test_anew_by_force(self, bundle: Path) -> None:
        before = content(bundle)
        assert run(bundle, "--target", "onnxruntime", "--force").exit_code == 0
        after = content(bundle)
        assert after[WEIGHTS_FILE] == before[WEIGHTS_FILE]
        assert len(read_manifest(bundle).engines) == 1

    @pytest.mark.parametrize(
        ("arguments", "kept"),
        [(("--target", "openvino"), True), (("--target", "onnxruntime", "--force"), False)],
    )
    def test_figures_go_with_a_target_that_is_made_anew(
        self, bundle: Path, arguments: tuple[str, ...], kept: bool
    ) -> None:
        tried = CandidateRecord(target="onnxruntime", precision="fp32", milliseconds={"1x4": 1.0})
        auto_target = AutoTargetRecord(
            chosen="onnxruntime", shapes=("1x4",), threads=1, processors=2, candidates=(tried,)
        )
        write_manifest(
            bundle, msgspec.structs.replace(read_manifest(bundle), auto_target=auto_target)
        )
        assert run(bundle, *arguments).exit_code == 0
        assert read_manifest(bundle).auto_target == (auto_target if kept else None)

    def test_made_anew_in_another_precision_leaves_no_dead_weights(self, bundle: Path) -> None:
        assert run(bundle, "--target", "openvino").exit_code == 0
        before = content(bundle)
        for precision in ("int8", "fp32"):
            done = run(bundle, "--target", "onnxruntime", "--precision", precision, "--force")
            assert done.exit_code == 0, done.stderr
            verify_files(bundle, read_manifest(bundle))
        assert len(content(bundle)[WEIGHTS_FILE]) == len(before[WEIGHTS_FILE])
        for target in ("onnxruntime", "openvino"):
            with bert_export.load(bundle, target=target) as pipeline:
                assert pipeline.ask({"text": "a b"})[0]["label"].startswith("LABEL_")

    def test_what_a_user_laid_beside_it_stays(self, bundle: Path) -> None:
        (bundle / "NOTES.md").write_text("mine")
        (bundle / "plots").mkdir()
        (bundle / "plots" / "a.svg").write_text("<svg/>")
        assert run(bundle, "--target", "openvino").exit_code == 0
        assert (bundle / "NOTES.md").read_text() == "mine"
        assert (bundle / "plots" / "a.svg").read_text() == "<svg/>"
        assert "NOTES.md" not in read_manifest(bundle).files
        verify_files(bundle, read_manifest(bundle))

    def test_through_a_link(self, bundle: Path) -> None:
        link = bundle.parent / "current"
        link.symlink_to(bundle.name)
        assert run(link, "--target", "openvino").exit_code == 0
        assert link.is_symlink()
        assert len(read_manifest(bundle).engines) == 2


class TestRefuses:
    """Each leaves the bundle byte for byte as it was."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--target", "onnxruntime"], "serves the target onnxruntime already"),
            (["--target", "abacus"], "target 'abacus' is unknown"),
            (
                ["--target", "openvino", "--precision", "fp16"],
                "target openvino has no precision fp16: expected one of fp32, bf16, int8",
            ),
            (["--target", "openvino", "--model", "nowhere"], "checkpoint nowhere"),
        ],
    )
    def test_arguments(self, bundle: Path, arguments: list[str], message: str) -> None:
        before = content(bundle)
        done = run(bundle, *arguments)
        misused = "abacus" in arguments or "fp16" in arguments
        assert done.exit_code == (2 if misused else 1)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert content(bundle) == before
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    def test_the_folder_that_it_runs_in(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = content(bundle)
        monkeypatch.chdir(bundle)
        done = run(".", "--target", "openvino")
        assert done.exit_code == 1
        assert "is the folder that this command runs in" in done.stderr
        assert content(bundle) == before


def int8_of(path: Path) -> set[bytes]:
    """The INT8 weights of a graph."""
    tensors = [value.const_value for value in ir.load(path).graph.initializers.values()]
    return {
        tensor.tobytes()
        for tensor in tensors
        if tensor is not None and tensor.dtype == ir.DataType.INT8 and tensor.size > 1
    }


class TestTextInput:
    def test_alone_it_needs_no_target(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        few = partial(check_tokenizer, hostile=20, max_lengths=(), code_points=False)
        monkeypatch.setattr(text_graphs, "check_tokenizer", few)
        done = run(bundle, "--text-input")
        assert done.exit_code == 0, done.stderr
        manifest = read_manifest(bundle)
        verify_files(bundle, manifest)
        assert manifest.request is not None
        assert manifest.request.text_input == "single"
        with bert_export.load(bundle) as pipeline:
            assert pipeline.run({"text": ["a", "b c"]})["logits"].shape == (2, 3)
        shown = CliRunner().invoke(main, ["inspect", str(bundle)])
        assert "onnxruntime.text.onnx" in shown.stdout
        # Another target comes later: what is there stays, and the request is kept.
        assert run(bundle, "--target", "openvino").exit_code == 0
        again = read_manifest(bundle)
        verify_files(bundle, again)
        assert [engine.text is None for engine in again.engines] == [False, True]
        assert again.request == manifest.request
        # Graphs that take texts are made once.
        done = run(bundle, "--text-pair-input")
        assert done.exit_code == 1
        assert "has a graph that takes texts already" in done.stderr
        assert "--target onnxruntime --force" in done.stderr
        assert read_manifest(bundle) == again

    def test_neither(self, bundle: Path) -> None:
        done = run(bundle)
        assert done.exit_code == 2
        assert "target is not given" in done.stderr

    def test_no_target_that_has_one(self, bundle: Path) -> None:
        manifest = read_manifest(bundle)
        engine = msgspec.structs.replace(manifest.engine(), target="openvino")
        other = msgspec.structs.replace(manifest, default_target="openvino", engines=(engine,))
        write_manifest(bundle, other)
        done = run(bundle, "--text-input")
        assert done.exit_code == 1
        assert "serves no target that has a graph that takes texts" in done.stderr
        assert "Add --target onnxruntime" in done.stderr

    def test_a_form_that_the_task_has_not(self, tiny_export, tmp_path: Path) -> None:
        done = tiny_export("token-classification", "BertForTokenClassification", **LABELS)
        folder = copied(done, tmp_path)
        before = content(folder)
        done = run(folder, "--text-pair-input")
        assert done.exit_code == 1
        assert "text input does not fit the task token-classification" in done.stderr
        assert content(folder) == before
