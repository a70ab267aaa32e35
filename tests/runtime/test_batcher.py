"""Calls that share an engine answer as they do alone."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest

from bert_export.errors import BusyError, InputError, TargetError, TooLargeError
from bert_export.exporter import Export
from bert_export.runtime.batcher import Batcher
from bert_export.runtime.loading import load
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.tasks import TASKS
from tests.runtime.test_vectors import assert_same, plain
from tests.runtime.vectors import open_vector, read_vectors

PATIENCE = 20

Loaded = Pipeline[Any, Any, Any]


@pytest.fixture(scope="module")
def bundle(tiny_export: Callable[..., Export]) -> Export:
    return tiny_export("text-classification", "BertForSequenceClassification")


@pytest.fixture
def pipeline(bundle: Export) -> Iterator[Loaded]:
    with load(bundle.path, threads=1) as pipeline:
        yield pipeline


class Gate:
    """Holds the engine of a pipeline until it is opened, and counts its graph calls."""

    def __init__(self, pipeline: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[int] = []
        self.entered, self.opened = threading.Event(), threading.Event()
        run = pipeline.run

        def wait(feeds: Any) -> Any:
            self.calls.append(len(feeds["input_ids"]))
            self.entered.set()
            assert self.opened.wait(PATIENCE)
            return run(feeds)

        monkeypatch.setattr(pipeline, "run", wait)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_answers_as_its_pipeline(task: str) -> None:
    """Every recorded call of the task, through the queue."""

    async def ask(pipeline: Loaded, vector: Any) -> Any:
        return await pipeline.acall(vector.input, **vector.options)

    for vector in read_vectors(task):
        rows: list[Any] = []
        with open_vector(vector, rows) as pipeline, warnings.catch_warnings():
            warnings.simplefilter("ignore" if vector.warns else "error")
            if vector.error:
                with pytest.raises(InputError):
                    asyncio.run(ask(pipeline, vector))
            else:
                assert_same(plain(asyncio.run(ask(pipeline, vector))), vector.answer)


def test_what_waits_travels_together(pipeline: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(["word"] * (1 + index % 5)) for index in range(12)]
    expected = [pipeline(text) for text in texts]
    gate = Gate(pipeline, monkeypatch)
    with pipeline.batcher(queue=16) as batcher:
        first = batcher.submit(lambda own: own(texts[0]))
        assert gate.entered.wait(PATIENCE)
        others = [batcher.submit(lambda own, text=text: own(text)) for text in texts[1:]]
        until(lambda: len(batcher._jobs) == len(others))
        gate.opened.set()
        answers = [future.result(PATIENCE) for future in (first, *others)]
    assert gate.calls == [1, 11]
    for answer, own in zip(answers, expected, strict=True):
        assert answer[0]["label"] == own[0]["label"]
        assert answer[0]["score"] == pytest.approx(own[0]["score"], abs=1e-6)


def test_a_large_call_lets_others_through(
    pipeline: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bert_export.runtime.batcher.ROUND_TOKENS", 64)
    monkeypatch.setattr("bert_export.runtime.batcher.TOKEN_BUDGET", 32)
    large = ["a much longer text of many words " * 12] * 64
    gate = Gate(pipeline, monkeypatch)
    done: list[str] = []
    with pipeline.batcher() as batcher:
        one = batcher.submit(lambda own: (own(large), done.append("large")))
        assert gate.entered.wait(PATIENCE)
        two = batcher.submit(lambda own: (own("short"), done.append("short")))
        until(lambda: len(batcher._jobs) == 2)
        gate.opened.set()
        assert len(one.result(PATIENCE)[0]) == len(large)
        two.result(PATIENCE)
    assert done == ["short", "large"]
    assert max(gate.calls) < len(large)


def test_a_full_queue_refuses(pipeline: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(pipeline, monkeypatch)
    with pipeline.batcher(queue=2) as batcher:
        accepted = [batcher.submit(lambda own: own("one")) for _ in range(2)]
        with pytest.raises(BusyError, match="at most 2 calls at once"):
            batcher.submit(lambda own: own("three"))
        gate.opened.set()
        assert all(future.result(PATIENCE) for future in accepted)
        until(lambda: batcher.held == 0)
        assert batcher.submit(lambda own: own("four")).result(PATIENCE)


def test_who_leaves_frees_the_place(pipeline: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(pipeline, monkeypatch)

    async def story() -> None:
        batcher = pipeline.batcher()
        first = asyncio.create_task(pipeline.acall("first"))
        assert await asyncio.to_thread(gate.entered.wait, PATIENCE)
        second = asyncio.create_task(pipeline.acall("second"))
        await asyncio.to_thread(until, lambda: len(batcher._jobs) == 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.opened.set()
        assert await first
        await asyncio.to_thread(until, lambda: batcher.held == 0)

    asyncio.run(story())
    assert gate.calls == [1]


def test_one_bad_call_fails_alone(pipeline: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    run, poison = pipeline.run_rows, len(pipeline.tokenizer.encode(["poison " * 9])[0][0])
    gate = Gate(pipeline, monkeypatch)

    def fails(rows: Any, **options: Any) -> Any:
        if any(len(row) == poison for row in rows):
            raise RuntimeError("out of\nmemory")
        return run(rows, **options)

    monkeypatch.setattr(pipeline, "run_rows", fails)
    with pipeline.batcher() as batcher:
        first = batcher.submit(lambda own: own("first"))
        assert gate.entered.wait(PATIENCE)
        bad = batcher.submit(lambda own: own("poison " * 9))
        good = batcher.submit(lambda own: own("good"))
        wrong = batcher.submit(lambda own: own(5))
        until(lambda: len(batcher._jobs) == 2)
        gate.opened.set()
        assert first.result(PATIENCE)
        assert good.result(PATIENCE)
        with pytest.raises(TargetError, match="engine fails: got RuntimeError: out of memory"):
            bad.result(PATIENCE)
        with pytest.raises(InputError, match="got int"):
            wrong.result(PATIENCE)


def test_too_many_tokens(pipeline: Loaded) -> None:
    with pipeline.batcher(most_tokens=20) as batcher:
        assert batcher.submit(lambda own: own("short")).result(PATIENCE)
        with pytest.raises(TooLargeError, match="at most 20 tokens"):
            batcher.submit(lambda own: own(["one two"] * 20)).result(PATIENCE)


def test_options_and_other_ways_to_the_graph(pipeline: Loaded) -> None:
    """Batch sizes, raw rows and raw feeds go through the same engine."""
    texts = ["one", "two words", "three"]
    rows = [row for own in pipeline.encode_items(texts, pipeline.defaults) for row in own]
    with pipeline.batcher() as batcher:
        assert batcher.submit(lambda own: own(texts, batch_size=1)).result(PATIENCE) == pipeline(
            texts, batch_size=1
        )
        assert batcher.submit(lambda own: own([])).result(PATIENCE) == []
        outputs = batcher.submit(lambda own: own.run_rows(rows)).result(PATIENCE)
        raw = batcher.submit(lambda own: own.run(pipeline.feeds(rows))).result(PATIENCE)
        lazily = asyncio.run(batcher(text for text in texts))
    np.testing.assert_allclose(
        [output["logits"] for output in outputs], raw["logits"], rtol=0, atol=1e-6
    )
    assert [answer["label"] for answer in lazily] == [own["label"] for own in pipeline(texts)]


def test_closing_answers_what_was_accepted(bundle: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load(bundle.path, threads=1)
    gate, batcher = Gate(pipeline, monkeypatch), pipeline.batcher()
    future = batcher.submit(lambda own: own("one"))
    assert gate.entered.wait(PATIENCE)
    closing = threading.Thread(target=pipeline.close)
    closing.start()
    until(lambda: batcher._closed)
    with pytest.raises(InputError, match="batcher is closed"):
        batcher.submit(lambda own: own("two"))
    gate.opened.set()
    closing.join(PATIENCE)
    assert future.result(PATIENCE)
    with pytest.raises(InputError, match="closed"):
        pipeline("three")


def test_one_batcher_per_pipeline(pipeline: Loaded) -> None:
    batcher = pipeline.batcher(queue=3)
    assert isinstance(batcher, Batcher)
    assert pipeline.batcher() is batcher
    with pytest.raises(InputError, match="open already"):
        pipeline.batcher(queue=4)
    with pytest.raises(InputError, match="queue is wrong"):
        Batcher(pipeline, queue=0)


def test_cancelling_a_future_that_waits(pipeline: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(pipeline, monkeypatch)
    with pipeline.batcher() as batcher:
        batcher._pool._max_workers = 1  # type: ignore[attr-defined]
        first = batcher.submit(lambda own: own("one"))
        assert gate.entered.wait(PATIENCE)
        second = batcher.submit(lambda own: own("two"))
        assert second.cancel()
        gate.opened.set()
        assert first.result(PATIENCE)
        with pytest.raises(CancelledError):
            second.result(PATIENCE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_a_queue_of_its_own(pipeline: Loaded) -> None:
    with pipeline.batcher() as batcher:
        expected = batcher.submit(lambda own: own("one")).result(PATIENCE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            code = 1
            try:
                same = batcher.submit(lambda own: own("one")).result(PATIENCE) == expected
                again = asyncio.run(pipeline.acall("one")) == expected
                code = 0 if same and again else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert batcher.submit(lambda own: own("one")).result(PATIENCE) == expected
