"""Scorers of text-classification heads: one label, several labels, or a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.datasets import DataSet
from bert_export.errors import DatasetError, shown
from bert_export.evaluation.labels import LabelReader, Notes
from bert_export.evaluation.scorer import (
    Answered,
    Scorer,
    accuracy,
    correlation,
    gold_labels,
    metric_library,
)

__all__ = ["MultiLabelScorer", "RegressionScorer", "SingleLabelScorer"]


class SingleLabelScorer(Scorer):
    """One of several labels: accuracy, and macro F1."""

    agreement_kind = "share of equal labels"

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> list[int] | None:
        return gold_labels(data, "label", LabelReader(data, "label", labels, notes).id)

    def answer(self, answered: Answered) -> int:
        return int(answered.reduced[0].argmax())

    def score(self, gold: Sequence[int], answers: Sequence[int]) -> dict[str, float]:
        f1_score = metric_library("sklearn.metrics").f1_score
        return {
            self.metric: accuracy(gold, answers),
            "macro F1": float(f1_score(gold, answers, average="macro", zero_division=0)),
        }


class MultiLabelScorer(Scorer):
    """Any number of labels: micro F1, macro F1, and the share of exact matches.

    A record lists its labels, or has a 0 or 1 for each label of the head. A label that is neither
    in the data nor in the answers is left out of the averages.
    """

    agreement_kind = "micro F1 against the reference's labels"
    field = "labels"
    needs = "the field labels in every record"

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> NDArray[np.bool_] | None:
        reader = LabelReader(data, "labels", labels, notes)
        lists = [record.get("labels", ()) for record in data.records]
        multi_hot = len(labels) > 1 and all(
            len(values) == len(labels) and set(values) <= {0, 1} for values in lists
        )

        def read(values: Sequence[Any], place: str) -> NDArray[np.bool_]:
            if multi_hot:
                return np.array(values, dtype=bool)
            ids = [reader.id(value, place) for value in values]
            if len(set(ids)) < len(ids):
                raise DatasetError(
                    f"{place} names a label twice",
                    expected="distinct names or ids, or in every record a 0 or 1 for each of the "
                    f"{len(labels)} labels",
                    got=repr(values),
                )
            has_label = np.zeros(len(labels), dtype=bool)
            has_label[ids] = True
            return has_label

        gold = gold_labels(data, "labels", read)
        return None if gold is None else np.stack(gold)  # (n, L)

    def answer(self, answered: Answered) -> NDArray[np.bool_]:
        return np.asarray(answered.reduced[0] > 0)  # (L,), a probability above 0.5

    def as_gold(self, answers: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
        return np.stack(answers)

    def score(
        self, gold: NDArray[np.bool_], answers: Sequence[NDArray[np.bool_]]
    ) -> dict[str, float]:
        given = np.stack(answers)  # (n, L)
        f1_score = metric_library("sklearn.metrics").f1_score
        used = np.flatnonzero((gold | given).any(axis=0))
        micro, macro = (
            # Where neither side has a label, they agree.
            float(f1_score(gold, given, labels=used, average=average, zero_division=0))
            if len(used)
            else 1.0
            for average in ("micro", "macro")
        )
        return {
            self.metric: micro,
            "macro F1": macro,
            "exact match": float((gold == given).all(axis=1).mean()),
        }


class RegressionScorer(Scorer):
    """A number: Spearman's rank correlation, and Pearson's linear correlation."""

    agreement_kind = "Spearman correlation with the reference's numbers"
    counts_answers = False

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> list[float] | None:
        numbers = data.label_map

        def read(value: Any, place: str) -> float:
            return _number(numbers.get(str(value).strip(), value), place)

        return gold_labels(data, "label", read)

    def answer(self, answered: Answered) -> float:
        return float(answered.reduced[0][0])

    def score(self, gold: Sequence[float], answers: Sequence[float]) -> dict[str, float]:
        return {
            self.metric: correlation("spearmanr", gold, answers),
            "Pearson correlation": correlation("pearsonr", gold, answers),
        }


def _number(value: Any, place: str) -> float:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DatasetError(
            f"{place} does not fit a regression head",
            expected="a finite number",
            got=shown(value),
            fix="Name the number of a label that is a word by --label-map WORD=NUMBER"
            if isinstance(value, str)
            else None,
        )
    return number
