"""Scorer of token-classification heads: whole entities, over words that are split already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bert_export.datasets import DataSet
from bert_export.evaluation.labels import OUTSIDE, Notes, TagReader, split_tag
from bert_export.evaluation.scorer import (
    Answered,
    Scorer,
    gold_labels,
    metric_library,
)
from bert_export.runtime.batching import Row

__all__ = ["TaggingScorer", "tag_words"]

_ALONE = ("B", "I", "E", "S")
_SEQEVAL = {"L-": "E-", "U-": "S-", "M-": "I-"}  # the prefixes of BILOU and BMES


class TaggingScorer(Scorer):
    """Entity F1: an entity's words and type must be right. A word has its first token's tag."""

    agreement_kind = "entity F1 against the reference's entities"
    field = "tags"
    needs = "the field tags in every record"

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> list[list[str]] | None:
        reader = TagReader(data, labels, notes)
        return gold_labels(
            data, "tags", lambda values, place: [reader.tag(value, place) for value in values]
        )

    def answer(self, answered: Answered) -> list[str]:
        return tag_words(
            answered.rows,
            answered.reduced,
            answered.pipeline.labels,
            word_count=len(answered.item.words or ()),
        )

    def score(
        self, gold: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        metrics = metric_library("seqeval.metrics.sequence_labeling")
        gold_tags, answered_tags = (
            [[_prefixed(tag) for tag in tags] for tags in lists] for lists in (gold, answers)
        )
        if all(tag == OUTSIDE for tags in (*gold_tags, *answered_tags) for tag in tags):
            return {self.metric: 1.0, "precision": 1.0, "recall": 1.0}  # nothing to find or to miss
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            gold_tags, answered_tags, average="micro", zero_division=0
        )
        return {self.metric: float(f1), "precision": float(precision), "recall": float(recall)}


def _prefixed(tag: str) -> str:
    """The tag with a prefix, for seqeval: it takes the first letter of any tag for one.

    A tag without a prefix continues an entity, as in the pipeline.
    """
    if tag == OUTSIDE:
        return tag
    if tag in _ALONE:
        return f"{tag}-_"
    prefix, kind = split_tag(tag)
    return f"{_SEQEVAL.get(prefix, prefix) or 'I-'}{kind}"


def tag_words(
    rows: Sequence[Row], logits: Sequence[Any], labels: Sequence[str], *, word_count: int = 0
) -> list[str]:
    """The likeliest tag of every word's first token.

    Args:
        rows: The windows over a text.
        logits: Logits of each window's tokens, float32 (S, L).
        labels: Names of the L labels.
        word_count: How many words the text was split into. 0 if it was not split; the words are
            then the tokenizer's.

    Returns:
        One tag per word; ``O`` for a word that was truncated.
    """
    tags: dict[int, str] = {}
    for row, row_logits in zip(rows, logits, strict=True):
        best = row_logits.argmax(axis=-1)  # (S,)
        for position, word in enumerate(row.encoding.word_ids):
            if word is not None:
                tags.setdefault(word, labels[best[position]])
    return [tags.get(word, OUTSIDE) for word in range(word_count or len(tags))]
