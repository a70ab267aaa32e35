"""Scorers of answers that are one of a few: a choice, a verdict, a label of the record's own."""

from __future__ import annotations

from typing import Any

from bert_export.datasets import DataSet
from bert_export.errors import DatasetError
from bert_export.evaluation.scorer import (
    Answered,
    AnyPipeline,
    Scorer,
    gold_labels,
    label_id,
)

__all__ = ["ChoiceScorer", "NextSentenceScorer", "ZeroShotScorer", "read_is_next"]

_BINARY = ("0", "1")


class ChoiceScorer(Scorer):
    """Which of a record's choices is right; the label is its index."""

    agreement_kind = "share of equal choices"

    def gold(self, pipeline: AnyPipeline, data: DataSet) -> list[int] | None:
        sizes = iter([len(record["choices"]) for record in data.records])
        return gold_labels(
            data,
            "label",
            lambda value, place: label_id(value, tuple(map(str, range(next(sizes)))), (), place),
        )

    def answer(self, answered: Answered) -> int:
        return int(answered.decoded["choice"])


class NextSentenceScorer(Scorer):
    """Whether the second text follows the first; the label is 1 if it does, else 0."""

    agreement_kind = "share of equal verdicts"

    def gold(self, pipeline: AnyPipeline, data: DataSet) -> list[bool] | None:
        return gold_labels(data, "label", read_is_next)

    def answer(self, answered: Answered) -> bool:
        return bool(answered.decoded["is_next"])


class ZeroShotScorer(Scorer):
    """Which of a record's candidate labels is right; the label is its name or index."""

    agreement_kind = "share of equal labels"

    def gold(self, pipeline: AnyPipeline, data: DataSet) -> list[str] | None:
        candidates = iter([record["candidate_labels"] for record in data.records])

        def read(value: Any, place: str) -> str:
            record_candidates = next(candidates)
            return str(record_candidates[label_id(value, record_candidates, (), place)])

        return gold_labels(data, "label", read)

    def answer(self, answered: Answered) -> str:
        return str(answered.decoded["labels"][0])


def read_is_next(value: Any, place: str) -> bool:
    """Whether a label says that the second text follows.

    Raises:
        DatasetError: It is neither 0 nor 1.
    """
    if str(value) not in _BINARY:
        raise DatasetError(
            f"{place} is wrong", expected="1 (it follows) or 0 (it does not)", got=repr(value)
        )
    return str(value) == "1"
