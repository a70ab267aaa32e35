"""Real bundles in real children: turns, refusals, failures, what is kept."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bert_export
from bert_export.bundle import read_manifest, write_manifest
from bert_export.errors import InputError, MeasurementError
from bert_export.exporter import Export
from bert_export.measuring import first_answer, worker
from bert_export.measuring.bench import records_to_time
from bert_export.measuring.child import Child
from bert_export.measuring.timing import (
    Conditions,
    Contender,
    Measured,
    conditions,
    time_contenders,
)
from bert_export.measuring.worker import Runner, rows_of_shape, time_round
from bert_export.measuring.workloads import (
    MANY_TEXTS,
    ONE_TEXT,
    Shape,
    Workload,
    parse_shapes,
    shape_workloads,
    text_workloads,
)
from bert_export.runtime.batching import pad_rows
from bert_export.runtime.loading import load


class Silent:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.saves = 0

    def begin(self, what: str, *, done: int, total: int) -> None:
        assert 0 <= done < total
        self.steps.append(what)

    def measured(self) -> None:
        self.saves += 1


def brief(shapes: str, **changed: Any) -> Conditions:
    options = {"threads": 1, "texts": 8, "seconds": 0.2, "cold_starts": 1} | changed
    return conditions(shapes=parse_shapes(shapes), **options)


@pytest.fixture
def classifier(tiny_export: Callable[..., Export]) -> Path:
    return tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path


RECORDS = [{"text": f"hello world {'again ' * (index % 5)}"} for index in range(16)]


def measure(
    bundles: dict[str, Path],
    shapes: str,
    results: dict[str, Measured] | None = None,
    **options: Any,
) -> tuple[dict[str, Measured], Silent]:
    found = results if results is not None else {name: Measured() for name in bundles}
    listener = Silent()
    time_contenders(
        [Contender(name, path) for name, path in bundles.items()],
        shapes=parse_shapes(shapes),
        under=brief(shapes, **options),
        records=RECORDS,
        listener=listener,
        results=found,
    )
    return found, listener


def test_contenders_are_measured_at_everything(classifier: Path) -> None:
    results, listener = measure({"a": classifier, "b": classifier}, "1x8,2x16")
    assert listener.steps == ["first answers", "opening", "1x8", "2x16", ONE_TEXT, MANY_TEXTS]
    assert listener.saves == 5
    for measured in results.values():
        assert measured.failure is None
        assert measured.refusals == {}
        assert list(measured.timings) == ["1x8", "2x16", ONE_TEXT, MANY_TEXTS]
        assert [one.rows for one in measured.timings.values()] == [1, 2, 1, 8]
        assert all(
            run > 0 for one in measured.timings.values() for turn in one.rounds for run in turn
        )
        assert {len(turn) for turn in measured.timings[ONE_TEXT].rounds} == {8}
        assert len(measured.first_answers) == 1
        assert 0.05 < measured.first_answers[0] < 60
        assert 20e6 < (measured.first_answer_bytes or 0) <= 1e9
        assert 20e6 < (measured.peak_bytes or 0) <= 1e9
        timing = measured.timings["2x16"]
        assert timing.rows_per_second == pytest.approx(2 / timing.summary.p50)


def test_a_shape_that_does_not_fit_is_a_reason(classifier: Path) -> None:
    results, _ = measure({"a": classifier}, "1x8,1x4000", texts=0)
    assert list(results["a"].timings) == ["1x8"]
    assert "longer than the bundle's rows" in results["a"].refusals["1x4000"]
    assert results["a"].failure is None


def test_a_broken_bundle_is_a_reason_and_the_others_go_on(classifier: Path, tmp_path: Path) -> None:
    results, _ = measure({"broken": tmp_path, "whole": classifier}, "1x8", texts=0)
    assert "manifest.json" in (results["broken"].failure or "")
    assert results["broken"].timings == {}
    assert "1x8" in results["whole"].timings


def test_what_was_measured_for_all_is_kept(classifier: Path) -> None:
    bundles = {"a": classifier, "b": classifier}
    results, _ = measure(bundles, "1x8", texts=0)
    before = {name: measured.timings["1x8"] for name, measured in results.items()}
    measure(bundles, "1x8", results, texts=0)
    assert {name: measured.timings["1x8"] for name, measured in results.items()} == before
    results["c"] = Measured()  # who comes late is measured beside the others
    measure(bundles | {"c": classifier}, "1x8", results, texts=0)
    assert results["a"].timings["1x8"] is not before["a"]
    assert "1x8" in results["c"].timings


def test_an_interrupt_keeps_whole_workloads(classifier: Path) -> None:
    class Interrupting(Silent):
        def begin(self, what: str, *, done: int, total: int) -> None:
            if what == "2x16":
                raise KeyboardInterrupt

    results = {"a": Measured()}
    with pytest.raises(KeyboardInterrupt):
        time_contenders(
            [Contender("a", classifier)],
            shapes=parse_shapes("1x8,2x16"),
            under=brief("1x8,2x16"),
            records=RECORDS,
            listener=Interrupting(),
            results=results,
        )
    assert list(results["a"].timings) == ["1x8"]


def test_threads_must_fit_the_machine() -> None:
    with pytest.raises(InputError, match="threads do not fit"):
        conditions(shapes=parse_shapes("1x8"), threads=4096)
    assert len(brief("1x8").cores) == 1


def test_rounds_run_each_call_alike() -> None:
    order: list[int] = []
    calls = [lambda: order.append(0), lambda: order.append(1)]
    assert len(time_round(calls, seconds=0.0, warm_ups=1)) == 2
    assert order == [0, 0, 1]
    assert len(time_round(calls[:1], seconds=0.0, warm_ups=0)) == 1


@contextlib.contextmanager
def child_of(module: Path, text: str) -> Iterator[Child]:
    module.write_text(text, encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(module.parent)
    try:
        with Child(module.stem, threads=1) as child:
            yield child
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def test_a_child_that_dies_says_its_last_words(tmp_path: Path) -> None:
    with (
        child_of(tmp_path / "dying_child.py", "raise SystemExit('last words')") as child,
        pytest.raises(MeasurementError, match=r"ended with status 1: .*last words"),
    ):
        child.ask({"do": "anything"})


def test_a_child_that_is_silent_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with (
        child_of(tmp_path / "silent_child.py", "import time; time.sleep(60)") as child,
        pytest.raises(MeasurementError, match="does not answer"),
    ):
        child.ask({"do": "anything"}, patience=0.1)


def test_a_late_reply_answers_no_other_request(tmp_path: Path) -> None:
    text = (
        "import os, sys, time\n"
        "for line in sys.stdin:\n"
        "    time.sleep(0.5)\n"
        "    os.write(int(sys.argv[1]), line.encode())\n"
    )
    with child_of(tmp_path / "late_child.py", text) as child:
        with pytest.raises(MeasurementError, match="does not answer"):
            child.ask({"first": 1}, patience=0.1)
        with pytest.raises(MeasurementError, match="ended with status -9"):
            child.ask({"second": 2}, patience=20)


def test_a_request_may_be_longer_than_an_argument(tmp_path: Path) -> None:
    text = (
        "from bert_export.measuring.once import answer_once\n"
        "answer_once(lambda request: {'length': len(request['text'])})\n"
    )
    with child_of(tmp_path / "reading_child.py", text) as child:
        assert child.ask({"text": "a" * 1_000_000}) == {"length": 1_000_000}


def test_a_child_imports_no_torch() -> None:
    text = (
        "import bert_export.measuring.worker, bert_export.measuring.first_answer, sys\n"
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
    records = records[:4]
    runner = Runner(str(bundle), target=None, threads=1, records=records)
    for workload in (*shape_workloads([Shape(2, 12)]), *text_workloads(4)):
        calls = runner.runs(workload)
        assert len(calls) == (4 if workload.label == ONE_TEXT else 1)
        for call in calls:
            call()
    assert runner.count_within(0.0) == 1
    assert runner.count_within(60.0) == 4
    runner.keep(2)
    assert len(runner.runs(Workload(label=ONE_TEXT, rows=1))) == 2


class Opened:
    """Stands for a pipeline, and for ``load``: keeps what it was opened with."""

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
    [(None, None), ("tensorrt-rtx", None), ("tensorrt", None), ("onnxruntime", 1)],
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
    opened = Opened()
    monkeypatch.setattr(worker, "load", opened)
    monkeypatch.setattr(bert_export, "load", opened)
    Runner(str(tmp_path), target=target, threads=1, records=RECORDS).answer()
    assert opened.options == (target, threads)
    cores = sorted(os.sched_getaffinity(0))
    request = {"bundle": str(tmp_path), "target": target, "threads": 1, "cores": cores}
    assert first_answer._answer(request | {"record": RECORDS[0]})["ended"] > 0
    assert opened.options == (target, threads)


def test_rows_have_the_shape_and_real_tokens(classifier: Path) -> None:
    with load(classifier) as pipeline:
        rows = rows_of_shape(pipeline, RECORDS, Shape(3, 20))
        assert [len(row) for row in rows] == [20, 20, 20]
        own = {
            int(token)
            for record in RECORDS
            for (row,) in pipeline.encode([pipeline.item(record)], pipeline.dataset_settings())
            for token in row.input_ids
        }
        assert {int(token) for row in rows for token in row.input_ids} <= own
        assert all(row.input_ids[0] == pipeline.tokenizer.cls_id for row in rows)
        assert (rows[0].input_ids != rows[1].input_ids).any()
        assert pad_rows(rows, pad_id=0)["attention_mask"].all()
        with pytest.raises(InputError, match="hold no token"):
            rows_of_shape(pipeline, [{"text": ""}], Shape(1, 8))
