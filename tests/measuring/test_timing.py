"""Contenders that are tiny workers, in real children: turns, lifetimes, refusals, failures."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from bert_export.errors import InputError
from bert_export.measuring import timing
from bert_export.measuring.child import Child
from bert_export.measuring.machine import describe_machine, processor_kind
from bert_export.measuring.schedule import TURN_SECONDS
from bert_export.measuring.timing import (
    Contender,
    Lifetime,
    Measured,
    conditions,
    speed_up,
    time_contenders,
    time_first_answers,
)
from bert_export.measuring.workloads import Workload
from tests.measuring.support import Silent

# Counts to a number per call, and writes every call into a log that all contenders share.
WORKER = """
import os

class Counting:
    def __init__(self, request):
        self.request = request
        self.note("open")

    def note(self, what):
        with open(self.request["log"], "a") as log:
            log.write(f"{self.request['name']} {what} {os.getpid()}\\n")

    def calls(self, request):
        trouble = self.request.get("trouble", {}).get(request["name"])
        if trouble == "refuse":
            raise ValueError("this is not for me")
        def call(index):
            if trouble == "die":
                os._exit(9)
            if trouble == "fail" and self.last_is_prepared():
                raise RuntimeError("out of order")
            self.count += 1
            self.note(f"{request['name']}.{index}")
            sum(range(request["work"]))
        self.count = 0
        return [lambda index=index: call(index) for index in range(request.get("calls", 1))]

    def last_is_prepared(self):
        with open(self.request["log"]) as log:
            return any(line.startswith("c w") for line in log)

    def answer(self, request):
        self.note("answer")
        return {"heard": request}

def open_contender(request):
    if request.get("closed"):
        raise OSError("cannot be opened")
    return Counting(request)
