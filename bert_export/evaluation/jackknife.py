"""The standard error of a metric by the choice of examples: the delete-a-group jackknife.

A metric on a few hundred examples moves by whole answers. Leaving out one group of the examples at
a time shows by how much, whatever the metric is. Leaving the same groups out of two engines'
answers shows it for their difference, which is far smaller if they err on the same examples.

Source: Shao and Wu 1989, "A general theory for jackknife variance estimation".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bert_export.evaluation.scorer import Examples, Scorer

__all__ = ["GROUPS", "leave_out_agreement", "leave_out_groups", "standard_error"]

GROUPS = 20
"""With 20 groups a standard error is known to a sixth of itself, for 20 more runs of the metric."""


def leave_out_groups(
    scorer: Scorer, examples: Examples, answers: Sequence[Any], seed: int
) -> tuple[float, ...]:
    """The task's metric with one group of the records left out at a time.

    Args:
        scorer: The task's scorer.
        examples: The examples, with labels.
        answers: The answers to all of them.
        seed: Seed of the groups. They are the same for every engine that answers these examples.

    Returns:
        A score per group. There are :data:`GROUPS` groups, or as many as there are records; none
        for a single record.
    """
    scores = []
    for remaining in _remaining(len(examples.data), seed):
        gold, remaining_answers = scorer.select(examples.gold, answers, remaining)
        scores.append(scorer.score(gold, remaining_answers)[scorer.metric])
    return tuple(scores)


def leave_out_agreement(
    scorer: Scorer, answers: Sequence[Any], reference: Sequence[Any], seed: int
) -> tuple[float, ...]:
    """The agreement with another engine with one group of the answers left out at a time.

    Args:
        scorer: The task's scorer.
        answers: An engine's answers to all items.
        reference: The other engine's.
        seed: Seed of the groups.

    Returns:
        An agreement per group, as in :func:`leave_out_groups`.
    """
    return tuple(
        scorer.agreement([answers[i] for i in remaining], [reference[i] for i in remaining])
        for remaining in _remaining(len(answers), seed)
    )


def _remaining(count: int, seed: int) -> Iterator[list[int]]:
    """What is left of so many things without each group of them; nothing where there is but one."""
    if count < 2:
        return
    order = np.random.default_rng(seed).permutation(count)
    groups = min(GROUPS, count)
    for group in range(groups):
        yield np.sort(np.delete(order, np.s_[group::groups])).tolist()


def standard_error(
    replicates: Sequence[float], others: Sequence[float] | None = None
) -> float | None:
    """The standard error of a score, or of the difference of two engines' scores.

    Args:
        replicates: From :func:`leave_out_groups`.
        others: Those of the other engine, with the same groups.

    Returns:
        The error in the score's unit; ``None`` without replicates.
    """
    if not replicates:
        return None
    differences = np.subtract(replicates, 0.0 if others is None else others)
    return math.sqrt((len(replicates) - 1) * float(np.var(differences)))
