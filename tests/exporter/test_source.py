"""What an export reads, and what its request leaves to the checkpoint and the machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_export.bundle import SCHEMA_VERSION, CheckpointOptions, ExportRequest, Manifest
from bert_export.errors import (
    CalibrationError,
    CheckpointError,
    ConfigError,
    DatasetError,
    InputError,
    TaskError,
)
from bert_export.exporter.progress import Progress
from bert_export.exporter.request import check_request
from bert_export.exporter.source import Source, load_source
from bert_export.runtime.processor import detect_processor
from tests.exporter.conftest import RecordingListener


def test_the_request_is_settled(read: Callable[..., Source]) -> None:
    source = read()
    assert source.request.task == source.task.name == "text-classification"
    assert source.request.max_length == source.max_length == 32
    assert source.request.cpu is None  # of no use in float
    assert read(precision="int8").request.cpu == detect_processor()
    assert read(precision="int8", cpu="arm64").request.cpu == "arm64"


def test_the_manifest_keeps_it(read: Callable[..., Source], classifier: str) -> None:
    source = read(max_length=8)
    manifest = source.manifest
    assert manifest.schema_version == SCHEMA_VERSION
    assert manifest.request == source.request
    assert manifest.request.model == manifest.model.source == classifier  # as it was typed
    assert (manifest.labels, manifest.tokenizer.max_length) == (("a", "b", "c"), 8)
    assert (manifest.engines, manifest.files) == ((), {})


def test_what_the_checkpoint_does_not_say_is_assumed_or_told(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny("BertForSequenceClassification", num_labels=3), tmp_path / "x")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    silent = {key: value for key, value in config.items() if key not in ("id2label", "label2id")}
    path.write_text(json.dumps(silent | {"num_labels": 3}), encoding="utf-8")

    def manifest(task: str | None, **options: object) -> Manifest:
        told = CheckpointOptions(**options) if options else None  # type: ignore[arg-type]
        request = check_request(ExportRequest(model=str(folder), task=task, checkpoint=told))
        return load_source(request, progress=Progress()).manifest

    (assumed,) = manifest(None).assumptions
    assert "LABEL_0" in assumed
    assert manifest("feature-extraction").assumptions == ()  # has no labels
    named = manifest(None, labels=("a", "b", "c"))
    assert (named.labels, named.assumptions) == (("a", "b", "c"), ())
    assert named.request is not None
    assert named.request.checkpoint == CheckpointOptions(labels=("a", "b", "c"))
    with pytest.raises(InputError, match="labels have no use for task feature-extraction"):
        manifest("feature-extraction", labels=("a", "b", "c"))
    with pytest.raises(ConfigError, match="contradicts --labels: expected 3 names"):
        manifest(None, labels=("a", "b"))


def test_it_is_one_stage(classifier: str, listener: RecordingListener) -> None:
    progress = Progress(listener)
    source = load_source(check_request(ExportRequest(model=classifier)), progress=progress)
    assert listener.stages == ["load"]
    facts = progress.stages[0].facts
    assert facts == {"model": classifier, "parameters": source.manifest.model.parameters}


def test_the_task_is_read_from_the_architectures(tiny: Callable[..., Path]) -> None:
    model = str(tiny("BertForTokenClassification", num_labels=3))
    request = check_request(ExportRequest(model=model))
    assert load_source(request, progress=Progress()).task.name == "token-classification"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "no/such/folder/here"}, CheckpointError, "no/such/folder/here"),
        ({"task": "question-answering"}, TaskError, "qa_outputs"),
        ({"max_length": 33}, InputError, "max_length 33 does not fit.*expected 3 to 32"),
        ({"max_length": 2}, InputError, "expected 3 to 32"),
        ({"precision": "int8", "calibration": "missing.txt"}, CalibrationError, "missing.txt"),
        (
            {"precision": "int8", "max_drop": 0.1, "eval_data": "missing.jsonl"},
            DatasetError,
            "data file missing.jsonl cannot be read",
        ),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    options: dict[str, object], error: type[Exception], message: str, classifier: str
) -> None:
    request = ExportRequest(**{"model": classifier} | options)  # type: ignore[arg-type]
    with pytest.raises(error, match=message) as caught:
        load_source(request, progress=Progress())
    assert "\n" not in str(caught.value)
