"""Bundles as contenders: real ones in real children, and rows of real text."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bert_export.bundle import read_manifest, write_manifest
from bert_export.errors import InputError
from bert_export.exporter import Export
from bert_export.measuring import bundle_worker
from bert_export.measuring.bundle_worker import open_contender, rows_of_shape
from bert_export.measuring.bundles import BundleEngine, records_to_time, time_bundles
from bert_export.measuring.timing import Conditions, Measured, conditions
from bert_export.measuring.workloads import (
    MANY_TEXTS,
    ONE_TEXT,
    Shape,
    parse_shapes,
    shape_workloads,
    text_workloads,
)
from bert_export.runtime.batching import pad_rows
from bert_export.runtime.loading import load
from tests.measuring.support import Silent

RECORDS = [{"text": f"hello world {'again ' * (index % 5)}"} for index in range(16)]


def brief(shapes: str, *, texts: int = 8) -> Conditions:
    return conditions(
        shapes=parse_shapes(shapes),
        threads=1,
        texts=texts,
        seconds=0.0,
        lifetimes=1,
        cold_starts=1,
    )


@pytest.fixture
def classifier(tiny_export: Callable[..., Export]) -> Path:
    return tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path


def measure(
    bundles: dict[str, Path], shapes: str, *, texts: int = 8
) -> tuple[dict[str, Measured], Silent]:
    results = {name: Measured() for name in bundles}
    listener = Silent()
    time_bundles(
        [BundleEngine(name, path) for name, path in bundles.items()],
        shapes=parse_shapes(shapes),
        under=brief(shapes, texts=texts),
        records=RECORDS,
        listener=listener,
        results=results,
    )
    return results, listener


def test_bundles_are_measured_at_everything(classifier: Path) -> None:
    results, listener = measure({"a": classifier, "b": classifier}, "1x8,2x16")
    assert [step.partition(",")[0] for step in listener.steps] == [
        "first answers", "opening", "1x8", "2x16", ONE_TEXT, MANY_TEXTS
    ]  # fmt: skip
    assert listener.saves == 5
    for measured in results.values():
        assert measured.failure is None
        assert measured.refusals == {}
        assert list(measured.timings) == ["1x8", "2x16", ONE_TEXT, MANY_TEXTS]
        assert [timing.rows for timing in measured.timings.values()] == [1, 2, 8, 8]
        assert [timing.calls for timing in measured.timings.values()] == [1, 1, 8, 1]
        assert len(measured.first_answers) == 1
        assert measured.first_answers[0] > 0
        assert 20e6 < (measured.first_answer_bytes or 0) <= 1e9
        assert 20e6 < (measured.peak_bytes or 0) <= 1e9
        timing = measured.timings["2x16"]
        assert timing.rows_per_second == pytest.approx(2 / timing.summary.p50)
    assert set(results["b"].speed_ups) == {"1x8", "2x16", ONE_TEXT, MANY_TEXTS}
    assert results["a"].speed_ups == {}


def test_a_shape_that_does_not_fit_is_a_reason(classifier: Path) -> None:
    results, _ = measure({"a": classifier}, "1x8,1x4000", texts=0)
    assert list(results["a"].timings) == ["1x8"]
    assert results["a"].refusals["1x4000"].startswith("shape 1x4000 is longer than the bundle's")
    assert results["a"].failure is None


def test_a_broken_bundle_is_a_reason_and_the_others_go_on(classifier: Path, tmp_path: Path) -> None:
    results, _ = measure({"broken": tmp_path, "whole": classifier}, "1x8", texts=0)
    assert "manifest.json" in (results["broken"].failure or "")
    assert results["broken"].timings == {}
    assert "1x8" in results["whole"].timings


def test_a_child_imports_no_torch() -> None:
    text = (
        "import bert_export.measuring.bundle_worker, bert_export.measuring.serving, sys\n"
        "found = {'torch', 'onnx', 'onnx_ir', 'transformers'} & set(sys.modules)\n"
        "sys.exit(' '.join(found) or None)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("task", "cls_name"),
    [
        ("fill-mask", "BertForMaskedLM"),
        ("text-generation", "BertLMHeadModel"),
    ],
)
def test_every_kind_of_task_has_its_workloads(
    task: str, cls_name: str, tiny_export: Callable[..., Export]
) -> None:
    config = {"is_decoder": True} if task == "text-generation" else {}
    bundle = tiny_export(task, cls_name, **config).path
    _, records = records_to_time(read_manifest(bundle), None, 4)
    contender = open_contender(
        {"bundle": str(bundle), "target": None, "threads": 1, "records": records}
    )
    for workload in (*shape_workloads([Shape(2, 12)]), *text_workloads(4)):
        calls = contender.calls(workload.request)
        assert len(calls) == (4 if workload.label == ONE_TEXT else 1)
        for call in calls:
            call()


class Opened:
    """Stands for a pipeline, and for ``load``: keeps what it was opened with."""

    def __init__(self, bundle: Path) -> None:
        self.manifest = read_manifest(bundle)

    def __call__(self, path: str, *, target: str | None, threads: int | None) -> Opened:
        self.options = (target, threads)
        return self

    def item(self, record: Any) -> Any:
        return record

    def dataset_settings(self) -> None:
        return None

    def answers(self, items: list[Any], settings: None) -> Iterator[Any]:
        yield from items


@pytest.mark.parametrize(
    ("target", "threads"),
    [(None, None), ("tensorrt-rtx", None)],
)
def test_threads_are_for_engines_that_take_them(
    classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str | None,
    threads: int | None,
) -> None:
    manifest = read_manifest(classifier)
    engine = msgspec.structs.replace(manifest.engine(), target="tensorrt-rtx")
    changed = msgspec.structs.replace(manifest, default_target=engine.target, engines=(engine,))
    write_manifest(tmp_path, changed)
    opened = Opened(tmp_path)
    monkeypatch.setattr(bundle_worker, "load", opened)
    request = {"bundle": str(tmp_path), "target": target, "threads": 1, "records": RECORDS}
    open_contender(request).answer({})
    assert opened.options == (target, threads)


def test_rows_have_the_shape_and_real_tokens(classifier: Path) -> None:
    with load(classifier) as pipeline:
        rows = rows_of_shape(pipeline, RECORDS, 3, 20)
        assert [len(row) for row in rows] == [20, 20, 20]
        own = {
            int(token)
            for record in RECORDS
            for (row,) in pipeline.encode_items(
                [pipeline.item(record)], pipeline.dataset_settings()
            )
            for token in row.input_ids
        }
        assert {int(token) for row in rows for token in row.input_ids} <= own
        assert all(row.input_ids[0] == pipeline.tokenizer.cls_id for row in rows)
        assert (rows[0].input_ids != rows[1].input_ids).any()
        assert pad_rows(rows, pad_id=0)["attention_mask"].all()
        with pytest.raises(InputError, match="hold no token"):
            rows_of_shape(pipeline, [{"text": ""}], 1, 8)
