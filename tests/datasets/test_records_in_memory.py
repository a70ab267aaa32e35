"""Records in memory: lists, tables and data sets, read as files are; no table library is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from bert_export.datasets import IN_MEMORY, DataSet, Records, read_dataset
from bert_export.datasets import dataset as dataset_module
from bert_export.errors import DatasetError
from bert_export.tasks import find_task

TASK = find_task("text-classification")
TAGGING = find_task("token-classification")
RECORDS = [{"text": "play jazz", "label": "PlayMusic"}, {"text": "book it", "label": "Book"}]
COLUMNS = {name: [record[name] for record in RECORDS] for name in ("text", "label")}


class PandasLike:
    """As much of a ``pandas.DataFrame`` as its users may rely on: columns, and rows on demand."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.columns = list(rows[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)  # as a table of pandas does: not its rows

    def to_dict(self, orient: str = "dict") -> Any:
        if orient == "records":
            return self._rows
        return {name: dict(enumerate(row[name] for row in self._rows)) for name in self.columns}


class ArrowLike:
    """A ``pyarrow.Table``: it iterates over its columns."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.columns = [[row[name] for row in rows] for name in rows[0]]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.columns)

    def to_pylist(self) -> list[dict[str, Any]]:
        return self._rows


class PolarsLike:
    """A ``polars.DataFrame``: it iterates over its columns."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.columns = list(rows[0])

    def __iter__(self) -> Iterator[Any]:
        return iter([[row[name] for row in self._rows] for name in self.columns])

    def to_dicts(self) -> list[dict[str, Any]]:
        return self._rows

    def to_dict(self, *, as_series: bool = True) -> Any:
        raise AssertionError(as_series)


@dataclass
class ClassLabel:
    names: list[str]


@dataclass
class Sequence:
    feature: ClassLabel


class DatasetLike:
    """A ``datasets.Dataset``: it iterates over its rows, and knows the names of classes."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
        self._rows = rows
        self.features = features
        self.column_names = list(rows[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)

    def to_dict(self) -> Any:
        raise AssertionError("rows are read one by one")


@pytest.mark.parametrize(
    "records",
    [
        RECORDS,
        tuple(RECORDS),
        COLUMNS,
        PandasLike(RECORDS),
        ArrowLike(RECORDS),
        PolarsLike(RECORDS),
        DatasetLike(RECORDS, {}),
        np.array(RECORDS, dtype=object),
    ],
    ids=lambda records: type(records).__name__,
)
def test_all_kinds_give_the_same_records(records: Records) -> None:
    data = read_dataset(TASK, records)
    lines = "".join(
        json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n" for record in RECORDS
    )
    assert data == DataSet(
        IN_MEMORY,
        hashlib.sha256(lines.encode()).hexdigest(),
        tuple(RECORDS),
        ("record 1", "record 2"),
        columns=("text", "label"),
    )


def test_a_generator_and_texts() -> None:
    data = read_dataset(TASK, (record for record in RECORDS))
    assert len(data) == 2
    for texts in (["a", "b"], iter(["a", "b"]), np.array(["a", "b"])):
        assert read_dataset(TASK, texts).records == ({"text": "a"}, {"text": "b"})


def test_arrays_and_missing_values_become_plain_ones() -> None:
    class NAType:
        def __ne__(self, other: object) -> bool:
            return self  # type: ignore[return-value]  # as pandas.NA does

        def __bool__(self) -> bool:
            raise TypeError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    rows = [
        {"text": np.str_("a"), "label": np.int64(1), "text_pair": float("nan")},
        {"text": "b", "label": np.float32(2), "text_pair": np.float64("nan")},
        {"text": "c", "label": True, "text_pair": NAType()},
        {"text": "d", "label": np.array(0), "text_pair": None},
    ]
    records = read_dataset(TASK, rows).records
    assert [record["label"] for record in records] == [1, 2.0, 1, 0]
    assert [type(record["label"]) for record in records] == [int, float, int, int]
    assert all("text_pair" not in record for record in records)
    words = [{"tokens": np.array(["a", "b"]), "tags": np.array([0, 1])}]
    assert read_dataset(TAGGING, words).records == ({"tokens": ["a", "b"], "tags": [0, 1]},)


def test_names_of_classes_are_read_from_the_features() -> None:
    rows = [{"tokens": ["a"], "ner_tags": [1]}]
    features = {"ner_tags": Sequence(ClassLabel(["O", "B-x"])), "tokens": object()}
    data = read_dataset(TAGGING, DatasetLike(rows, features))
    assert data.class_names == {"tags": ("O", "B-x")}


def test_columns_by_other_names() -> None:
    rows = [{"sentence": "a", "intent": "x", "id": 1}]
    data = read_dataset(TASK, rows, fields={"text": "sentence", "label": "intent"})
    assert data.records == ({"text": "a", "label": "x"},)
    with pytest.raises(DatasetError) as caught:
        read_dataset(TASK, [*RECORDS, rows[0]])
    assert str(caught.value) == (
        "records in memory record 3 does not fit text-classification: expected text, got text, "
        "label, sentence, intent, id. Name the column that holds it: --field text=sentence."
    )


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"text": "a", "label": "b"}, r"got a single record\. Put it into a list"),
        ({"train": DatasetLike(RECORDS, {})}, "got a dictionary of splits. Pass one of them"),
        (3, "expected mappings of fields, texts, or a table: .* got int"),
        (b"text", "got bytes"),
        (object(), "got object"),
        ([], "records in memory is empty: expected at least one example"),
        ([1], "records in memory record 1 is no object: expected a mapping of fields, got int"),
        ([["a"]], "record 1 is no object: expected a mapping of fields, got list"),
        ([{"text": 1}], "record 1 field text is wrong: expected a string, got int 1"),
        ([{"text": "a", "label": object()}], "record 1 field label is wrong"),
    ],
)
def test_what_is_no_records_is_refused(records: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_dataset(TASK, records)


def test_records_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "again"

    monkeypatch.setattr(dataset_module, "_MOST_CHARACTERS", 10_000)
    with pytest.raises(DatasetError, match="records in memory is too large"):
        read_dataset(TASK, endless())
