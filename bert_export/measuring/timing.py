"""Bundles timed against each other: one process each, pinned alike, taking turns.

All contenders are open at once and idle but for the one whose turn it is, so a turn costs nothing
but its runs, and what the machine does besides hits all of them alike. A workload ends for a
contender when the interval of its median is tight, or its time is up. Cold starts are measured
first, in further processes that do nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bert_export.errors import BertExportError, InputError
from bert_export.measuring.child import Child
from bert_export.measuring.machine import available_cores
from bert_export.measuring.samples import Summary, summarize
from bert_export.measuring.workloads import Shape, Workload, shape_workloads, text_workloads

__all__ = [
    "Conditions",
    "Contender",
    "Listener",
    "Measured",
    "Timing",
    "conditions",
    "time_contenders",
]

_WORKER = "bert_export.measuring.worker"
_FIRST_ANSWER = "bert_export.measuring.first_answer"
_ROUND_SECONDS = 0.1
_PROBE_SECONDS = 1.0
_DIGITS = 7  # of a second: clocks say no more


@dataclass(frozen=True, slots=True)
class Contender:
    """A bundle's engine, and how it is called in tables."""

    name: str
    bundle: Path
    target: str | None = None


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for every contender.

    Args:
        shapes: Of the graph alone, as typed.
        texts: Records that whole answers are timed with at most; 0 leaves those workloads out.
        threads: Threads inside an operator.
        cores: Numbers of the processors that each child is pinned to.
        seconds: Of measuring per contender and workload at most.
        tolerance: Share of the median that half its 95 % interval may be wide.
        cold_starts: Fresh processes per contender.
    """

    shapes: tuple[str, ...]
    texts: int
    threads: int
    cores: tuple[int, ...]
    seconds: float
    tolerance: float
    cold_starts: int


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A contender at a workload.

    Args:
        rows: Rows or records that a run answers.
        rounds: Seconds of every run, round by round.
        summary: Their figures.
    """

    rows: int
    rounds: tuple[tuple[float, ...], ...]
    summary: Summary

    @property
    def rows_per_second(self) -> float:
        """Throughput at the median."""
        return self.rows / self.summary.p50


