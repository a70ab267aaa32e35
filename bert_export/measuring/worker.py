"""The child's side of a measurement: open one bundle, and do what the parent asks, line by line.

``python -m bert_export.measuring.worker CHANNEL`` reads requests from standard input and writes
replies to the descriptor CHANNEL, both JSON lines, so that whatever an engine prints does no harm.
A request that fails is answered with its reason; the end of the input ends the process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import msgspec
import numpy as np

from bert_export.errors import BertExportError, InputError
from bert_export.measuring.memory import peak_bytes
from bert_export.measuring.workloads import Shape, Workload
from bert_export.runtime.batching import Row
from bert_export.runtime.loading import load, threads_for
from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = ["Runner", "main", "rows_of_shape"]

_WARM_UPS = 3
_LEAST_RUNS = 3


def rows_of_shape(
    pipeline: Pipeline[Any, Any, Any], records: Sequence[Any], shape: Shape
) -> list[Row]:
    """Rows of exactly that shape out of the records' own tokens.

    Args:
        pipeline: Of the bundle.
        records: Real ones; their tokens are strung together, and again where they run out.
        shape: No longer than the bundle's rows may be.

    Raises:
        InputError: The shape is longer than the bundle's rows, or there are no tokens.
    """
    tokenizer = pipeline.tokenizer
    if shape.sequence > tokenizer.max_length:
        raise InputError(
            f"shape {shape} is longer than the bundle's rows",
            expected=f"at most {tokenizer.max_length} tokens",
            got=shape.sequence,
        )
    settings = pipeline.dataset_settings()
    encoded = pipeline.encode([pipeline.item(record) for record in records], settings)
    sources = [row for rows in encoded for row in rows]
    framing = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id}
    tokens = [int(token) for row in sources for token in row.input_ids if int(token) not in framing]
    if not tokens:
        raise InputError("records hold no token", expected="some text", got="none")
    stream = cycle(tokens)
    first, last = tokenizer.cls_id, tokenizer.sep_id
    return [
        _row(sources[0], [first, *islice(stream, shape.sequence - 2), last], pipeline)
        for _ in range(shape.batch)
    ]


def _row(like: Row, ids: list[int], pipeline: Pipeline[Any, Any, Any]) -> Row:
    """A row of these ids; a task that scores masks gets one, and further inputs are all ones."""
    input_ids = np.asarray(ids, dtype=np.int64)
    mask_id = pipeline.tokenizer.mask_id
    if pipeline.definition.masked_texts and mask_id is not None:
        input_ids[len(input_ids) // 2] = mask_id
    return replace(
        like,
        input_ids=input_ids,
        token_type_ids=np.zeros_like(input_ids),
        extra={name: np.ones_like(input_ids) for name in like.extra or ()} or None,
    )


class Runner:
    """A bundle that is open, and the workloads that were prepared for it.

    Args:
        bundle: The folder.
        target: The engine; the bundle's own default when ``None``.
        threads: Threads inside an operator, where the engine has a say in them.
        records: Real records of the task, whose text fills the shapes.
    """

    def __init__(
        self, bundle: str, *, target: str | None, threads: int, records: Sequence[Any]
    ) -> None:
        self._pipeline = load(bundle, target=target, threads=threads_for(bundle, target, threads))
        self._records = records

    def answer(self) -> None:
        """Answer the first record."""
        self._ask(self._records[:1])

    def runs(self, workload: Workload) -> list[Callable[[], object]]:
        """The calls that one round times, each on its own.

        Raises:
            InputError: The workload does not fit the bundle.
        """
        if workload.shape is not None:
            pipeline = self._pipeline
            rows = rows_of_shape(pipeline, self._records, workload.shape)
            feeds = pipeline.feeds(rows)
            return [lambda: pipeline.run(feeds)]
        if workload.rows > 1:
            records = self._records[: workload.rows]
            return [lambda: self._ask(records)]
        return [lambda record=record: self._ask([record]) for record in self._records]  # type: ignore[misc]

    def count_within(self, seconds: float) -> int:
        """How many records are answered one at a time within so many seconds; at least one."""
        begun = time.perf_counter()
        for index in range(len(self._records)):
            self._ask(self._records[index : index + 1])
            if time.perf_counter() - begun > seconds:
                return index + 1
        return len(self._records)

    def keep(self, count: int) -> None:
        """Go on with the first records alone."""
        self._records = self._records[:count]

    def _ask(self, records: Sequence[Any]) -> list[Any]:
        pipeline = self._pipeline
        items = [pipeline.item(record) for record in records]
        return list(pipeline.answers(items, pipeline.dataset_settings()))


def time_round(
    calls: Sequence[Callable[[], object]], *, seconds: float, warm_ups: int
) -> list[float]:
    """Seconds of every run of one round.

    Args:
        calls: Run in order, all of them, and over again until both bounds are met.
        seconds: The round goes on for so long at least, unless there are several calls: then each
            runs once, so that every round weighs the same records.
        warm_ups: Runs of the first call before the clock starts.
    """
    for _ in range(warm_ups):
        calls[0]()
    taken: list[float] = []
    begun = time.perf_counter()
    while True:
        for call in calls:
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        once = len(calls) > 1
        if once or (len(taken) >= _LEAST_RUNS and time.perf_counter() - begun >= seconds):
            return taken
        if time.perf_counter() - begun >= seconds * _LEAST_RUNS:
            return taken  # a run that is longer than a round's share


class _Desk:
    """Answers requests; holds the open bundle between them."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._calls: dict[str, list[Callable[[], object]]] = {}

    def serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to one request."""
        action: Callable[[Mapping[str, Any]], dict[str, Any]] = getattr(self, f"_{request['do']}")
        return action(request)

    @property
    def _open_runner(self) -> Runner:
        assert self._runner is not None, "the parent opens first"
        return self._runner

    def _open(self, request: Mapping[str, Any]) -> dict[str, Any]:
        cores = request["cores"]
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)  # before the engine starts its threads
        self._runner = Runner(
            request["bundle"],
            target=request["target"],
            threads=request["threads"],
            records=request["records"],
        )
        self._runner.answer()
        return {}

    def _count(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"count": self._open_runner.count_within(request["seconds"])}

    def _keep(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._open_runner.keep(request["count"])
        return {}

    def _time(self, request: Mapping[str, Any]) -> dict[str, Any]:
        workload = msgspec.convert(request["workload"], Workload)
        warm_ups = 1
        if workload.label not in self._calls:
            self._calls[workload.label] = self._open_runner.runs(workload)
            warm_ups = _WARM_UPS
        calls = self._calls[workload.label]
        return {"taken": time_round(calls, seconds=request["seconds"], warm_ups=warm_ups)}

    def _usage(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"peak_bytes": peak_bytes()}


def main() -> None:
    """Serve requests until there are no more."""
    channel = int(sys.argv[1])
    desk = _Desk()
    for request in _requests():
        try:
            reply = desk.serve(request)
        except BertExportError as error:
            reply = {"error": str(error)}
        except Exception as error:  # noqa: BLE001  an engine may raise anything; the parent says it
            reply = {"error": f"{type(error).__name__}: {error}"}
        os.write(channel, msgspec.json.encode(reply) + b"\n")


def _requests() -> Iterator[dict[str, Any]]:
    for line in sys.stdin.buffer:
        yield msgspec.json.decode(line)


if __name__ == "__main__":
    main()
