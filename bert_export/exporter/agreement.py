"""How far two graphs give the same answers: what is compared, by kind, and how much must agree.

An agreement tells little where the head itself answers every text alike, so that is looked at too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bert_export.runtime.sessions.session import Array
from bert_export.tasks import AgreementKind

__all__ = [
    "MIN_AGREEMENT",
    "MIN_RARE_AGREEMENT",
    "Given",
    "Pair",
    "agreement",
    "answers_given",
    "rare_agreement",
]

MIN_AGREEMENT: Mapping[AgreementKind, float] = {
    "label": 0.90,
    "token": 0.90,
    "mask": 0.85,
    "span": 0.85,
    "sign": 0.95,
    "concordance": 0.98,
    "cosine": 0.98,
}
"""Least agreement of an INT8 graph with the head on real text, by kind."""

MIN_RARE_AGREEMENT = 0.5
"""Least share of the head's rarer answers (entities, labels that hold) that a graph keeps: one that
always gives the usual answer agrees with a head that mostly does."""

_FEW = 10  # rarer answers, that tell nothing
_ALIKE = 0.999  # mean cosine of vectors that tell texts apart no more

Pair = tuple[str, Array, Array, NDArray[np.bool_]]
"""Output name, the graph's array, the head's array, and which entries are no padding."""


def agreement(kind: AgreementKind, pairs: Sequence[Pair]) -> float:
    """Share of equal answers, mean cosine or concordance; the least over the outputs.

    Args:
        kind: A key of :data:`MIN_AGREEMENT`. ``concordance`` is the correlation coefficient that
            a shift and a change of scale lower too.
        pairs: All outputs of all batches.

    Source: Lin 1989, "A concordance correlation coefficient to evaluate reproducibility".
    """
    compare = {"cosine": _cosines, "concordance": _columns}.get(kind, partial(_equal, kind))
    scores: dict[str, list[NDArray[np.float64]]] = {}
    for name, left, right, kept in pairs:
        scores.setdefault(name, []).append(compare(left, right, kept))
    summary = _concordance if kind == "concordance" else np.mean
    return min(float(summary(np.concatenate(parts))) for parts in scores.values())


def rare_agreement(kind: AgreementKind, pairs: Sequence[Pair]) -> float | None:
    """Share of the head's answers beside its most frequent one that the graph gives too.

    The least over the outputs; ``None`` where a kind has no such answers, or too few were seen.

    Args:
        kind: A key of :data:`MIN_AGREEMENT`.
        pairs: All outputs of all batches.
    """
    if kind not in ("label", "token", "sign"):
        return None
    answers: dict[str, list[NDArray[np.int64]]] = {}
    for name, left, right, kept in pairs:
        both = np.stack([_answers(kind, array, kept) for array in (left, right)])  # (2, rows)
        answers.setdefault(name, []).append(both)
    shares = []
    for parts in answers.values():
        ours, theirs = np.concatenate(parts, axis=1)
        rare = theirs != np.bincount(theirs).argmax()
        if rare.sum() >= _FEW:
            shares.append(float((ours[rare] == theirs[rare]).mean()))
    return min(shares, default=None)


@dataclass(frozen=True, slots=True)
class Given:
    """What a head answers over some rows.

    Args:
        only: The one answer that it gives to all of them, in words; ``None`` where it gives
            several.
        never: Labels that it gives to none, in id order; empty where answers are no labels.
    """

    only: str | None
    never: tuple[str, ...]


def answers_given(
    kind: AgreementKind,
    outputs: Sequence[tuple[str, Array, NDArray[np.bool_]]],
    labels: Sequence[str],
) -> Given:
    """How different a head's answers are.

    Args:
        kind: A key of :data:`MIN_AGREEMENT`.
        outputs: Name, array and which entries are no padding, of all outputs of all batches.
        labels: Of the head, in id order; empty where it has none.
    """
    by_name: dict[str, list[tuple[Array, NDArray[np.bool_]]]] = {}
    for name, array, kept in outputs:
        by_name.setdefault(name, []).append((array, kept))
    only: str | None = None
    never: tuple[str, ...] = ()
    for parts in by_name.values():
        if kind in ("concordance", "cosine"):
            vectors = np.concatenate(
                [array[kept].reshape(int(kept.sum()), -1) for array, kept in parts]
            )
            only = only or _only_vector(kind, vectors.astype(np.float64))
        elif kind == "sign":
            signs = np.concatenate([array[kept] > 0 for array, kept in parts])  # (rows, L)
            if len(signs) and (signs == signs[0]).all():
                held = [label for label, holds in zip(labels, signs[0], strict=True) if holds]
                only = only or (f"the labels {', '.join(held)} only" if held else "no label")
            given = np.atleast_1d(signs.any(axis=0))  # (L,)
            never = tuple(label for label, seen in zip(labels, given, strict=True) if not seen)
        else:
            ids = np.unique(np.concatenate([_answers(kind, *part).reshape(-1) for part in parts]))
            is_label = kind in ("label", "token") and parts[0][0].shape[-1] == len(labels)
            if len(ids) == 1:
                answer = repr(labels[ids[0]]) if is_label else f"number {ids[0]}"
                only = only or f"one {_NOUNS[kind]} only, {answer}"
            if is_label:
                never = tuple(label for i, label in enumerate(labels) if i not in ids)
    return Given(only, never)


_NOUNS: Mapping[AgreementKind, str] = {
    "label": "label",
    "token": "label",
    "mask": "word",
    "span": "place in the text",
}


def _only_vector(kind: AgreementKind, vectors: NDArray[np.float64]) -> str | None:
    """The one score or direction that all rows share; vectors (rows, D)."""
    if kind == "concordance":
        spread = np.ptp(vectors, axis=0).max(initial=0.0)
        alike = spread <= 1e-3 * max(1.0, float(np.abs(vectors).max(initial=0.0)))
        return f"one score only, {vectors.mean():.4g}" if alike else None
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    # The squared length of the mean of unit vectors is their mean cosine.
    alike = len(units) and float((units.mean(axis=0) ** 2).sum()) >= _ALIKE
    return "nearly one vector only" if alike else None


def _answers(kind: AgreementKind, array: Array, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The answers that outputs stand for, as ids."""
    if kind == "span":  # the sequence axis itself is scored
        return np.asarray((array + np.where(kept, 0.0, -np.inf)).argmax(axis=-1))
    if kind == "sign":
        return (array[kept] > 0).astype(np.int64).reshape(-1)
    return np.asarray(array[kept].argmax(axis=-1))


