"""What an export reads, and what its request leaves to the checkpoint and the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bert_export.bundle import SCHEMA_VERSION, ExportRequest
from bert_export.errors import (
    CalibrationError,
    CheckpointError,
    DatasetError,
    InputError,
    TaskError,
)
from bert_export.exporter.progress import Progress
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


def test_it_is_one_stage(classifier: str, listener: RecordingListener) -> None:
    progress = Progress(listener)
    source = load_source(ExportRequest(model=classifier), progress=progress)
    assert listener.stages == ["load"]
    facts = progress.stages[0].facts
    assert facts == {"model": classifier, "parameters": source.manifest.model.parameters}


def test_the_task_is_read_from_the_architectures(tiny: Callable[..., Path]) -> None:
    request = ExportRequest(model=str(tiny("BertForTokenClassification", num_labels=3)))
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
