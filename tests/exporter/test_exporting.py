"""The main job end to end: checkpoint in, verified bundle out, answers like the original's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
import transformers

import bert_export
from bert_export.bundle import (
    SCHEMA_VERSION,
    EngineOptions,
    EngineRecord,
    ExportRequest,
    read_manifest,
    verify_files,
)
from bert_export.errors import BundleError, CalibrationError, InputError, TaskError
from bert_export.exporter import Export, Stage, export, export_request
from bert_export.tasks import TASKS
from tests.exporter.conftest import RecordingListener
from tests.oracle import random_batch
from tests.support import ONE_GRAPH

pytestmark = pytest.mark.long

LABELS = {"num_labels": 3}
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "feature-extraction": ("BertModel", {}),
    "fill-mask": ("BertForMaskedLM", {}),
    "text-classification": ("BertForSequenceClassification", LABELS),
    "zero-shot-classification": (
        "BertForSequenceClassification",
        {
            "id2label": {0: "contradiction", 1: "neutral", 2: "entailment"},
            "max_position_embeddings": 128,  # room for letters: the tiny vocabulary spells words
            "model_max_length": 128,
        },
    ),
    "token-classification": ("BertForTokenClassification", LABELS),
    "question-answering": ("BertForQuestionAnswering", {}),
    "multiple-choice": ("BertForMultipleChoice", {}),
    "next-sentence-prediction": ("BertForNextSentencePrediction", {}),
    "pretraining": (
        "BertForPreTraining",
        {"max_position_embeddings": 128, "model_max_length": 128},
    ),
    "text-generation": ("BertLMHeadModel", {"is_decoder": True}),
}


def test_every_task_with_a_head_of_its_own_is_tried() -> None:
    assert set(HEADS) == set(ONE_GRAPH) - {"sentence-embedding"}


@pytest.mark.parametrize("task", sorted(HEADS))
def test_bundle_equals_the_original(
    task: str, tiny: Callable[..., Path], tiny_export: Callable[..., Export]
) -> None:
    cls_name, config = HEADS[task]
    done = tiny_export(task, cls_name, **config)
    original = getattr(transformers, cls_name).from_pretrained(
        tiny(cls_name, **config), attn_implementation="eager"
    )
    original.eval()
    with bert_export.load(done.path) as pipeline:
        inputs = random_batch(60, (9, 1, 4))
        if task == "multiple-choice":
            inputs = tuple(tensor.unsqueeze(1).repeat(1, 3, 1) for tensor in inputs)
        names = ("input_ids", "attention_mask", "token_type_ids")
        feeds = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        if task == "fill-mask":
            feeds["masked_positions"] = np.array([2, 9, 18, 21])
        found = pipeline.run(feeds)
        with torch.inference_mode():
            expected = original(**dict(zip(names, inputs, strict=True)))
        outputs = tuple(output.name for output in TASKS[task].outputs)
        assert tuple(name for name in found if not name.startswith("present.")) == outputs
        for name in outputs:
            array = found[name]
            right = expected[name].numpy()
            if task == "fill-mask":
                right = right[[0, 1, 2, 2], [2, 0, 0, 3]]
            elif task == "text-generation":
                right = right[[0, 1, 2], [8, 0, 3]]
            np.testing.assert_allclose(array, right, atol=1e-4)
        assert pipeline.ask(dict(TASKS[task].example)) is not None
    parity = done.manifest.engine().parity
    assert parity is not None
    assert parity.max_abs_difference <= 1e-4


def test_manifest_tells_what_a_service_must_know(tiny_export: Callable[..., Export]) -> None:
    done = tiny_export("text-classification", "BertForSequenceClassification", **LABELS)
    manifest = read_manifest(done.path)
    assert manifest == done.manifest
    verify_files(done.path, manifest)
    assert sorted(manifest.files) == ["onnxruntime.onnx", "tokenizer.json", "weights.data"]
    assert manifest.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    graph = manifest.engine().graph
    assert graph.inputs[0].shape == ("batch", "sequence")
    assert graph.outputs[0].shape == ("batch", 3)
    assert manifest.tokenizer.max_length == 32
    assert manifest.model.num_hidden_layers == 2
    assert set(manifest.versions) >= {"bert-export", "torch", "onnxruntime"}
    onnx.checker.check_model(str(done.path / graph.file))


def test_stages_are_heard_in_order(tiny: Callable[..., Path], tmp_path: Path) -> None:
    heard: list[str] = []

    class Listener:
        def start(self, stage: str) -> None:
            heard.append(f"start {stage}")

        def advance(self, done: int, total: int) -> None:
            assert 0 < done <= total

        def finish(self, stage: Stage) -> None:
            assert stage.seconds >= 0
            heard.append(f"finish {stage.name}")

    done = export(
        task="feature-extraction",
        model=str(tiny("BertModel")),
        output=tmp_path / "bundle",
        listener=Listener(),
    )
    names = [stage.name for stage in done.stages]
    assert heard == [f"{what} {name}" for name in names for what in ("start", "finish")]
    assert names[0] == "load"
    assert names[-1] == "verify"


def test_int8_covers_the_encoder_and_says_so(embedding_int8: Export, minilm: Path) -> None:
    manifest = embedding_int8.manifest
    engine = manifest.engine()
    plan = engine.quantization
    assert plan is not None
    assert len(plan.layers) == 6 * 6 + 1  # and the word embeddings
    assert {layer.precision for layer in plan.layers} == {"int8"}
    assert plan.calibration.source == "sentence-embedding"
    assert plan.calibration.examples >= 128
    types = [node.op_type for node in onnx.load(embedding_int8.path / engine.graph.file).graph.node]
    assert "MatMulIntegerToFloat" in types
    assert engine.parity is not None
    assert engine.parity.agreement >= 0.995
    fp32 = (minilm / "model.safetensors").stat().st_size
    assert manifest.files["weights.data"].bytes < 0.3 * fp32


def test_int8_export_is_repeatable(embedding_int8: Export, minilm: Path, tmp_path: Path) -> None:
    again = export(
        task="sentence-embedding",
        model=str(minilm),
        output=tmp_path / "again",
        precision="int8",
    )
    assert again.manifest.files == embedding_int8.manifest.files


def test_int8_answers_do_not_depend_on_neighbours(embedding_int8: Export) -> None:
    texts = ["short", "a text of some more words than the first", "x " * 150]
    with bert_export.load(embedding_int8.path) as pipeline:
        together = pipeline(texts)
        alone = np.stack([pipeline(text) for text in texts])
    assert (together * alone).sum(axis=1).min() > 0.9999


def test_a_missing_head_is_refused_and_leaves_nothing(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match="qa_outputs"):
        export(
            task="question-answering",
            model=str(tiny("BertForMaskedLM")),
            output=tmp_path / "bundle",
        )
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_kept_unless_forced(
    tiny: Callable[..., Path], tiny_export: Callable[..., Export], tmp_path: Path
) -> None:
    old = tmp_path / "bundle"
    shutil.copytree(tiny_export("feature-extraction", "BertModel").path, old)
    before = (old / "manifest.json").read_bytes()
    model = str(tiny("BertForMaskedLM"))
    with pytest.raises(BundleError, match="exists already"):
        export(task="fill-mask", model=model, output=old)
    with pytest.raises(CalibrationError):
        export(
            task="fill-mask",
            model=model,
            output=old,
            force=True,
            precision="int8",
            calibration=str(tmp_path / "missing.txt"),
        )
    assert (old / "manifest.json").read_bytes() == before
    export(task="fill-mask", model=model, output=old, force=True)
    assert read_manifest(old).task == "fill-mask"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_that_is_no_bundle_is_never_replaced(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(BundleError, match="is not a bundle"):
        export(task="fill-mask", model=str(tiny("BertForMaskedLM")), output=precious, force=True)
    assert (precious / "cat.jpg").read_bytes() == b"cat"


def test_options_become_a_request(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """The thin front and the request are one export; the manifest keeps it."""
    model = tiny("BertModel")
    done = export(model=model, targets="onnxruntime", output=tmp_path / "front", opset=22)
    request = ExportRequest(model=str(model), opset=22)
    again = export_request(request, output=tmp_path / "request")
    untimed = [msgspec.structs.replace(one.manifest, stages={}) for one in (again, done)]
    assert untimed[0] == untimed[1]
    assert done.manifest.request == msgspec.structs.replace(
        request, task="feature-extraction", targets=("onnxruntime",), max_length=32
    )
    assert read_manifest(done.path).request == done.manifest.request


def test_a_failing_builder_leaves_nothing(tiny: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")

    def fail(folder: Path, engine: EngineRecord, **_: Any) -> EngineRecord:
        (folder / "half.engine").write_bytes(b"half")
        raise InputError("builder is out of memory", got=engine.target)

    request = ExportRequest(
        task="feature-extraction",
        model=str(tiny("BertModel")),
        targets=("tensorrt-rtx",),
        engines=EngineOptions(gpus=("l4",)),
    )
    with pytest.raises(InputError, match="out of memory"):
        export_request(request, output=tmp_path / "bundle", build_engine=fail)
    assert list(tmp_path.iterdir()) == []


def test_profiles_that_do_not_fit_the_rows_are_refused_before_the_trace(
    tiny: Callable[..., Path], tmp_path: Path, listener: RecordingListener
) -> None:
    pytest.importorskip("tensorrt_rtx")
    request = ExportRequest(
        task="feature-extraction",
        model=str(tiny("BertModel")),
        targets=("tensorrt-rtx",),
        engines=EngineOptions(gpus=("l4",), lengths=(9999,)),
    )
    with pytest.raises(InputError, match="length 9999 is too long: expected at most 32 tokens"):
        export_request(request, output=tmp_path / "bundle", listener=listener)
    assert listener.stages == ["load"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_is_one_clear_line_and_leaves_nothing(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="precision 'int4' is unknown") as caught:
        export(model=tiny("BertModel"), precision="int4", output=tmp_path / "bundle")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_max_length_bounds_the_rows(tiny: Callable[..., Path], tmp_path: Path) -> None:
    done = export(
        task="text-classification",
        model=str(tiny("BertForSequenceClassification", **LABELS)),
        output=tmp_path / "bundle",
        max_length=8,
    )
    assert done.manifest.tokenizer.max_length == 8
    with bert_export.load(done.path) as pipeline:
        assert pipeline("the cat sat on the mat the cat sat on the mat")


def test_demo_without_a_task_asks_for_one() -> None:
    with pytest.raises(TaskError, match="--task"):
        export()


def test_manifest_is_plain_json(tiny_export: Callable[..., Export]) -> None:
    done = tiny_export("feature-extraction", "BertModel")
    manifest = json.loads((done.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert manifest["request"]["task"] == "feature-extraction"
    assert manifest["engines"][0]["graph"]["inputs"][0] == {
        "name": "input_ids",
        "dtype": "int64",
        "shape": ["batch", "sequence"],
        "below": manifest["model"]["vocab_size"],
    }
