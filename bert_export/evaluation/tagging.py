"""Scorer of token-classification heads: whole entities, from words that are split already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bert_export.datasets import DataSet
from bert_export.evaluation.scorer import (
    Answered,
    AnyPipeline,
    Scorer,
    gold_labels,
    label_id,
    metric_library,
)
from bert_export.runtime.batching import Row

__all__ = ["TaggingScorer", "tag_words"]

_OUTSIDE = "O"
_PREFIXED = re.compile(r"[BIES](-.*)?")


class TaggingScorer(Scorer):
    """A tag per word, that of its first token; an entity counts where its words and type do."""

    agreement_kind = "entity F1 against the reference's entities"
    needs = "the field tags in every record"

    def gold(self, pipeline: AnyPipeline, data: DataSet) -> list[list[str]] | None:
        names, labels = data.class_names.get("tags", ()), pipeline.labels

        def read(value: Any, place: str) -> str:
            # Test sets may hold kinds of entities that the head was never shown.
            if isinstance(value, str):
                return value
            if 0 <= value < len(names) and not set(labels).isdisjoint(names):
                return str(names[value])
            return labels[label_id(value, labels, (), place)]

        return gold_labels(
            data, "tags", lambda values, place: [read(value, place) for value in values]
        )

    def answer(self, answered: Answered) -> list[str]:
        return tag_words(
            answered.rows,
            answered.reduced,
            answered.pipeline.labels,
            words=len(answered.item.words or ()),
        )

    def score(
        self, gold: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        metrics = metric_library("seqeval.metrics.sequence_labeling")
        lists = (
            [[_prefixed(tag) for tag in tags] for tags in gold],
            [[_prefixed(tag) for tag in tags] for tags in answers],
        )
        if all(tag == _OUTSIDE for side in lists for tags in side for tag in tags):
            return {self.metric: 1.0, "precision": 1.0, "recall": 1.0}  # nothing to find or to miss
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            *lists, average="micro", zero_division=0
        )
        return {self.metric: float(f1), "precision": float(precision), "recall": float(recall)}


def _prefixed(tag: str) -> str:
    """The tag for seqeval, which takes the first letter of any for a prefix.

    A tag without one continues an entity, as in the pipeline.
    """
    if tag == _OUTSIDE:
        return tag
    if not _PREFIXED.fullmatch(tag):
        return f"I-{tag}"
    return tag if "-" in tag else f"{tag}-_"


def tag_words(
    rows: Sequence[Row], logits: Sequence[Any], labels: Sequence[str], *, words: int = 0
) -> list[str]:
    """The likeliest tag of every word's first token.

    Args:
        rows: The windows over a text.
        logits: Of each window's tokens, float32 (S, L).
        labels: L names.
        words: How many words the text was split into; 0 where it was not, and then the words are
            those that the tokenizer found.

    Returns:
        One tag per word; ``O`` for a word that was cut off.
    """
    tags: dict[int, str] = {}
    for row, scores in zip(rows, logits, strict=True):
        best = scores.argmax(axis=-1)  # (S,)
        for position, word in enumerate(row.encoding.word_ids):
            if word is not None:
                tags.setdefault(word, labels[best[position]])
    return [tags.get(word, _OUTSIDE) for word in range(words or len(tags))]
