"""Calls that share an engine: what waits while a batch runs is the next batch.

There is no timer: where nothing runs, a call runs at once. One thread runs the graph, batch after
batch. Calls are read, tokenized and decoded in other threads, so that neither the graph nor an
event loop waits for them. A call of many rows gives the others their turn.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakSet

from bert_export.errors import (
    BertExportError,
    BusyError,
    InputError,
    TargetError,
    TooLargeError,
    one_line,
)
from bert_export.runtime.batching import TOKEN_BUDGET, Advance, Row
from bert_export.runtime.checks import check_whole
from bert_export.runtime.closing import Closing
from bert_export.runtime.on_demand import make_all
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Outputs, RawFeeds

__all__ = ["QUEUE", "Batcher", "Observer", "making"]

QUEUE = 512
"""Calls that a batcher holds at most, where nothing else is asked for."""

THREADS = 32
"""Calls that are tokenized, wait for the graph or are decoded side by side."""

ROUND_TOKENS = 4 * TOKEN_BUDGET
"""Tokens that are sorted by length together; a round is as many graph calls as they need."""

_IDLE_SECONDS = 5.0
"""A thread without work ends, so that a pipeline that nobody holds can be freed."""

Answer = TypeVar("Answer")
Call = Callable[[Pipeline[Any, Any, Any]], Answer]


class Observer(Protocol):
    """Hears how long the parts of calls take, from several threads."""

    def waited(self, seconds: float) -> None:
        """Rows of a call waited so long for their first graph call."""

    def tokenized(self, seconds: float) -> None:
        """The items of a call took so long to tokenize."""

    def ran(self, seconds: float, rows: int, tokens: int) -> None:
        """Rows with so many tokens took the engine so long."""


@dataclass(slots=True, eq=False)
class _Ticket:
    """A call's place; whoever asked may have left."""

    left: bool = False


@dataclass(slots=True, eq=False)
class _Job:
    """Rows of a call that wait for the graph, longest first; or a piece of work of its own.

    Args:
        ticket: Of the call.
        rows: None where ``work`` is.
        reduce: What is kept of a row's outputs.
        work: Runs alone instead of rows.
    """

    ticket: _Ticket
    rows: Sequence[Row] = ()
    reduce: Callable[[Row, Outputs], Any] | None = None
    work: Callable[[], Any] | None = None
    order: list[int] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    taken: int = 0
    open: int = 0
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.order = sorted(range(len(self.rows)), key=lambda index: -len(self.rows[index]))
        self.results = [None] * len(self.rows)
        self.open = len(self.rows)


_Part = tuple[_Job, list[int]]


