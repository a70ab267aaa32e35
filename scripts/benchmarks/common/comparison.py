"""Contenders timed at a benchmark's workloads, and the tables that compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bert_export.errors import BertExportError, one_line
from bert_export.measuring.ratios import Ratio, paired_ratio
from bert_export.measuring.timing import (
    Conditions,
    Contender,
    Listener,
    Measured,
    open_child,
    speed_up,
    time_contenders,
)
from bert_export.measuring.workloads import Workload
from scripts.benchmarks.common.places import WORKERS
from scripts.benchmarks.common.report import Cell

__all__ = ["Comparison", "announcer", "compare_outputs", "named_failures"]

_TAIL = 300
_MEGABYTE = 1e6


@dataclass(slots=True)
class Comparison:
    """Contenders of one table, and what is known of them.

    Args:
        under: The conditions.
        contenders: By name, those that can be opened.
        results: By name, also of those that could not be made.
    """

    under: Conditions
    contenders: dict[str, Contender] = field(default_factory=dict)
    results: dict[str, Measured] = field(default_factory=dict)

    def add(
        self,
        name: str,
        make: Callable[[], Mapping[str, Any]],
        *,
        python: Callable[[], str] | None = None,
    ) -> None:
        """Add a contender; where it cannot be made, the reason is its result.

        Args:
            name: As tables call it.
            make: Makes what is opened, and gives the request of ``workers/contenders.py``.
            python: Gives another environment's interpreter; this one's is taken when ``None``.
        """
        self.results[name] = Measured()
        try:
            request = dict(make())
            other = {} if python is None else {"python": python()}
        except (BertExportError, OSError) as error:
            self.results[name].failure = one_line(error, most=_TAIL, keep_end=True)
            return
        self.contenders[name] = Contender(
            name=name, worker=WORKERS / "contenders.py", request=request, **other
        )

    def time(self, workloads: Sequence[Workload], listener: Listener) -> None:
        """Time all that can be opened."""
        time_contenders(
            list(self.contenders.values()),
            workloads=workloads,
            under=self.under,
            listener=listener,
            results=self.results,
        )

    def ask(self, name: str, method: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Ask a contender for something in a process of its own.

        Returns:
            The reply; ``None`` where there is none, and then the reason is in its result.
        """
        result = self.results[name]
        if result.failure is not None:
            return None
        try:
            with open_child(self.contenders[name], self.under) as child:
                reply: dict[str, Any] = child.ask("ask", method=method, request=request)["reply"]
                return reply
        except BertExportError as error:
            result.failure = one_line(error, most=_TAIL, keep_end=True)
            return None

    def ratio(self, name: str, over: str, label: str) -> Ratio | None:
        """How many times as fast one contender does a workload as another."""
        one, other = self.results.get(name), self.results.get(over)
        if one is None or other is None:
            return None
        return speed_up(one.timings.get(label), other.timings.get(label))

    def fastest(self, names: Sequence[str], label: str) -> str | None:
        """The fastest of some contenders at a workload, by their ratios; ``None`` of none."""
        timed = [
            name for name in names if name in self.results and label in self.results[name].timings
        ]
        if not timed:
            return None
        speeds: dict[str, float] = {}
        for name in timed:
            ratio = self.ratio(name, timed[0], label)
            speeds[name] = 0.0 if ratio is None else ratio.value
        return max(timed, key=lambda name: speeds[name])

    def best_over(self, ours: Sequence[str], others: Sequence[str], label: str) -> Ratio | None:
        """How many times as fast the fastest of ours is as the fastest of the others."""
        own, other = self.fastest(ours, label), self.fastest(others, label)
        return None if own is None or other is None else self.ratio(own, other, label)

    def first_answer(self, name: str) -> float | None:
        """Median seconds from a process's start to its first answer."""
        starts = self.results[name].first_answers
        return median(starts) if starts else None

    def first_answer_ratio(self, name: str, over: str) -> Ratio | None:
        """How many times as soon one contender answers as another; ``None`` over itself."""
        if name == over:
            return None
        own, other = (
            [[start] for start in self.results[one].first_answers] for one in (name, over)
        )
        return paired_ratio(other, own)

    def milliseconds(self, name: str, label: str) -> float | None:
        """The median of a call."""
        timing = self.results[name].timings.get(label)
        return None if timing is None else 1000 * timing.summary.p50

    def table(self, labels: Sequence[str]) -> list[list[Cell]]:
        """Milliseconds of a call, the median and the 95th percentile: a row per contender."""
        return [[name, *(self._times(name, label) for label in labels)] for name in self.results]

    def rates_table(self, ours: str, label: str) -> list[list[Cell]]:
        """Table rows: contender, rows a second, peak in MB, and how many times as fast ours is.

        Args:
            ours: The contender that the others are compared with.
            label: Of the workload.
        """
        table: list[list[Cell]] = []
        for name, result in self.results.items():
            timing, size = result.timings.get(label), result.peak_bytes
            table.append(
                [
                    name,
                    None if timing is None else timing.rows_per_second,
                    None if size is None else size / _MEGABYTE,
                    None if name == ours else self.ratio(ours, name, label),
                ]
            )
        return table

    @property
    def failures(self) -> list[str]:
        """A sentence per contender that failed, and per workload that one cannot do."""
        sentences = []
        for name, result in self.results.items():
            if result.failure is not None:
                sentences.append(f"{name} failed: {result.failure}")
            for label, reason in result.refusals.items():
                sentences.append(f"{name} cannot do {label}: {reason}")
        return sentences

    def _times(self, name: str, label: str) -> str | None:
        timing = self.results[name].timings.get(label)
        if timing is None:
            return None
        return f"{1000 * timing.summary.p50:.3g} ({1000 * timing.summary.p95:.3g})"


def announcer(listener: Listener, name: str) -> Callable[[str], None]:
    """Tells a listener what is being made for the table of that name."""
    return lambda what: listener.begin(f"{name}: {what}", done=0, total=1)


def named_failures(comparisons: Mapping[str, Comparison]) -> list[str]:
    """The failures of several tables, each behind its table's name."""
    return [
        f"{name}: {sentence}"
        for name, comparison in comparisons.items()
        for sentence in comparison.failures
    ]


def compare_outputs(reference: Path, candidate: Path) -> str:
    """How far kept outputs are from those of a reference, in words.

    Args:
        reference: A file of ``save_outputs``.
        candidate: Another.
    """
    with np.load(reference) as stored:
        expected = dict(stored)
    with np.load(candidate) as stored:
        outputs = dict(stored)
    parts = []
    for name in sorted(expected.keys() & outputs.keys()):
        left, right = outputs[name].astype(np.float64), expected[name].astype(np.float64)
        if left.shape != right.shape:
            parts.append(f"{name} of another shape")
            continue
        norms = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
        cosine = float(((left * right).sum(axis=-1) / np.maximum(norms, 1e-12)).mean())
        parts.append(f"{cosine:.4f}, largest difference {np.abs(left - right).max():.2g}")
    return "; ".join(parts) or "nothing in common"