"""


class Bench:
    """Contenders of a folder, and the log of what they did."""

    def __init__(self, folder: Path) -> None:
        self._worker = folder / "counting.py"
        self._worker.write_text(WORKER, encoding="utf-8")
        self._log = folder / "log.txt"
        self.contenders: list[Contender] = []
        self.results: dict[str, Measured] = {}

    def add(self, name: str, **request: Any) -> None:
        own = {"name": name, "log": str(self._log), **request}
        self.contenders.append(Contender(name=name, worker=self._worker, request=own))
        self.results[name] = Measured()

    def run(self, *workloads: Workload, listener: Silent | None = None, **options: Any) -> None:
        under = conditions(**({"threads": 1, "seconds": 0.0, "lifetimes": 2} | options))
        time_contenders(
            self.contenders,
            workloads=workloads,
            under=under,
            listener=listener or Silent(),
            results=self.results,
        )

    @property
    def log(self) -> list[list[str]]:
        """Name, what it did, and in which process."""
        return [line.split() for line in self._log.read_text().splitlines()]


def workload(label: str, *, work: int = 2000, calls: int = 1) -> Workload:
    request = {"name": label, "work": work, "calls": calls}
    return Workload(label=label, rows=calls, request=request)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_contenders_take_turns_through_several_lifetimes(bench: Bench) -> None:
    bench.add("a")
    bench.add("b")
    listener = Silent()
    bench.run(workload("w"), workload("x"), listener=listener)
    assert listener.steps == [
        f"{what}, lifetime {number} of 2" for number in (1, 2) for what in ("opening", "w", "x")
    ]
    assert listener.saves == 4
    for measured in bench.results.values():
        assert (measured.failure, measured.refusals) == (None, {})
        assert list(measured.timings) == ["w", "x"]
        for found in measured.timings.values():
            assert [len(lifetime) for lifetime in found.lifetimes] == [2, 2]  # a lap
            assert all(
                call > 0 for lifetime in found.lifetimes for turn in lifetime for call in turn
            )
        assert (measured.peak_bytes or 0) > 1e6
    assert set(bench.results["b"].speed_ups) == {"w", "x"}
    ratio = bench.results["b"].speed_ups["w"]
    assert (ratio.lifetimes, ratio.laps) == (2, 2)
    assert ratio.interval is not None
    assert ratio.interval[0] <= ratio.value <= ratio.interval[1]
    processes = Counter(name for name, what, _ in bench.log if what == "open")
    assert processes == {"a": 2, "b": 2}


def test_all_are_alive_at_once(bench: Bench) -> None:
    for name in "abc":
        bench.add(name)
    bench.run(workload("w"), lifetimes=1)
    kinds = ["open" if what == "open" else name for name, what, _ in bench.log]
    assert kinds[:3] == ["open"] * 3
    assert "open" not in kinds[3:]


def test_rounds_are_mirrored(bench: Bench) -> None:
    for name in "abc":
        bench.add(name)
    bench.run(workload("w", work=3_000_000), lifetimes=1)  # some calls a turn
    turns = [name for name, what, _ in bench.log if what != "open"]
    # After each has been warmed up in order: a round, and the same backwards.
    runs = [name for index, name in enumerate(turns) if index == 0 or turns[index - 1] != name]
    there_and_back = runs[3:] if runs[2] != runs[3] else runs[2:]
    order = there_and_back[:3]
    assert there_and_back == [*order, *order[-2::-1]]
    assert sorted(order) == ["a", "b", "c"]


def test_calls_that_differ_are_the_same_ones_for_all(bench: Bench) -> None:
    bench.add("a")
    bench.add("b")
    bench.run(workload("w", calls=7), lifetimes=1)
    timings = [bench.results[name].timings["w"] for name in "ab"]
    lengths = [[len(turn) for turn in timing.lifetimes[0]] for timing in timings]
    assert lengths[0] == lengths[1]
    assert timings[0].calls == 7
    assert timings[0].pass_seconds > 0


def test_who_is_slow_sits_laps_out_and_the_others_go_on() -> None:
    under = conditions(threads=1, seconds=1.0, lifetimes=1)
    turns = timing._Turns(workload("w"), under, FakeClock())
    clock = {"fast": 0.001, "faster": 0.0005, "slow": 1.0}
    names = list(clock)
    for name in names:
        turns.calls[name], turns.seconds[name], turns._figures[name] = 1, [], []
        turns._credit[name] = 0.0
    taken = dict.fromkeys(names, 0)
    for _ in range(30):
        for name in turns.begin_lap(names):
            taken[name] += 1
            turns._credit[name] -= 2 * clock[name]
    assert taken["fast"] == taken["faster"] == 30
    assert taken["slow"] == 6  # of two seconds each, as two fifths a lap allow
    two = ["fast", "slow"]
    assert turns.begin_lap(two) == two  # nobody would be left to compare with
    turns.calls["fast"] = 3
    assert turns.begin_lap(names) == names  # calls that differ are the same ones for all


def test_a_workload_that_one_cannot_do_is_a_reason(bench: Bench) -> None:
    bench.add("a")
    bench.add("b", trouble={"w": "refuse"})
    bench.add("c")
    bench.run(workload("w"), workload("x"))
    assert bench.results["b"].refusals == {"w": "ValueError: this is not for me."}
    assert bench.results["b"].failure is None
    assert list(bench.results["b"].timings) == ["x"]
    assert list(bench.results["c"].speed_ups) == ["w", "x"]


def test_who_fails_in_the_middle_drops_out_of_the_workload(bench: Bench) -> None:
    bench.add("a")
    bench.add("b", trouble={"w": "fail"})
    bench.add("c")
    bench.run(workload("w"), workload("x"))
    assert bench.results["b"].refusals == {"w": "RuntimeError: out of order."}
    assert list(bench.results["b"].timings) == ["x"]
    assert list(bench.results["a"].timings) == ["w", "x"]


def test_who_dies_is_out_and_the_others_go_on(bench: Bench) -> None:
    bench.add("a", trouble={"x": "die"})
    bench.add("b")
    bench.run(workload("w"), workload("x"), workload("y"))
    assert "x: counting ended with status 9" in (bench.results["a"].failure or "")
    assert [len(bench.results["a"].timings[label].lifetimes) for label in ("w",)] == [1]
    assert list(bench.results["b"].timings) == ["w", "x", "y"]
    assert [len(one.lifetimes) for one in bench.results["b"].timings.values()] == [2, 2, 2]
    assert bench.results["b"].speed_ups["w"].lifetimes == 1  # as far as both reach


def test_who_cannot_be_opened_says_why(bench: Bench) -> None:
    bench.add("a", closed=True)
    bench.add("b")
    bench.contenders.append(Contender(name="c", worker="c", python="/no/such/python"))
    bench.results["c"] = Measured()
    bench.run(workload("w"))
    assert bench.results["a"].failure == "OSError: cannot be opened."
    assert "cannot be started" in (bench.results["c"].failure or "")
    assert "w" in bench.results["b"].timings


def test_lifetimes_that_are_there_are_kept(bench: Bench) -> None:
    bench.add("a")
    bench.add("b")
    bench.run(workload("w"), lifetimes=1)
    before = bench.results["a"].timings["w"].lifetimes
    bench.run(workload("w"), workload("x"), lifetimes=1)
    assert bench.results["a"].timings["w"].lifetimes == before
    assert "x" in bench.results["a"].timings
    bench.run(workload("w"), lifetimes=3)
    assert bench.results["a"].timings["w"].lifetimes[0] == before[0]
    assert len(bench.results["a"].timings["w"].lifetimes) == 3


def test_a_late_comer_is_measured_beside_the_others(bench: Bench) -> None:
    bench.add("a")
    bench.run(workload("w"))
    before = bench.results["a"].timings["w"]
    bench.add("b")
    bench.run(workload("w"))
    assert bench.results["a"].timings["w"] != before
    assert bench.results["b"].speed_ups["w"].lifetimes == 2


def test_a_workload_of_other_rows_is_another(bench: Bench) -> None:
    bench.add("a")
    bench.run(workload("w", calls=1))
    bench.run(workload("w", calls=3))
    assert bench.results["a"].timings["w"].rows == 3


def test_an_interrupt_keeps_whole_lifetimes(bench: Bench) -> None:
    class Interrupting(Silent):
        def begin(self, what: str, *, done: int, total: int) -> None:
            if what == "x, lifetime 2 of 3":
                raise KeyboardInterrupt

    bench.add("a")
    with pytest.raises(KeyboardInterrupt):
        bench.run(workload("w"), workload("x"), listener=Interrupting(), lifetimes=3)
    kept = {label: len(one.lifetimes) for label, one in bench.results["a"].timings.items()}
    assert kept == {"w": 2, "x": 1}
    bench.run(workload("w"), workload("x"), lifetimes=3)
    kept = {label: len(one.lifetimes) for label, one in bench.results["a"].timings.items()}
    assert kept == {"w": 3, "x": 3}


class FakeChild:
    """Stands for a child whose calls take such seconds, by a clock that they move on."""

    alive = True

    def __init__(self, clock: FakeClock, call_seconds: Iterator[float]) -> None:
        self._clock, self._call_seconds = clock, call_seconds

    def ask(self, do: str, /, *, patience: float = 60.0, **fields: Any) -> dict[str, Any]:
        del patience
        if do == "prepare":
            return {"calls": 1, "seconds": self._call()}
        assert do == "turn"
        for _ in range(fields["warm_ups"]):
            self._call()
        return {"seconds": [self._call() for _ in range(fields["count"])]}

    def _call(self) -> float:
        taken = next(self._call_seconds)
        self._clock.now += taken
        return taken


class FakeClock:
    """Goes on when a fake child works, and only then."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def time_on_a_fake_clock(
    calls: Mapping[str, Iterator[float]], **options: Any
) -> tuple[float, dict[str, Measured]]:
    """Seconds of one lifetime at one workload, and what was measured."""
    clock, results = FakeClock(), {name: Measured() for name in calls}
    lifetime = Lifetime(
        [Contender(name=name, worker="none") for name in calls],
        conditions(threads=1, lifetimes=1, **options),
        results,
        random.Random(0),
        clock,
    )
    lifetime._children = {
        name: cast("Child", FakeChild(clock, seconds)) for name, seconds in calls.items()
    }
    lifetime.take_turns(workload("w"))
    return clock.now, results


