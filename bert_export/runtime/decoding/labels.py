"""Logits of a sequence to labels: classes, hypotheses, and whether a sentence follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.runtime.decoding.softmax import softmax
from bert_export.tasks.text_classification import Activation

__all__ = [
    "choose_activation",
    "find_entailment",
    "judge_next_sentence",
    "rank_hypotheses",
    "rank_labels",
    "score_hypotheses",
    "score_labels",
]

Scores = NDArray[np.float32]


def choose_activation(problem_type: str | None, labels: int) -> Activation:
    """What turns logits into scores where nobody says.

    Args:
        problem_type: ``problem_type`` of the checkpoint's config.
        labels: How many labels the head has.
    """
    if problem_type == "regression":
        return "none"
    if problem_type == "multi_label_classification" or labels == 1:
        return "sigmoid"
    return "softmax"


def score_labels(logits: Scores, activation: Activation) -> Scores:
    """Scores of every label.

    Args:
        logits: float32 (..., L).
        activation: What is applied to them.

    Returns:
        float32 (..., L).
    """
    if activation == "none":
        return logits
    if activation == "sigmoid":
        power = np.exp(-np.abs(logits))  # at most 1, so nothing overflows
        return np.asarray(np.where(logits < 0, power, 1) / (1 + power))
    return softmax(logits)


def rank_labels(
    scores: Scores, labels: Sequence[str], top_k: int | None
) -> list[dict[str, str | float]]:
    """The best labels, best first; equal scores keep the labels' order.

    Args:
        scores: float32 (L,).
        labels: L names.
        top_k: How many to keep; all when ``None``.
    """
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [{"label": labels[index], "score": float(scores[index])} for index in order]


def find_entailment(labels: Sequence[str]) -> int | None:
    """Id of the first label that starts with "entail", whatever its case."""
    matches = (index for index, label in enumerate(labels) if label.lower().startswith("entail"))
    return next(matches, None)


def score_hypotheses(logits: Scores, entailment: int, *, multi_label: bool) -> Scores:
    """How far each hypothesis holds.

    Args:
        logits: float32 (C, L): the head's logits of C hypotheses.
        entailment: Id of the label that says that a hypothesis holds.
        multi_label: Whether each hypothesis is weighed against its contradiction, instead of
            against the other hypotheses. A single one always is.

    Returns:
        float32 (C,).
    """
    if not (multi_label or len(logits) == 1):
        return softmax(logits[:, entailment])
    contradiction = -1 if entailment == 0 else 0
    return np.asarray(softmax(logits[:, [contradiction, entailment]])[:, 1])


def rank_hypotheses(text: str, labels: Sequence[str], scores: Scores) -> dict[str, Any]:
    """The answer to one text, best label first; of equal scores the last comes first.

    Args:
        text: That the hypotheses are about.
        labels: C labels.
        scores: float32 (C,).
    """
    order = np.argsort(scores, kind="stable")[::-1]
    return {
        "sequence": text,
        "labels": [labels[index] for index in order],
        "scores": scores[order].tolist(),
    }


def judge_next_sentence(logits: Scores) -> dict[str, Any]:
    """The verdict on one pair.

    Args:
        logits: float32 (2,); index 0 speaks for "is next".

    Returns:
        ``is_next``, and ``score``, the probability that it is.

    Source: Devlin 2018, §3.1; the label order is that of the original checkpoints.
    """
    score = softmax(logits)[0]  # ()
    return {"is_next": bool(logits[0] >= logits[1]), "score": float(score)}