class Measured(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything about one contender; filled while it is measured.

    Args:
        timings: By the workload's label.
        refusals: Workloads that it cannot do, and why.
        first_answers: Seconds from the start of a process to its first answer, one per process.
        first_answer_bytes: The largest resident set of those processes.
        peak_bytes: Of the process that answered every workload.
        failure: Why it is not measured any further.
    """

    timings: dict[str, Timing] = msgspec.field(default_factory=dict)
    refusals: dict[str, str] = msgspec.field(default_factory=dict)
    first_answers: list[float] = msgspec.field(default_factory=list)
    first_answer_bytes: int | None = None
    peak_bytes: int | None = None
    failure: str | None = None


class Listener(Protocol):
    """Hears how the measuring proceeds."""

    def begin(self, what: str, *, done: int, total: int) -> None:
        """Something begins; so many of all steps are done."""
        ...

    def measured(self) -> None:
        """A workload is done for all contenders: a good moment to save what there is."""
        ...


def conditions(
    *,
    shapes: Sequence[Shape],
    threads: int | None = None,
    texts: int = 64,
    seconds: float = 4.0,
    tolerance: float = 0.02,
    cold_starts: int = 5,
) -> Conditions:
    """Settle the conditions on this machine; see :class:`Conditions` for each.

    Args:
        shapes: Parsed already.
        threads: As many as there are processors when ``None``; each child is pinned to so many.
        texts: Records of whole answers at most.
        seconds: Per contender and workload at most.
        tolerance: That counts as tight.
        cold_starts: Fresh processes per contender.

    Raises:
        InputError: This machine does not have so many processors, or a number is out of bounds.
    """
    if not 0 <= seconds < math.inf:
        raise InputError("seconds are out of bounds", expected="0 or more", got=seconds)
    if not 0 < tolerance < math.inf:
        raise InputError("tolerance is out of bounds", expected="more than 0", got=tolerance)
    cores = available_cores()
    wanted = len(cores) if threads is None else threads
    if not 1 <= wanted <= len(cores):
        raise InputError(
            "threads do not fit this machine", expected=f"1 to {len(cores)}", got=wanted
        )
    return Conditions(
        shapes=tuple(map(str, shapes)),
        texts=texts,
        threads=wanted,
        cores=cores[:wanted],
        seconds=seconds,
        tolerance=tolerance,
        cold_starts=cold_starts,
    )


def time_contenders(
    contenders: Sequence[Contender],
    *,
    shapes: Sequence[Shape],
    under: Conditions,
    records: Sequence[Mapping[str, Any]],
    listener: Listener,
    results: Mapping[str, Measured],
) -> None:
    """Measure contenders against each other.

    Args:
        contenders: Of distinct names.
        shapes: Those of ``under``.
        under: The conditions.
        records: Real records of the task, at least one; their text fills the shapes too.
        listener: Hears of the progress.
        results: One per contender, filled in place, so that an interrupt keeps what there is. Where
            a workload's timing is there for every contender that can do it, it is kept.
    """
    steps = _Steps(listener, total=2 + len(shapes) + (2 if under.texts else 0))
    steps("first answers")
    _time_first_answers(contenders, under, records[0], results)
    listener.measured()
    with ExitStack() as stack:
        steps("opening")
        children = _open_all(stack, contenders, under, records, results)
        if not children:
            return
        workloads = shape_workloads(shapes)
        if under.texts:
            workloads += text_workloads(_count_texts(children, results, records, under))
        for workload in workloads:
            steps(workload.label)
            if not _is_done(workload, children, results):
                _time_workload(workload, children, under, results)
                _note_usage(children, results)
                listener.measured()


@dataclass(slots=True)
class _Steps:
    listener: Listener
    total: int
    done: int = 0

    def __call__(self, what: str) -> None:
        self.listener.begin(what, done=self.done, total=self.total)
        self.done += 1


@contextmanager
def _reasons(result: Measured) -> Iterator[None]:
    """A contender that fails says why, and the others go on."""
    try:
        yield
    except BertExportError as error:
        result.failure = str(error)


def _time_first_answers(
    contenders: Sequence[Contender],
    under: Conditions,
    record: Mapping[str, Any],
    results: Mapping[str, Measured],
) -> None:
    """Cold starts in turns; the first of each only fills the caches of files and byte code."""
    due = [
        contender
        for contender in contenders
        if len(results[contender.name].first_answers) < under.cold_starts
    ]
    for contender in due:
        results[contender.name].first_answers.clear()
    for turn in range(under.cold_starts + 1):
        for contender in due:
            result = results[contender.name]
            if result.failure is not None:
                continue
            with _reasons(result):
                seconds, size = _first_answer(contender, under, record)
                if turn:
                    result.first_answers.append(round(seconds, _DIGITS))
                    result.first_answer_bytes = max(size, result.first_answer_bytes or 0)


def _first_answer(
    contender: Contender, under: Conditions, record: Mapping[str, Any]
) -> tuple[float, int]:
    request = {
        "bundle": str(contender.bundle),
        "target": contender.target,
        "threads": under.threads,
        "cores": under.cores,
        "record": record,
    }
    with Child(_FIRST_ANSWER, threads=under.threads) as child:
        reply = child.ask(request)
        return reply["ended"] - child.started, reply["peak_bytes"]


def _open_all(
    stack: ExitStack,
    contenders: Sequence[Contender],
    under: Conditions,
    records: Sequence[Mapping[str, Any]],
    results: Mapping[str, Measured],
) -> dict[str, Child]:
    """A child per contender, each with its bundle open."""
    children = {}
    for contender in contenders:
        if results[contender.name].failure is not None:
            continue
        with _reasons(results[contender.name]):
            child = stack.enter_context(Child(_WORKER, threads=under.threads))
            child.ask(
                {
                    "do": "open",
                    "bundle": str(contender.bundle),
                    "target": contender.target,
                    "threads": under.threads,
                    "cores": under.cores,
                    "records": records,
                }
            )
            children[contender.name] = child
    return children


def _count_texts(
    children: Mapping[str, Child],
    results: Mapping[str, Measured],
    records: Sequence[Mapping[str, Any]],
    under: Conditions,
) -> int:
    """How many records all contenders answer: those that the slowest answers in a second."""
    count = min(under.texts, len(records))
    for name, child in children.items():
        with _reasons(results[name]):
            count = min(count, child.ask({"do": "count", "seconds": _PROBE_SECONDS})["count"])
    for name, child in children.items():
        if results[name].failure is None:
            with _reasons(results[name]):
                child.ask({"do": "keep", "count": count})
    return max(count, 1)


def _is_done(
    workload: Workload, children: Mapping[str, Child], results: Mapping[str, Measured]
) -> bool:
    """Whether an earlier run measured it for all: a single late-comer would not be interleaved."""
    return all(
        workload.label in results[name].timings or workload.label in results[name].refusals
        for name in children
    )


def _time_workload(
    workload: Workload,
    children: Mapping[str, Child],
    under: Conditions,
    results: Mapping[str, Measured],
) -> None:
    """Rounds of all contenders in turn, until each is tight or out of time; kept when all are."""
    active = [name for name in children if results[name].failure is None]
    rounds: dict[str, list[tuple[float, ...]]] = {name: [] for name in active}
    refusals: dict[str, str] = {}
    spent = dict.fromkeys(active, 0.0)
    request = {"do": "time", "workload": workload, "seconds": _ROUND_SECONDS}
    while active:
        for name in tuple(active):
            begun = time.monotonic()
            try:
                taken = children[name].ask(request)["taken"]
            except BertExportError as error:
                refusals[name] = str(error)
                active.remove(name)
                continue
            spent[name] += time.monotonic() - begun
            rounds[name].append(tuple(round(run, _DIGITS) for run in taken))
            tight = summarize(rounds[name], tolerance=under.tolerance).tight
            if tight or spent[name] >= under.seconds:
                active.remove(name)
    for name, taken in rounds.items():
        if name in refusals:
            results[name].refusals[workload.label] = refusals[name]
        else:
            results[name].timings[workload.label] = Timing(
                rows=workload.rows,
                rounds=tuple(taken),
                summary=summarize(taken, tolerance=under.tolerance),
            )


def _note_usage(children: Mapping[str, Child], results: Mapping[str, Measured]) -> None:
    """Peak memory so far; a child that is gone keeps its last figure."""
    for name, child in children.items():
        result = results[name]
        if result.failure is None:
            with _reasons(result):
                result.peak_bytes = child.ask({"do": "usage"})["peak_bytes"]