def test_a_workload_takes_the_time_that_it_is_given() -> None:
    chance = random.Random(1)
    noise = iter(lambda: chance.uniform(0.01, 0.02), None)
    calls = {"a": noise, "b": noise}
    taken, results = time_on_a_fake_clock(calls, seconds=4.0, tolerance=1e-9)
    assert 8.0 <= taken < 8.0 + 4 * TURN_SECONDS  # four of each; a lap is not broken off
    laps = [len(results[name].timings["w"].lifetimes[0]) for name in calls]
    assert laps[0] == laps[1] > 40
    taken, _ = time_on_a_fake_clock(calls, seconds=0.0, tolerance=1e-9)
    assert taken < 1.0  # one lap


def test_a_workload_ends_early_where_the_ratio_is_sure() -> None:
    taken, results = time_on_a_fake_clock(
        {"a": itertools.repeat(0.01), "b": itertools.repeat(0.02)}, seconds=4.0
    )
    assert taken < 2.0
    ratio = speed_up(results["b"].timings["w"], results["a"].timings["w"])
    assert ratio is not None
    assert ratio.value == pytest.approx(0.5)


def test_first_answers_are_in_turns_after_one_that_does_not_count(bench: Bench) -> None:
    bench.add("a")
    bench.add("b", closed=True)
    bench.add("c")
    under = conditions(threads=1, cold_starts=3)
    time_first_answers(
        bench.contenders, method="answer", request={}, under=under, results=bench.results
    )
    assert len(bench.results["a"].first_answers) == len(bench.results["c"].first_answers) == 3
    assert (bench.results["a"].first_answer_bytes or 0) > 1e6
    assert "cannot be opened" in (bench.results["b"].failure or "")
    order = [name for name, what, _ in bench.log if what == "answer"]
    assert len(order) == 8
    assert order[:2] == order[3:1:-1]  # mirrored
    time_first_answers(  # what is there is kept
        bench.contenders, method="answer", request={}, under=under, results=bench.results
    )
    assert len(bench.log) == 16


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"threads": 4096}, "threads do not fit"),
        ({"seconds": math.nan}, "seconds are out of bounds"),
        ({"tolerance": 0.0}, "tolerance is out of bounds"),
        ({"lifetimes": 0}, "lifetimes are out of bounds"),
    ],
)
def test_conditions_must_fit_the_machine(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        conditions(**options)


def test_children_are_pinned_alike() -> None:
    assert len(conditions(threads=1).cores) == 1


@pytest.mark.parametrize(
    ("instructions", "kind"),
    [
        (("avx2",), "AVX2"),
        (("avx2", "avx_vnni"), "AVX-VNNI"),
        (("avx2", "avx512f", "avx512_vnni"), "AVX512-VNNI"),
        (("avx2", "avx512f", "avx512_vnni", "amx_int8"), "AMX"),
        (("asimddp",), "Arm"),
    ],
)
def test_the_kind_of_processor(instructions: tuple[str, ...], kind: str) -> None:
    assert processor_kind(instructions) == kind


def test_the_machine_says_its_kind() -> None:
    machine = describe_machine()
    assert machine["processor"] == processor_kind(machine["instructions"])
    assert json.dumps(machine)
