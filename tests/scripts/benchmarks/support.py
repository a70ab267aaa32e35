"""What tests of the benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping

from bert_export.measuring.timing import Measured, conditions, timing_of
from scripts.benchmarks.common.comparison import Comparison

__all__ = ["Silent", "compared"]


class Silent:
    """Hears nothing."""

    def begin(self, what: str, *, done: int, total: int) -> None: ...
    def measured(self) -> None: ...


def compared(milliseconds: Mapping[str, Mapping[str, float]], *, rows: int = 1) -> Comparison:
    """A comparison as if it were measured: two lifetimes of contenders that never vary.

    Args:
        milliseconds: Of a call, by contender and workload.
        rows: Of every workload.
    """
    comparison = Comparison(conditions(threads=1))
    for name, times in milliseconds.items():
        comparison.results[name] = Measured(
            timings={
                label: timing_of(rows=rows, lifetimes=[[[time / 1000] * 3] * 4] * 2)
                for label, time in times.items()
            }
        )
    return comparison
