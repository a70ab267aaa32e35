"""Contenders timed against each other: the measuring itself.

Every contender is open in a process of its own; all are alive at once and idle but for the one
whose turn it is. They take turns of a few calls in laps (:mod:`bert_export.measuring.schedule`), at
one workload after the other. Then all processes end and others take their place: a *lifetime* is
over. What is compared are ratios of neighbouring turns (:mod:`bert_export.measuring.ratios`).
"""

from __future__ import annotations

import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any, Protocol, Self

import msgspec

from bert_export.errors import InputError, MeasurementError
from bert_export.measuring.child import Child
from bert_export.measuring.machine import available_cores
from bert_export.measuring.ratios import Ratio, paired_ratio
from bert_export.measuring.samples import (
    LEAST_TURNS,
    Summary,
    median_interval,
    percentile,
    summarize,
)
from bert_export.measuring.schedule import TURN_SECONDS, laps, turn_calls
from bert_export.measuring.workloads import Shape, Workload, parse_shapes

__all__ = [
    "Conditions",
    "Contender",
    "Lifetime",
    "Listener",
    "Measured",
    "Timing",
    "conditions",
    "open_child",
    "speed_up",
    "time_contenders",
    "time_first_answers",
    "timing_of",
]

Clock = Callable[[], float]

_DIGITS = 9  # of a second
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Something that is timed.

    Args:
        name: As tables call it; no other contender has it.
        worker: The module, or the file, that opens it; see :mod:`bert_export.measuring.serving`.
        request: What ``open_contender`` of the worker is given, a JSON object. ``threads`` are
            added to it.
        python: The interpreter, which may be one of another environment.
    """

    name: str
    worker: str | Path
    request: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for every contender.

    Args:
        shapes: Of the graph alone, as typed.
        texts: Records that whole answers are timed with at most; 0 leaves those workloads out.
        threads: Threads inside an operator.
        cores: Numbers of the processors that each child is pinned to.
        seconds: Of measuring per contender and workload at most, all lifetimes together.
        tolerance: A workload of a lifetime ends early once the 95 % interval of every ratio to the
            first contender is at most twice so wide a share of it.
        lifetimes: Processes of each contender, one after the other.
        cold_starts: Further processes of each contender that answer once and end.
    """

    shapes: tuple[str, ...]
    texts: int
    threads: int
    cores: tuple[int, ...]
    seconds: float
    tolerance: float
    lifetimes: int
    cold_starts: int

    @property
    def parsed_shapes(self) -> tuple[Shape, ...]:
        """The shapes as rows and tokens."""
        return parse_shapes(",".join(self.shapes)) if self.shapes else ()


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A contender at a workload; :func:`timing_of` makes one.

    Args:
        rows: Rows or records that a pass over the workload's calls answers.
        calls: Calls of a pass: one, or several with work of their own.
        lifetimes: Seconds of every call, by lifetime and turn. All contenders of a lifetime have
            its turns in the same order; a turn that this one sat out is empty. The calls of a
            lifetime follow each other as in the pass, round and round, from the first on.
        summary: Their percentiles.
    """

    rows: int
    calls: int
    lifetimes: tuple[tuple[tuple[float, ...], ...], ...]
    summary: Summary

    @property
    def pass_seconds(self) -> float:
        """Seconds of a pass: the sum of its calls' medians."""
        seconds: list[list[float]] = [[] for _ in range(self.calls)]
        for lifetime in self.lifetimes:
            clocked = [call for turn in lifetime for call in turn]
            for index, call in enumerate(clocked):
                seconds[index % self.calls].append(call)
        medians = [median(own) for own in seconds if own]
        return sum(medians) * self.calls / len(medians)  # a slow contender may not get round

    @property
    def p95_range(self) -> tuple[float, float]:
        """The lowest and the highest p95 of its lifetimes, in seconds."""
        calls = [sorted(itertools.chain(*lifetime)) for lifetime in self.lifetimes]
        figures = [percentile(ordered, 0.95) for ordered in calls if ordered]
        return min(figures), max(figures)

    @property
    def rows_per_second(self) -> float:
        """Throughput at the median."""
        return self.rows / self.pass_seconds

    @property
    def turns(self) -> list[list[float | None]]:
        """The figure of every turn, by lifetime; see :mod:`bert_export.measuring.ratios`."""
        return [
            [_figure(turn, self.calls) if turn else None for turn in lifetime]
            for lifetime in self.lifetimes
        ]


