"""Scorers of heads that give vectors: sentence embeddings, and the encoder's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.datasets import DataSet
from bert_export.evaluation.labels import Notes
from bert_export.evaluation.scorer import (
    Answered,
    AnyPipeline,
    Examples,
    Scorer,
    correlation,
    gold_labels,
)

__all__ = ["EmbeddingScorer", "FeatureScorer", "ScoredPair", "mean_cosine"]

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair of texts and its label.

    Args:
        first, second: Indices of the two texts among all.
        score: How similar they are.
    """

    first: int
    second: int
    score: float


class EmbeddingScorer(Scorer):
    """Rank correlation of the cosine of two embeddings with the similarity of their texts."""

    agreement_kind = "mean cosine with the reference's embeddings"
    counts_answers = False
    field = "score"
    needs = "the fields text_pair and score in every record"

    def prepare(self, pipeline: AnyPipeline, data: DataSet, seed: int) -> Examples:
        # Every text is embedded once. A record without a pair is a text of its own.
        texts: list[str] = []
        pairs: list[tuple[int, int]] = []
        for record in data.records:
            first = len(texts)
            texts.append(record["text"])
            texts += [record["text_pair"]] if "text_pair" in record else []
            pairs.append((first, len(texts) - 1))
        scores = gold_labels(data, "score", lambda value, _: float(value))
        gold = None
        if scores is not None:
            gold_labels(data, "text_pair", lambda value, _: value, needed=True)
            gold = [ScoredPair(*pair, score) for pair, score in zip(pairs, scores, strict=True)]
        settings = self.settings(pipeline, data)
        rows = pipeline.encode_items(texts, settings)
        return Examples(data, tuple(texts), tuple(map(tuple, rows)), settings, gold)

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> None:
        return None  # see prepare

    def answer(self, answered: Answered) -> Vectors:
        return np.array(answered.decoded)  # (D,), a copy

    def score(self, gold: Sequence[ScoredPair], answers: Sequence[Vectors]) -> dict[str, float]:
        cosines = [float(_cosine(answers[pair.first], answers[pair.second])) for pair in gold]
        scores = [pair.score for pair in gold]
        return {
            self.metric: correlation("spearmanr", scores, cosines),
            "Pearson correlation": correlation("pearsonr", scores, cosines),
        }

    def select(
        self, gold: Sequence[ScoredPair], answers: Sequence[Vectors], records: Sequence[int]
    ) -> tuple[Sequence[ScoredPair], Sequence[Vectors]]:
        return [gold[index] for index in records], answers  # pairs refer to texts by index

    def agreement(self, answers: Sequence[Vectors], reference: Sequence[Vectors]) -> float:
        return mean_cosine(answers, reference)


class FeatureScorer(Scorer):
    """The encoder's vectors have no labels: only their agreement is measured."""

    agreement_kind = "mean cosine with the reference's token vectors"
    counts_answers = False
    field = ""
    needs = "a bundle to compare with"

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> None:
        return None

    def answer(self, answered: Answered) -> Vectors:
        return np.asarray(answered.reduced[0])  # (S, H)

    def score(self, gold: Any, answers: Sequence[Vectors]) -> dict[str, float]:
        return {self.metric: mean_cosine(answers, gold)}


def mean_cosine(vectors: Sequence[Vectors], others: Sequence[Vectors]) -> float:
    """The mean cosine of two series of vectors.

    Args:
        vectors: float32 (D,) or (S, D) each.
        others: Of the same shapes. The cosine of two zero vectors is 1.
    """
    total, count = 0.0, 0
    for pair in zip(vectors, others, strict=True):
        cosines = _cosine(*pair)
        total += float(np.sum(cosines))
        count += int(np.size(cosines))
    return total / count


def _cosine(vectors: Vectors, others: Vectors) -> NDArray[np.float64]:
    """Over the last axis."""
    a, b = vectors.astype(np.float64), others.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    both_zero = ~(a.any(axis=-1) | b.any(axis=-1))
    return np.where(both_zero, 1.0, (a * b).sum(axis=-1) / np.maximum(norms, 1e-30))
