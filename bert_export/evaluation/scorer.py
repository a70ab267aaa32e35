"""The base of all scorers: which part of an answer counts, and how answers are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from bert_export.datasets import DataSet
from bert_export.datasets.items import read_items
from bert_export.errors import DatasetError, MissingExtraError
from bert_export.evaluation.labels import Notes
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = [
    "Answered",
    "AnyPipeline",
    "Examples",
    "Scorer",
    "accuracy",
    "correlation",
    "gold_labels",
    "metric_library",
]

AnyPipeline = Pipeline[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Examples:
    """An encoded data set. Several engines answer the very same rows.

    Args:
        data: The records.
        items: What the pipeline answers; one or more per record.
        rows: The rows of each item.
        settings: The settings of the pipeline's calls.
        gold: The labels, in the scorer's own form; ``None`` if the data has none.
        notes: What labels were matched without being asked, a sentence each.
    """

    data: DataSet
    items: tuple[Any, ...]
    rows: tuple[tuple[Row, ...], ...]
    settings: Any
    gold: Any | None
    notes: tuple[str, ...] = ()

    @property
    def truncated(self) -> int:
        """How many items lost tokens to truncation."""
        return sum(map(_is_truncated, self.rows))


def _is_truncated(rows: Sequence[Row]) -> bool:
    """Whether a row of an item lost tokens that no other row of the item has."""
    encoded = Counter(tuple(row.encoding.ids) for row in rows)
    for row in rows:
        # Where a long text has several windows, what one loses is a row of its own.
        other_rows = encoded - Counter([tuple(row.encoding.ids)])
        if Counter(tuple(overflow.ids) for overflow in row.encoding.overflowing) - other_rows:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Answered:
    """One item with the graph's outputs for it.

    Args:
        pipeline: The pipeline that answers.
        item: The item, as the pipeline takes it.
        rows: The item's rows.
        reduced: The reduced outputs of each row.
        settings: The settings of the call.
    """

    pipeline: AnyPipeline
    item: Any
    rows: Sequence[Row]
    reduced: Sequence[Any]
    settings: Any

    @property
    def decoded(self) -> Any:
        """The answer that a user would get."""
        return self.pipeline.decode(self.item, self.rows, self.reduced, self.settings)


class Scorer(ABC):
    """The metric of a task, and the scores beside it. A scorer has no state.

    Args:
        metric: Name of the task's metric, the first score that :meth:`score` gives.
    """

    agreement_kind: ClassVar[str]
    """What an agreement is, in words."""

    field: ClassVar[str] = "label"
    """Which field of a record is scored; empty where none is."""

    needs: ClassVar[str] = "the field label in every record"
    """What the data must have for its answers to be scored, in words."""

    counts_answers: ClassVar[bool] = True
    """Whether the metric moves by whole answers, so that among n of them a difference below 1 / n
    cannot be seen; numbers that are compared show smaller ones."""

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def prepare(self, pipeline: AnyPipeline, data: DataSet, seed: int) -> Examples:
        """Encode records as the pipeline does.

        Args:
            pipeline: The task's pipeline, over any session.
            data: The records.
            seed: Seed of everything that is drawn.

        Raises:
            DatasetError: A record does not fit the task, or some have labels and some have none.
        """
        items = read_items(pipeline, data)
        settings = self.settings(pipeline, data)
        notes = Notes()
        gold = self.gold(
            pipeline.labels, data, notes
        )  # first: it takes no time, and may be refused
        rows = tuple(map(tuple, pipeline.encode_items(items, settings)))
        return Examples(data, tuple(items), rows, settings, gold, notes.sentences)

    def settings(self, pipeline: AnyPipeline, data: DataSet) -> Any:
        """The settings of the pipeline's calls."""
        del data
        return pipeline.dataset_settings()

    @abstractmethod
    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> Any | None:
        """The labels, in the form that :meth:`score` takes; ``None`` if no record has one.

        Args:
            labels: The bundle's labels, in id order.
            data: The records.
            notes: Where it is noted what is matched without being asked.

        Raises:
            DatasetError: Some records have labels and some have none, or the bundle has not such a
                label.
            InputError: The label map leads to a label that the bundle has not.
        """

    @abstractmethod
    def answer(self, answered: Answered) -> Any:
        """The part of an item's answer that is scored."""

    def score(self, gold: Any, answers: Sequence[Any]) -> dict[str, float]:
        """Scores by name, the task's metric first; shares in [0, 1], or correlations.

        By default the share of equal answers.
        """
        return {self.metric: accuracy(gold, answers)}

    def select(
        self, gold: Any, answers: Sequence[Any], records: Sequence[int]
    ) -> tuple[Any, Sequence[Any]]:
        """The labels and answers of some records, by their indices, for :meth:`score`."""
        return [gold[index] for index in records], [answers[index] for index in records]

    def as_gold(self, answers: Sequence[Any]) -> Any:
        """Another engine's answers in the form of labels."""
        return answers

    def agreement(self, answers: Sequence[Any], reference: Sequence[Any]) -> float:
        """How far answers agree with another engine's; 1 if they are the same.

        By default the task's metric, with the other engine's answers as labels.
        """
        return self.score(self.as_gold(reference), answers)[self.metric]


def gold_labels(
    data: DataSet, name: str, read: Callable[[Any, str], Any], *, needed: bool = False
) -> list[Any] | None:
    """A field of every record, or ``None`` if no record has it.

    Args:
        data: The records.
        name: The field.
        read: Gives the label for a value and its place, which errors name.
        needed: Whether every record must have the field.

    Raises:
        DatasetError: Some records have the field and some do not, or ``read`` refuses a value.
    """
    labelled = [name in record for record in data.records]
    if not any(labelled) and not needed:
        return None
    if not all(labelled):
        raise DatasetError(
            f"{data.place(labelled.index(False))} lacks {name}",
            expected="labels in every record, or in none",
            got=f"{sum(labelled)} of {len(labelled)} records with {name}",
        )
    return [
        read(record[name], f"{data.place(index)} field {name}")
        for index, record in enumerate(data.records)
    ]


def metric_library(name: str) -> ModuleType:
    """Import a module of a metric library.

    Raises:
        MissingExtraError: The library is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"scoring ({error.name})", extra="evaluation") from error


def correlation(kind: str, xs: Sequence[float], ys: Sequence[float]) -> float:
    """A correlation of two series.

    Args:
        kind: Name of the function in ``scipy.stats``: ``spearmanr`` or ``pearsonr``.
        xs: A number per example.
        ys: A number per example.

    Returns:
        The correlation. If a series is constant, 1 if both are equal, else 0.
    """
    a, b = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.array_equal(a, b))
    return float(getattr(metric_library("scipy.stats"), kind)(a, b)[0])


def accuracy(gold: Sequence[Any], answers: Sequence[Any]) -> float:
    """The share of answers that equal their label."""
    equal = [bool(label == answer) for label, answer in zip(gold, answers, strict=True)]
    return sum(equal) / len(gold)
