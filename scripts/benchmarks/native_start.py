"""The native target's start and memory: time to a first answer, weights held twice, growth.

Usage::

    python scripts/benchmarks/native_start.py BUNDLE...

Each BUNDLE classifies or tags texts and holds the native target as its only one. Measured are:

- *start*: processor time of a C++ process that opens the bundle and answers once, beyond that of
  one that does no more than compare the bundle's files with their hashes; the program is built
  with CMake below ``--work``.
- *twice*: which part of the weights is packed for the kernels and still lies in the process's
  memory as the file has it.
- *growth*: resident memory over ragged calls, 1 to 8 rows of 1 to 128 tokens: the most after a
  sixth of them, over what it was then.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from bert_export.measuring.child import call_apart
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.samples import median_interval
from bert_export.measuring.timing import Listener
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.places import WORKERS
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.cpp_runtime import build_program, text_of, wait_for
from scripts.soak import FLAT

TARGET = "native"
TOKENS = 16
MOST_MILLISECONDS, MOST_TWICE = 60.0, 10.0
_MILLI, _MEGABYTE = 1e3, 1e6
Times = tuple[list[float], list[float], float]
"""Processor milliseconds of first answers and of hashing, and megabytes at most."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a bundle's native engine takes.

    Args:
        first: Processor milliseconds of processes that answered once.
        hashed: Of processes that compared the files with their hashes, each beside one of those.
        peak: Megabytes of the processes that answered.
        weights: Megabytes of the weights.
        packed: Of those that kernels have in an order of their own.
        twice: Of those that lie in memory as they were stored too.
        calls: Ragged calls.
        growth: Memory at most, over that after a sixth of the calls.
    """

    first: Sequence[float]
    hashed: Sequence[float]
    peak: float
    weights: float
    packed: float
    twice: float
    calls: int
    growth: float

    @property
    def beyond(self) -> list[float]:
        """Milliseconds of a start without its hashing."""
        return [first - hashed for first, hashed in zip(self.first, self.hashed, strict=True)]

    @property
    def share(self) -> float:
        """Percent of the weights that lie in memory twice."""
        return 100 * self.twice / self.weights


@benchmark("scripts/benchmarks/native_start.py", cold_starts=21)
@click.argument(
    "bundles",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    nargs=-1,
    required=True,
)
@click.option("--calls", type=click.IntRange(min=6), default=100_000, show_default=True)
def main(common: Common, listener: Listener, *, bundles: Sequence[Path], calls: int) -> Report:
    """Measure start and memory of the native engine of each bundle."""
    machine = describe_machine()
    listener.begin("building", done=0, total=1 + len(bundles))
    program = build_program(common)
    times: dict[str, Times] = {}
    starts: dict[str, Start] = {}
    for bundle in bundles:  # what is timed before what takes long
        listener.begin(f"{bundle.name}: starts", done=0, total=len(bundles))
        times[bundle.name] = _start(program, bundle, common.under.cold_starts)
    for index, bundle in enumerate(bundles):
        listener.begin(f"{bundle.name}: calls", done=index, total=len(bundles))
        starts[bundle.name] = _remember(bundle, times[bundle.name], 600 if common.quick else calls)
    return Report(
        benchmark="native_start",
        machine=machine,
        versions=installed_versions(),
        settings={"threads": 1, "starts": common.under.cold_starts, "calls": calls},
        sections=[section(starts)],
        figures={name: asdict(start) for name, start in starts.items()},
        bounds=[bound for name, start in starts.items() for bound in bounds(name, start)],
    )


def _start(program: Path, bundle: Path, starts: int) -> Times:
    """Let processes answer once, and others compare the files with their hashes."""
    text = text_of(bundle, TOKENS)
    milliseconds: dict[str, list[float]] = {"first": [], "hash": []}
    peak = 0.0
    for start in range(-1, starts):
        for what in ("first", "hash") if start % 2 == 0 else ("hash", "first"):
            used, megabytes = wait_for([str(program), what, str(bundle), text])
            if start >= 0:  # the one before fills the caches of the disk
                milliseconds[what].append(_MILLI * used)
                peak = max(peak, megabytes)
    return milliseconds["first"], milliseconds["hash"], peak


def _remember(bundle: Path, times: Times, calls: int) -> Start:
    """Count the weights in memory, and watch it over ragged calls."""
    request = {
        "bundle": str(bundle),
        "target": TARGET,
        "text": text_of(bundle, TOKENS),
        "calls": calls,
    }
    worker = WORKERS / "native_memory.py"
    memory = call_apart(worker, "weights_twice", request, threads=1).reply
    grown = call_apart(worker, "ragged_growth", request, threads=1).reply
    first, hashed, peak = times
    return Start(
        first=first,
        hashed=hashed,
        peak=peak,
        weights=memory["weights"] / _MEGABYTE,
        packed=memory["packed"] / _MEGABYTE,
        twice=memory["twice"] / _MEGABYTE,
        calls=grown["calls"],
        growth=grown["most"] / grown["settled"],
    )


def section(starts: dict[str, Start]) -> Section:
    """A row per bundle."""
    rows: list[list[Cell]] = []
    for name, start in starts.items():
        low, high = median_interval(start.beyond)
        rows.append(
            [
                name,
                statistics.median(start.hashed),
                statistics.median(start.beyond),
                f"{low:.1f} to {high:.1f}",
                start.peak,
                start.weights,
                start.packed,
                start.share,
                float(start.calls),
                start.growth,
            ]
        )
    return Section(
        part="start and memory",
        title="A C++ process to its first answer, and the memory of weights and calls",
        header=(
            "bundle",
            "hashing, ms",
            "the rest, ms",
            "interval",
            "peak, MB",
            "weights, MB",
            "packed, MB",
            "weights twice, %",
            "ragged calls",
            "memory grown to, times",
        ),
        rows=rows,
    )


def bounds(name: str, start: Start) -> list[Bound]:
    """What the target promises."""
    rest = statistics.median(start.beyond)
    return [
        Bound(f"{name}: start over hashing", rest, MOST_MILLISECONDS, "at most", "ms"),
        Bound(f"{name}: weights held twice", start.share, MOST_TWICE, "at most", "%"),
        Bound(f"{name}: memory over ragged calls", start.growth, FLAT, "at most", "times"),
    ]


if __name__ == "__main__":
    main()