class Batcher(Closing):
    """Answers calls of many callers with one engine; :meth:`Pipeline.batcher` makes it.

    Answers are those of the pipeline itself. Use it from any number of threads and event loops. A
    forked child starts with an empty one.

    Args:
        pipeline: Whose calls are batched.
        queue: Calls that are accepted and not yet answered, at most.
        most_tokens: Tokens of a call's rows at most; any number when ``None``.
        observer: Hears how long things take.

    Raises:
        InputError: ``queue`` or ``most_tokens`` is no whole number of at least 1.
    """

    def __init__(
        self,
        pipeline: Pipeline[Any, Any, Any],
        *,
        queue: int = QUEUE,
        most_tokens: int | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.queue = check_whole("queue", queue, least=1)
        self.most_tokens = (
            None if most_tokens is None else check_whole("most_tokens", most_tokens, least=1)
        )
        self.observer = observer
        self._kind = type(
            f"Batched{type(pipeline).__name__}", (_BatchedPipeline, type(pipeline)), {}
        )
        make_all(pipeline)  # a call gets a copy of its attributes
        self._closed = False
        self._start()
        _batchers.add(self)

    def _start(self) -> None:
        """An empty queue and no thread: at first, and in a forked child."""
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._jobs: deque[_Job] = deque()
        self._held = 0
        self._engine: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(min(THREADS, self.queue), "bert-export-call")

    @property
    def held(self) -> int:
        """Calls that are accepted and not yet answered."""
        return self._held

    def submit(self, call: Call[Answer]) -> Future[Answer]:
        """Run something that calls the pipeline; its rows travel with those of other calls.

        Args:
            call: Gets the pipeline, in another thread; any of its methods may be called.

        Returns:
            What comes of it; cancelling it gives the place up.

        Raises:
            BusyError: The queue is full.
            InputError: The batcher is closed.
        """
        return self._submit(_Ticket(), call)

    async def run(self, call: Call[Answer]) -> Answer:
        """As :meth:`submit`, awaited; where the task is cancelled, the call leaves the queue."""
        ticket = _Ticket()
        try:
            return await asyncio.wrap_future(self._submit(ticket, call))
        except asyncio.CancelledError:
            ticket.left = True
            raise

    async def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Answer as the pipeline's own call with these arguments does.

        Raises:
            BusyError: The queue is full.
            InputError: An input or an option is malformed, or the batcher is closed.
        """
        return await self.run(lambda pipeline: _whole(pipeline(*inputs, **options)))

    def close(self) -> None:
        """Answer what was accepted, and refuse all else."""
        with self._lock:
            self._closed = True
            self._emptied.wait_for(lambda: not self._held)
            self._filled.notify_all()
            engine = self._engine
        if engine is not None and engine is not threading.current_thread():
            engine.join()
        self._pool.shutdown(wait=False)

    def _submit(self, ticket: _Ticket, call: Call[Answer]) -> Future[Answer]:
        with self._lock:
            if self._closed:
                raise InputError(
                    "batcher is closed", expected="an open one", fix="Load the bundle again"
                )
            if self._held >= self.queue:
                raise BusyError(
                    "queue is full",
                    expected=f"at most {self.queue} calls at once",
                    fix="Try again a little later",
                )
            self._held += 1
        try:
            future = self._pool.submit(self._answer, ticket, call)
        except BaseException:
            self._leave(None)
            raise
        future.add_done_callback(self._leave)
        return future

    def _answer(self, ticket: _Ticket, call: Call[Answer]) -> Answer:
        view: Pipeline[Any, Any, Any] = object.__new__(self._kind)
        view.__dict__.update(self.pipeline.__dict__, batched=self, ticket=ticket)
        return call(view)

    def _leave(self, _future: Future[Any] | None) -> None:
        with self._lock:
            self._held -= 1
            if not self._held:
                self._emptied.notify_all()

    def wait(self, job: _Job) -> Any:
        """What comes of a job, when its turn came."""
        with self._lock:
            self._jobs.append(job)
            if self._engine is None:
                self._engine = threading.Thread(
                    target=self._run_engine, name="bert-export-engine", daemon=True
                )
                self._engine.start()
            else:
                self._filled.notify()
        return job.future.result()

    def _run_engine(self) -> None:
        """The engine's thread: round after round, until nothing comes for a while."""
        while True:
            with self._lock:
                ready = self._filled.wait_for(lambda: self._jobs or self._closed, _IDLE_SECONDS)
                if not self._jobs and (not ready or self._closed):
                    self._engine = None
                    return
                parts = self._next_round()
            if parts:
                self._run_parts(parts)

    def _next_round(self) -> list[_Part]:
        """Rows that run next: a share of each call in turn, until there are enough."""
        parts: list[_Part] = []
        room, unfinished = ROUND_TOKENS, deque[_Job]()
        while room > 0 and (self._jobs or unfinished):
            if not self._jobs:
                self._jobs, unfinished = unfinished, self._jobs
            job = self._jobs.popleft()
            if job.ticket.left:
                job.future.cancel()
                continue
            if job.work is not None:
                if not parts:
                    return [(job, [])]
                self._jobs.appendleft(job)
                break
            start, tokens = job.taken, 0
            while job.taken < len(job.order):
                size = len(job.rows[job.order[job.taken]])
                if tokens and tokens + size > TOKEN_BUDGET:
                    break
                tokens += size
                job.taken += 1
            parts.append((job, job.order[start : job.taken]))
            room -= tokens
            if job.taken < len(job.order):
                unfinished.append(job)
        self._jobs.extend(unfinished)
        return parts

    def _run_parts(self, parts: Sequence[_Part]) -> None:
        """Run a round; where it fails, its calls one by one, so that none fails for another."""
        begin = time.perf_counter()
        if self.observer is not None:
            for job, _ in parts:
                if job.open == len(job.rows):
                    self.observer.waited(begin - job.since)
        try:
            self._run_together(parts, begin)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; each caller hears it
            if len(parts) > 1:
                for part in parts:
                    if not part[0].future.done():
                        self._run_parts([part])
                return
            _fail(parts[0][0], error)

    def _run_together(self, parts: Sequence[_Part], begin: float) -> None:
        """Run the rows of all parts, and end the calls whose last rows these were."""
        first = parts[0][0]
        if first.work is not None:
            answer = first.work()
            if self.observer is not None:
                self.observer.ran(time.perf_counter() - begin, 1, 0)
            first.future.set_result(answer)
            return
        rows = [job.rows[index] for job, indices in parts for index in indices]
        outputs = iter(self.pipeline.run_rows(rows))
        if self.observer is not None:
            self.observer.ran(time.perf_counter() - begin, len(rows), sum(map(len, rows)))
        for job, indices in parts:
            found = [(index, next(outputs)) for index in indices]
            if job.future.done():  # an earlier part of it failed
                continue
            for index, output in found:
                assert job.reduce is not None
                job.results[index] = job.reduce(job.rows[index], output)
            job.open -= len(indices)
            if not job.open:
                job.future.set_result(job.results)


def _fail(job: _Job, error: Exception) -> None:
    """Tell a caller; what is no error of ours is the engine's."""
    if job.future.done():
        return
    if not isinstance(error, BertExportError):
        cause = error
        error = TargetError("engine fails", got=f"{type(cause).__name__}: {one_line(cause)}")
        error.__cause__ = cause
    job.taken = len(job.order)
    job.future.set_exception(error)


def _whole(answer: Any) -> Any:
    """An answer that is read lazily would be read outside of the queue: it becomes a list."""
    return list(answer) if hasattr(answer, "__next__") else answer


class _BatchedPipeline(Pipeline[Any, Any, Any]):
    """A pipeline during one call: its rows wait for their turn instead of running at once."""

    batched: Batcher
    ticket: _Ticket

    def encode_items(self, items: Sequence[Any], settings: Any) -> list[list[Row]]:
        begin = time.perf_counter()
        rows: list[list[Row]] = super().encode_items(items, settings)  # type: ignore[safe-super]
        if self.batched.observer is not None:
            self.batched.observer.tokenized(time.perf_counter() - begin)
        most = self.batched.most_tokens
        tokens = sum(len(row) for own in rows for row in own)
        if most is not None and tokens > most:
            raise TooLargeError(
                "inputs are too large", expected=f"at most {most:,} tokens", got=f"{tokens:,}"
            )
        return rows

    def run(self, feeds: RawFeeds) -> Outputs:
        own = self.batched.pipeline
        return cast("Outputs", self._wait(_Job(self.ticket, work=partial(own.run, feeds))))

    def in_turn(self, work: Callable[[], Any]) -> Any:
        return self._wait(_Job(self.ticket, work=work))

    def run_rows(
        self,
        rows: Sequence[Row],
        *,
        batch_size: int | None = None,
        advance: Advance | None = None,
    ) -> list[Outputs]:
        if batch_size is None and advance is None:
            job = _Job(self.ticket, rows, lambda _row, outputs: outputs)
        else:
            own = self.batched.pipeline
            work = partial(own.run_rows, rows, batch_size=batch_size, advance=advance)
            job = _Job(self.ticket, work=work)
        return cast("list[Outputs]", self._wait(job))

    def reduce_rows(
        self,
        rows: Sequence[Row],
        settings: Any,
        *,
        batch_size: int | None = None,
        advance: Advance | None = None,
    ) -> list[Any]:
        own = self.batched.pipeline
        if batch_size is None and advance is None:
            job = _Job(self.ticket, rows, partial(own.reduce, settings=settings))
        else:
            work = partial(own.reduce_rows, rows, settings, batch_size=batch_size, advance=advance)
            job = _Job(self.ticket, work=work)
        return cast("list[Any]", self._wait(job))

    def _wait(self, job: _Job) -> Any:
        return self.batched.wait(job) if job.rows or job.work is not None else []


_batchers: WeakSet[Batcher] = WeakSet()
_making = threading.Lock()


def making() -> threading.Lock:
    """Held while a pipeline makes its batcher, so that two threads make one."""
    return _making


def _start_anew() -> None:
    """In a forked child there are none of the threads, and locks may be held by them."""
    global _making  # noqa: PLW0603 - the lock of the parent may be held
    _making = threading.Lock()
    for batcher in list(_batchers):
        batcher._start()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
