"""What a scorer is: which answer of a pipeline counts, and how answers are scored."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from bert_export.datasets import DataSet
from bert_export.errors import DatasetError, InputError, MissingExtraError
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
    "label_id",
    "metric_library",
    "read_items",
]

AnyPipeline = Pipeline[Any, Any, Any]

_ID = re.compile(r"\s*\d{1,18}(\.0*)?\s*")  # some tools write ids as 1.0


@dataclass(frozen=True, slots=True)
class Examples:
    """A data set as a pipeline takes it, so that several engines answer the very same rows.

    Args:
        data: The records.
        items: What is answered; one or more per record.
        rows: Rows of each item.
        settings: Of the calls.
        gold: What the answers are scored with, in the scorer's own form; ``None`` where the data
            has no labels.
    """

    data: DataSet
    items: tuple[Any, ...]
    rows: tuple[tuple[Row, ...], ...]
    settings: Any
    gold: Any | None

    @property
    def truncated(self) -> int:
        """How many items lost tokens to truncation."""
        return sum(map(_is_truncated, self.rows))


def _is_truncated(rows: Sequence[Row]) -> bool:
    kept = Counter(tuple(row.encoding.ids) for row in rows)
    for row in rows:
        others = kept - Counter([tuple(row.encoding.ids)])  # the windows of a long text follow it
        if Counter(tuple(rest.ids) for rest in row.encoding.overflowing) - others:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Answered:
    """One item with what the graph said of it.

    Args:
        pipeline: That answers.
        item: As the pipeline takes it.
        rows: Of the item.
        reduced: The reduced outputs of each row.
        settings: Of the call.
    """

    pipeline: AnyPipeline
    item: Any
    rows: Sequence[Row]
    reduced: Sequence[Any]
    settings: Any

    @property
    def decoded(self) -> Any:
        """What a user would get."""
        return self.pipeline.decode(self.item, self.rows, self.reduced, self.settings)


class Scorer(ABC):
    """One metric of a task, with its companions; it holds no state of a run.

    ``agreement`` is the same metric with the reference's answers in the place of labels, unless a
    scorer knows better.

    Args:
        metric: Name of the figure that counts, the first of those that :meth:`score` gives.
    """

    agreement_kind: ClassVar[str]
    """What an agreement is, in words."""

    needs: ClassVar[str] = "the field label in every record"
    """What the data must have so that answers can be scored."""

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def prepare(self, pipeline: AnyPipeline, data: DataSet, seed: int) -> Examples:
        """Encode records as the pipeline does.

        Args:
            pipeline: Of the task, over any session.
            data: The records.
            seed: Of whatever is drawn.

        Raises:
            DatasetError: A record does not fit the task, or some have labels and some have none.
        """
        items = read_items(pipeline, data)
        settings = self.settings(pipeline, data)
        rows = pipeline.encode(items, settings)
        return Examples(
            data, tuple(items), tuple(map(tuple, rows)), settings, self.gold(pipeline, data)
        )

    def settings(self, pipeline: AnyPipeline, data: DataSet) -> Any:
        """Settings of the calls."""
        del data
        return pipeline.dataset_settings()

    @abstractmethod
    def gold(self, pipeline: AnyPipeline, data: DataSet) -> Any | None:
        """What answers are scored with; ``None`` where no record has a label."""

    @abstractmethod
    def answer(self, answered: Answered) -> Any:
        """What counts of the answer to an item."""

    def score(self, gold: Any, answers: Sequence[Any]) -> dict[str, float]:
        """Figures in [0, 1], or correlations, the one that counts first.

        The share of equal answers, unless a scorer knows better.
        """
        return {self.metric: accuracy(gold, answers)}

    def keep(
        self, gold: Any, answers: Sequence[Any], kept: Sequence[int]
    ) -> tuple[Any, Sequence[Any]]:
        """What :meth:`score` takes, of some of the records alone, by their indices."""
        return [gold[index] for index in kept], [answers[index] for index in kept]

    def as_gold(self, answers: Sequence[Any]) -> Any:
        """Another engine's answers in the place of labels."""
        return answers

    def agreement(self, answers: Sequence[Any], reference: Sequence[Any]) -> float:
        """How far answers are those of another engine; 1 where they are the same."""
        return self.score(self.as_gold(reference), answers)[self.metric]


def read_items(pipeline: AnyPipeline, data: DataSet) -> list[Any]:
    """The pipeline's items of all records.

    Raises:
        DatasetError: The pipeline refuses a record; it is named with its place.
    """
    items = []
    for index, record in enumerate(data.records):
        try:
            items.append(pipeline.item(record))
        except InputError as error:
            raise DatasetError(
                f"{data.place(index)} does not fit {pipeline.task}", got=error
            ) from error
    return items


def gold_labels(
    data: DataSet, name: str, read: Callable[[Any, str], Any], *, needed: bool = False
) -> list[Any] | None:
    """A field of every record, or ``None`` where no record has it.

    Args:
        data: The records.
        name: The field.
        read: A value and its place to the label.
        needed: Whether every record must have it.

    Raises:
        DatasetError: Some records have it and some do not, or a value is none of the labels.
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


def label_id(value: Any, labels: Sequence[str], names: Sequence[str], place: str) -> int:
    """Id of a label that a file gives by name or id.

    Args:
        value: A name, an id, or an id as text.
        labels: The head's, in id order.
        names: The file's own names of ids, where it tells them; they are what counts if the head
            has any of them, in whatever case. Names that are all unknown, such as ``LABEL_0``, are
            none.
        place: For errors.

    Raises:
        DatasetError: There is no such label.
    """
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    if isinstance(value, str) and value.strip() in labels:
        return labels.index(value.strip())
    if isinstance(value, str) and _ID.fullmatch(value):
        value = int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        found = [_index(name, labels) for name in names]
        if any(index is not None for index in found):
            own = found[value] if 0 <= value < len(names) else None
            if own is not None:
                return own
            if 0 <= value < len(names):
                value = names[value]
        elif 0 <= value < len(labels):
            return value
    shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
    raise DatasetError(
        f"{place} is no label of the head",
        expected=f"{shown}, or an id below {len(labels)}",
        got=repr(value),
    )


def _index(name: str, labels: Sequence[str]) -> int | None:
    """Id of the label of that name, or of the only one that differs in case alone."""
    if name in labels:
        return labels.index(name)
    alike = [index for index, label in enumerate(labels) if label.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def metric_library(name: str) -> ModuleType:
    """A module of one of the metric libraries.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"scoring ({error.name})", extra="evaluation") from error


def correlation(kind: str, left: Sequence[float], right: Sequence[float]) -> float:
    """A correlation of ``scipy.stats``; 0 where a side is constant, 1 where they are equal."""
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.array_equal(a, b))
    return float(getattr(metric_library("scipy.stats"), kind)(a, b)[0])


def accuracy(gold: Sequence[Any], answers: Sequence[Any]) -> float:
    """Share of equal answers."""
    return sum(map(_equal, gold, answers)) / len(gold)


def _equal(left: Any, right: Any) -> bool:
    return bool(left == right)
