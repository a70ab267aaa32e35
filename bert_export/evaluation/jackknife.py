"""How far a figure is off by the choice of examples: the delete-a-group jackknife.

A metric on a few hundred examples moves by whole answers. Leaving out one group of the examples at
a time shows by how much, whatever the metric is, and the same groups left out of two engines'
answers show it for the difference of the two, which is far smaller where they err on the same
examples.

Source: Shao and Wu 1989, "A general theory for jackknife variance estimation".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_export.evaluation.scorer import Examples, Scorer

__all__ = ["GROUPS", "leave_out_groups", "standard_error"]

GROUPS = 20
"""A standard error is then known to a sixth of itself, and a metric is taken twenty times more."""


def leave_out_groups(
    scorer: Scorer, examples: Examples, answers: Sequence[Any], seed: int
) -> tuple[float, ...]:
    """The figure that counts, with one group of the records left out at a time.

    Args:
        scorer: Of the task.
        examples: With labels, from the scorer.
        answers: To all of them.
        seed: Of the groups, which are the same for every engine that answers these examples.

    Returns:
        A figure per group; fewer groups than :data:`GROUPS` where there are fewer records, and none
        where there is one record.
    """
    records = len(examples.data)
    if records < 2:
        return ()
    order = np.random.default_rng(seed).permutation(records)
    figures = []
    for group in range(min(GROUPS, records)):
        kept = np.sort(np.delete(order, np.s_[group :: min(GROUPS, records)]))
        gold, given = scorer.keep(examples.gold, answers, kept.tolist())
        figures.append(scorer.score(gold, given)[scorer.metric])
    return tuple(figures)


def standard_error(
    replicates: Sequence[float], others: Sequence[float] | None = None
) -> float | None:
    """Standard error of a figure, or of the difference of two engines' figures.

    Args:
        replicates: From :func:`leave_out_groups`.
        others: Those of the other engine, on the same groups.

    Returns:
        In the figure's unit; ``None`` where there are no replicates.
    """
    if not replicates:
        return None
    spread = np.subtract(replicates, 0.0 if others is None else others)
    return math.sqrt((len(replicates) - 1) * float(np.var(spread)))
