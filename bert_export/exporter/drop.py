"""What INT8 costs on some examples, how sure that is, and whether it decides a budget.

The drop is the difference of two engines' scores on the same examples, so its standard error is
that of a paired difference: the jackknife leaves the same groups out of both, and what both get
wrong cancels. Where no answer differs the jackknife says 0, which is not known: one answer more
could have been another. A metric that counts answers therefore has a standard error of at least 1/n
on n examples (Laplace's rule of succession gives 1/(n + 2) for what was never seen in n).

The rules:

- Data that cannot show a drop as small as the budget is refused: fewer than 1/budget examples where
  answers are counted, and fewer than :data:`MIN_EXAMPLES` in any case.
- A drop is within the budget where its value is. That is the best estimate there is; its standard
  error is said beside it, and must be at most the budget, or the data is refused.
- A drop above the budget by more than two standard errors breaks it whatever the error is.
- Where layers went to float because INT8 everywhere was above the budget by less than one standard
  error, that is said: more examples would tell whether they had to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bert_export.datasets import DataSet
from bert_export.errors import DatasetError
from bert_export.evaluation.jackknife import GROUPS, standard_error

__all__ = [
    "MIN_EXAMPLES",
    "Drop",
    "Score",
    "check_decides",
    "check_enough",
    "examples_needed",
    "paired_drop",
]

MIN_EXAMPLES = GROUPS
"""Fewer examples than groups that are left out tell no standard error."""

_CLEAR = 2.0  # standard errors
_MOST_SAID = 100_000


@dataclass(frozen=True, slots=True)
class Score:
    """A figure of an engine, and the same with one group of the examples left out at a time."""

    value: float
    replicates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """How much less an engine scores than float, and the standard error of that."""

    value: float
    error: float


def paired_drop(baseline: Score, score: Score, *, examples: int, counts_answers: bool) -> Drop:
    """The drop from one engine to another on the same examples.

    Args:
        baseline: In float.
        score: Of the engine.
        examples: How many there are.
        counts_answers: See :attr:`bert_export.evaluation.scorer.Scorer.counts_answers`.
    """
    error = standard_error(baseline.replicates, score.replicates) or 0.0
    least = 1 / examples if counts_answers else 0.0
    return Drop(baseline.value - score.value, max(error, least))


def check_enough(data: DataSet, max_drop: float, *, counts_answers: bool) -> None:
    """Refuse data that is too small for a budget, before anything is measured.

    Raises:
        DatasetError: It is.
    """
    needed = max(MIN_EXAMPLES, math.ceil(1 / max_drop - 1e-9) if counts_answers else 0)
    if len(data) < needed:
        raise DatasetError(
            f"data {data.source} cannot decide an accuracy budget of {100 * max_drop:g} points",
            expected=f"at least {needed:,} examples",
            got=f"{len(data):,}, of which one alone is {100 / len(data):.2g} points",
            fix="Add examples, or raise --max-drop",
        )


def check_decides(data: DataSet, drop: Drop, max_drop: float) -> None:
    """Refuse data on which a drop is too uncertain to be held against a budget.

    Raises:
        DatasetError: The standard error is above the budget, and the drop is not clearly so.
    """
    if drop.error <= max_drop + 1e-9 or drop.value - _CLEAR * drop.error > max_drop:
        return
    raise DatasetError(
        f"data {data.source} cannot decide an accuracy budget of {100 * max_drop:g} points",
        expected=f"a standard error of at most {100 * max_drop:g} points",
        got=f"a drop of {100 * drop.value:.2f} with a standard error of {100 * drop.error:.2f} on "
        f"{len(data):,} examples",
        fix=f"Measure on about {examples_needed(len(data), drop.error, max_drop)}, or raise "
        "--max-drop",
    )


def examples_needed(examples: int, error: float, wanted: float) -> str:
    """About how many examples give the wanted standard error, in words: it shrinks as 1/sqrt(n)."""
    if wanted <= 0 or error / wanted > math.sqrt(_MOST_SAID / examples):
        return f"more than {_MOST_SAID:,} examples"
    needed = math.ceil(examples * (error / wanted) ** 2)
    step = 10 ** max(0, len(str(needed)) - 2)
    return f"{math.ceil(needed / step) * step:,} examples"