class Measured(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything about one contender; filled while it is measured.

    Args:
        timings: By the workload's label.
        speed_ups: By the workload's label, how many times as fast it is as the first contender;
            empty for the first itself.
        refusals: Workloads that it cannot do, and why.
        first_answers: Seconds from the start of a process to its first answer, one per process.
        first_answer_bytes: The largest resident set of those processes.
        peak_bytes: Of the processes that did every workload, the largest.
        failure: Why it is not measured any further.
    """

    timings: dict[str, Timing] = msgspec.field(default_factory=dict)
    speed_ups: dict[str, Ratio] = msgspec.field(default_factory=dict)
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
    shapes: Sequence[Shape] = (),
    threads: int | None = None,
    texts: int = 64,
    seconds: float = 4.0,
    tolerance: float = 0.02,
    lifetimes: int = 3,
    cold_starts: int = 5,
) -> Conditions:
    """Settle the conditions on this machine; see :class:`Conditions` for each.

    Args:
        shapes: Parsed already.
        threads: As many as there are processors when ``None``; each child is pinned to so many.
        texts: Records of whole answers at most.
        seconds: Per contender and workload at most.
        tolerance: At which a workload ends early.
        lifetimes: Processes of each contender, at least one.
        cold_starts: Fresh processes per contender.

    Raises:
        InputError: This machine does not have so many processors, or a number is out of bounds.
    """
    if not 0 <= seconds < math.inf:
        raise InputError("seconds are out of bounds", expected="0 or more", got=seconds)
    if not 0 < tolerance < math.inf:
        raise InputError("tolerance is out of bounds", expected="more than 0", got=tolerance)
    if lifetimes < 1:
        raise InputError("lifetimes are out of bounds", expected="1 or more", got=lifetimes)
    cores = available_cores()
    used = len(cores) if threads is None else threads
    if not 1 <= used <= len(cores):
        raise InputError("threads do not fit this machine", expected=f"1 to {len(cores)}", got=used)
    return Conditions(
        shapes=tuple(map(str, shapes)),
        texts=texts,
        threads=used,
        cores=cores[:used],
        seconds=seconds,
        tolerance=tolerance,
        lifetimes=lifetimes,
        cold_starts=cold_starts,
    )


def timing_of(
    *, rows: int, lifetimes: Sequence[Sequence[Sequence[float]]], calls: int = 1
) -> Timing:
    """A timing with its summary.

    Args:
        rows: See :class:`Timing`, as for the rest.
        lifetimes: At least one, with at least one turn of at least one call.
        calls: Of a pass.
    """
    frozen = tuple(tuple(map(tuple, lifetime)) for lifetime in lifetimes)
    turns = [turn for lifetime in frozen for turn in lifetime if turn]
    return Timing(rows=rows, calls=calls, lifetimes=frozen, summary=summarize(turns))


def speed_up(timing: Timing | None, over: Timing | None) -> Ratio | None:
    """How many times as fast one contender is as another that took turns with it.

    Args:
        timing: Of the one.
        over: Of the other.

    Returns:
        Above 1 where the first is faster; ``None`` where one of them was not measured.
    """
    if timing is None or over is None:
        return None
    return paired_ratio(over.turns, timing.turns)


def time_first_answers(
    contenders: Sequence[Contender],
    *,
    method: str,
    request: Mapping[str, Any],
    under: Conditions,
    results: Mapping[str, Measured],
) -> None:
    """Cold starts in mirrored rounds; the first of each only fills the caches of the disk.

    Args:
        contenders: Of distinct names.
        method: Of the open contender, that gives its first answer.
        request: Of that method.
        under: The conditions.
        results: One per contender, filled in place; those that have enough cold starts are left.
    """
    by_name = {
        contender.name: contender
        for contender in contenders
        if len(results[contender.name].first_answers) < under.cold_starts
    }
    for name in by_name:
        results[name].first_answers.clear()
    orders = laps(tuple(by_name), random.Random(_SEED))  # noqa: S311  an order, no secret
    for start in range(under.cold_starts + 1):
        for name in next(orders):
            result = results[name]
            if result.failure is not None:
                continue
            with _reasons(result), open_child(by_name[name], under) as child:
                answered = child.ask("ask", method=method, request=request)
                if start:
                    seconds = answered["ended"] - child.started
                    result.first_answers.append(round(seconds, _DIGITS))
                    result.first_answer_bytes = max(
                        answered["peak_bytes"], result.first_answer_bytes or 0
                    )


def time_contenders(
    contenders: Sequence[Contender],
    *,
    workloads: Sequence[Workload],
    under: Conditions,
    listener: Listener,
    results: Mapping[str, Measured],
) -> None:
    """Time contenders against each other.

    Args:
        contenders: Of distinct names; the others' speed-ups are over the first.
        workloads: Of distinct labels.
        under: The conditions.
        listener: Hears of the progress.
        results: One per contender, filled in place, so that an interrupt keeps what there is.
            Lifetimes that an earlier call measured for all contenders are kept, and those that lack
            are added; a workload that some contender is new to is measured anew.
    """
    done = {
        workload.label: _lifetimes_done(workload, contenders, results) for workload in workloads
    }
    total = under.lifetimes * (1 + len(workloads))
    chance = random.Random(_SEED)  # noqa: S311  an order, no secret
    for number in range(under.lifetimes):
        due = [workload for workload in workloads if done[workload.label] <= number]
        if not due:
            continue
        step = number * (1 + len(workloads))
        listener.begin(f"opening, {_ordinal(number, under)}", done=step, total=total)
        with Lifetime(contenders, under, results, chance) as lifetime:
            for workload in due:
                step += 1
                listener.begin(
                    f"{workload.label}, {_ordinal(number, under)}", done=step, total=total
                )
                lifetime.take_turns(workload)
                _compare(contenders, workload, results)
                lifetime.note_usage()
                listener.measured()


class Lifetime:
    """All contenders open, each in a process of its own, until the block ends.

    Args:
        contenders: Those whose result has no failure are opened; one that cannot be opened has the
            reason in its result.
        under: The conditions.
        results: One per contender, filled in place.
        chance: Source of the order in which they are opened and take turns.
        clock: Gives the seconds by which a workload's time is up.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        under: Conditions,
        results: Mapping[str, Measured],
        chance: random.Random,
        clock: Clock = time.monotonic,
    ) -> None:
        self._contenders = {contender.name: contender for contender in contenders}
        self._under = under
        self._results = results
        self._chance = chance
        self._clock = clock
        self._children: dict[str, Child] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for name in self._chance.sample(tuple(self._contenders), len(self._contenders)):
                result = self._results[name]
                if result.failure is None:
                    with _reasons(result):
                        self._children[name] = self._stack.enter_context(
                            open_child(self._contenders[name], self._under)
                        )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def take_turns(self, workload: Workload) -> None:
        """Add one lifetime to every contender's timing of a workload; a reason where it fails."""
        turns = _Turns(workload, self._under, self._clock)
        names = [
            name
            for name in self._contenders  # in their order: the first is what others are compared to
            if name in self._children and workload.label not in self._results[name].refusals
        ]
        for name in tuple(names):
            with self._refusals(name, workload, names):
                turns.prepare(name, self._children[name])
        orders = laps(tuple(names), self._chance)
        while names:
            taking_part = turns.begin_lap(names)
            for order in (next(orders), next(orders)):
                turns.begin_round(names)
                for name in order:
                    if name not in names:
                        continue
                    if name not in taking_part:
                        turns.sit_out(name)
                        continue
                    with self._refusals(name, workload, names):
                        turns.take(name, self._children[name])
            if turns.are_enough(names):
                break
        for name in names:
            timings = self._results[name].timings
            before = timings[workload.label].lifetimes if workload.label in timings else ()
            timings[workload.label] = timing_of(
                rows=workload.rows,
                calls=turns.calls[name],
                lifetimes=(*before, turns.seconds[name]),
            )

    def ask(self, name: str, method: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Ask an open contender for something; ``None`` and a failure where it cannot."""
        if name not in self._children:
            return None
        try:
            answer = self._children[name].ask("ask", method=method, request=request)
        except MeasurementError as error:
            self._results[name].failure = str(error)
            return None
        reply: dict[str, Any] = answer["reply"]
        return reply

    def note_usage(self) -> None:
        """Keep the largest resident set so far; a child that is gone keeps its last figure."""
        for name, child in self._children.items():
            result = self._results[name]
            if result.failure is None:
                with _reasons(result):
                    size = child.ask("usage")["peak_bytes"]
                    result.peak_bytes = max(size, result.peak_bytes or 0)

    @contextmanager
    def _refusals(self, name: str, workload: Workload, names: list[str]) -> Iterator[None]:
        """What a contender cannot do is a reason, and the others go on; without a child, for good.

        What earlier lifetimes measured of the workload goes: it is not one that the contender does.
        """
        try:
            yield
        except MeasurementError as error:
            result = self._results[name]
            names.remove(name)
            result.timings.pop(workload.label, None)
            if self._children[name].alive:
                result.refusals[workload.label] = str(error)
            else:
                result.failure = f"{workload.label}: {error}"
                del self._children[name]


class _Turns:
    """The turns of one workload in one lifetime.

    A contender whose calls are longer than a turn sits laps out, so that it takes no more time than
    the others, whose ratios to each other need many laps. It does so only where two others are
    left, and not where calls differ, of which all must do the same ones.

    Args:
        workload: It.
        under: The conditions.
        clock: Gives seconds.
    """

    def __init__(self, workload: Workload, under: Conditions, clock: Clock) -> None:
        self._workload = workload
        self._clock = clock
        self._tolerance = under.tolerance
        self._deadline = math.inf
        self._budget = under.seconds / under.lifetimes
        self._estimates: dict[str, float] = {}
        self._common: int | None = None
        self._credit: dict[str, float] = {}  # seconds that a contender may take, less those it took
        self._figures: dict[str, list[float | None]] = {}
        self.calls: dict[str, int] = {}
        self.seconds: dict[str, list[tuple[float, ...]]] = {}

    def prepare(self, name: str, child: Child) -> None:
        """Have a contender make its calls, warm them up and tell how long one takes."""
        ready = child.ask("prepare", workload=self._workload.label, request=self._workload.request)
        self.calls[name], self._estimates[name] = ready["calls"], ready["seconds"]
        self.seconds[name], self._figures[name] = [], []
        self._credit[name] = 0.0

    def begin_lap(self, names: Sequence[str]) -> list[str]:
        """Those who take part in the next lap."""
        in_credit = [name for name in names if self._credit[name] >= 0]
        for name in names:
            self._credit[name] += 2 * TURN_SECONDS
        different = any(self.calls[name] > 1 for name in names)
        return list(names) if different or len(in_credit) < 2 else in_credit

    def sit_out(self, name: str) -> None:
        """A turn that the contender does not take."""
        self.seconds[name].append(())
        self._figures[name].append(None)

    def begin_round(self, names: Sequence[str]) -> None:
        """Settle how many calls the turns of a round have."""
        if self._deadline == math.inf:
            self._deadline = self._clock() + self._budget * len(names)
        # Calls that differ are compared one by one, so every contender gets to the same ones.
        different = any(self.calls[name] > 1 for name in names)
        slowest = max((self._estimates[name] for name in names), default=1.0)
        self._common = turn_calls(slowest)[0] if different else None

    def take(self, name: str, child: Child) -> None:
        """One turn."""
        count, warm_ups = turn_calls(self._estimates[name])
        start = sum(map(len, self.seconds[name]))
        begun = self._clock()
        taken = child.ask(
            "turn",
            workload=self._workload.label,
            start=start,
            count=self._common or count,
            warm_ups=warm_ups,
        )["seconds"]
        self.seconds[name].append(tuple(round(call, _DIGITS) for call in taken))
        self._figures[name].append(_figure(taken, self.calls[name]))
        self._estimates[name] = max(fmean(taken), 10**-_DIGITS)
        self._credit[name] -= self._clock() - begun

    def are_enough(self, names: Sequence[str]) -> bool:
        """Whether the time is up, or every interval within the lifetime is narrow."""
        if not names or self._clock() >= self._deadline:
            return True
        first, *others = (self._figures[name] for name in names)
        if len(first) < 2 * LEAST_TURNS:
            return False
        if not others:
            turns = [turn for turn in first if turn is not None]
            low, high = median_interval(turns)
            return (high - low) / 2 <= self._tolerance * median(turns)
        ratios = (paired_ratio([other], [first]) for other in others)
        return all(ratio is not None and ratio.spread <= self._tolerance for ratio in ratios)


@contextmanager
def open_child(contender: Contender, under: Conditions) -> Iterator[Child]:
    """A process with the contender open in it."""
    with Child(
        contender.worker, threads=under.threads, cores=under.cores, python=contender.python
    ) as child:
        child.ask("open", request={"threads": under.threads, **contender.request})
        yield child


@contextmanager
def _reasons(result: Measured) -> Iterator[None]:
    """A contender that fails says why, and the others go on."""
    try:
        yield
    except MeasurementError as error:
        result.failure = str(error)


def _lifetimes_done(
    workload: Workload, contenders: Sequence[Contender], results: Mapping[str, Measured]
) -> int:
    """Lifetimes that all contenders have been through together; a workload begins anew where not.

    A single late-comer would not be interleaved with the others.
    """
    label = workload.label
    able = [
        results[contender.name]
        for contender in contenders
        if results[contender.name].failure is None and label not in results[contender.name].refusals
    ]
    counts = {
        len(result.timings[label].lifetimes)
        if label in result.timings and result.timings[label].rows == workload.rows
        else 0
        for result in able
    }
    if len(counts) == 1:
        return counts.pop()
    for result in able:
        result.timings.pop(label, None)
    return 0


def _compare(
    contenders: Sequence[Contender], workload: Workload, results: Mapping[str, Measured]
) -> None:
    """Fill the speed-ups over the first contender."""
    label = workload.label
    first, *others = (results[contender.name] for contender in contenders)
    for result in others:
        ratio = speed_up(result.timings.get(label), first.timings.get(label))
        if ratio is None:
            result.speed_ups.pop(label, None)
        else:
            result.speed_ups[label] = ratio


def _figure(turn: Sequence[float], calls: int) -> float:
    """What a turn says: see :mod:`bert_export.measuring.ratios`."""
    return median(turn) if calls == 1 else fmean(turn)


def _ordinal(number: int, under: Conditions) -> str:
    return f"lifetime {number + 1} of {under.lifetimes}"