def _equal(
    kind: AgreementKind, left: Array, right: Array, kept: NDArray[np.bool_]
) -> NDArray[np.float64]:
    same = _answers(kind, left, kept) == _answers(kind, right, kept)
    return np.asarray(same, dtype=np.float64)


def _cosines(left: Array, right: Array, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of vectors; two that are zero point the same way."""
    left, right = left[kept].astype(np.float64), right[kept].astype(np.float64)  # (rows, D)
    norms = np.linalg.norm(left, axis=-1), np.linalg.norm(right, axis=-1)
    cosines = (left * right).sum(axis=-1) / np.maximum(norms[0] * norms[1], 1e-12)
    return np.asarray(np.where((norms[0] == 0) & (norms[1] == 0), 1.0, cosines))


def _columns(left: Array, right: Array, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.stack([left[kept].reshape(-1), right[kept].reshape(-1)], axis=1).astype(np.float64)


def _concordance(columns: NDArray[np.float64]) -> float:
    """Of two columns (rows, 2); 1 where they are the same but for rounding."""
    left, right = columns.T
    if np.allclose(left, right, rtol=1e-5, atol=1e-6):
        return 1.0
    covariance = np.cov(left, right, bias=True)  # (2, 2)
    apart = (left.mean() - right.mean()) ** 2
    return float(2 * covariance[0, 1] / (covariance.trace() + apart))
