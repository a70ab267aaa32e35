"""A data set as records, and where each of them came from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_export.datasets.columns import Columns, suggest_field
from bert_export.datasets.fields import check_fields, read_fields
from bert_export.datasets.formats import hash_source, read_table
from bert_export.datasets.label_map import LabelMap, read_label_map
from bert_export.datasets.memory import IN_MEMORY, Records, read_memory
from bert_export.datasets.opening import split_kind
from bert_export.datasets.pairing import pair_passages
from bert_export.datasets.samples import find_sample
from bert_export.datasets.table import Table
from bert_export.errors import DatasetError
from bert_export.tasks import Task

__all__ = ["DataSet", "read_dataset"]

_PAIRS = ("text", "text_pair")
_MOST_CHARACTERS = 1 << 31
_MOST_COLUMNS = 200  # that are remembered


@dataclass(frozen=True, slots=True)
class DataSet:
    """Records and where they came from.

    Args:
        source: Name of the file, the folder or the built-in set, as given; ``records in
            memory`` for those that were no file.
        sha256: sha256 of the file's bytes in hex; of a folder, see
            :func:`bert_export.datasets.formats.hash_source`; of records in memory, of the records
            as JSON Lines with sorted keys.
        records: One mapping per example, with fields of the task only.
        places: The place of each record in the source, such as ``line 3``.
        class_names: By field, the names that its integers stand for, if the file has them.
        columns: The columns that the source has, also those that the task does not know.
        label_map: What labels of the data are called in the bundle, where a user says so.
    """

    source: str
    sha256: str
    records: tuple[Mapping[str, Any], ...]
    places: tuple[str, ...]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    label_map: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def place(self, index: int) -> str:
        """A record's source and place, as errors name it."""
        return f"{self.source} {self.places[index]}"


def read_dataset(
    task: Task,
    source: str | Path | Records,
    *,
    fields: Mapping[str, str] | None = None,
    label_map: LabelMap | None = None,
    shared_fields: bool = False,
) -> DataSet:
    """Read records from a file or from memory.

    Args:
        task: The task whose fields are read; other columns are left out.
        source: A file of one of the kinds in :data:`bert_export.datasets.formats.FORMATS`, a
            directory that the datasets library saved, or a demonstration's sample, such as
            ``demo:snips``. For a task that needs pairs, the lines of a ``.txt`` file are running
            text, see :func:`bert_export.datasets.pairing.pair_passages`. Or records in memory, see
            :func:`bert_export.datasets.memory.read_memory`.
        fields: By field, the column that holds it where it has another name; some record must have
            that column.
        label_map: What labels of the data are called in the bundle, or a file that says so, see
            :func:`bert_export.datasets.label_map.read_label_map`. Used when labels are scored.
        shared_fields: Whether another source is read by the same ``fields``, so that this one may
            have a field that every record needs under its own name alone.

    Raises:
        DatasetError: The file is missing, of an unknown kind, malformed, empty or too large, or a
            record does not fit the task.
        InputError: ``fields`` names a field that the task has not, or ``label_map`` is malformed or
            of no use to the task.
        MissingExtraError: The kind of file needs pyarrow.
    """
    columns, names = Columns(task, fields), read_label_map(task, label_map)
    path = source
    if isinstance(source, str | os.PathLike):
        path = find_sample(os.fspath(source)) or Path(source)
    if isinstance(path, Path):
        table = read_table(path, columns=columns.names, tagged="tags" in task.optional)
        name, shown = str(source), f"data file {source}"
    else:
        table, name = read_memory(path), IN_MEMORY
        shown = IN_MEMORY
    is_running_text = (
        isinstance(path, Path) and split_kind(path)[0] == ".txt" and task.required == _PAIRS
    )
    if is_running_text:
        table = Table(pair_passages(list(table.rows)), table.unit, table.class_names)
    records: list[Mapping[str, Any]] = []
    places: list[str] = []
    found = dict.fromkeys(table.columns)
    for number, row in _bounded(table.rows, shown):
        place = f"{table.unit} {number}"
        check_fields(row, f"{shown} {place}")
        if len(found) < _MOST_COLUMNS and row.keys() - found.keys():
            found |= dict.fromkeys(map(str, row))
        records.append(read_fields(columns.pick(row), task, f"{shown} {place}", found=tuple(found)))
        places.append(place)
    if not records:
        raise DatasetError(
            f"{shown} is empty",
            expected="at least two lines, which make a pair"
            if is_running_text
            else "at least one example",
            got="fewer" if is_running_text else "none",
        )
    _check_renamed(columns, tuple(found), shown, shared=shared_fields)
    return DataSet(
        name,
        hash_source(path) if isinstance(path, Path) else _hash_records(records),
        tuple(records),
        tuple(places),
        columns.rename(table.class_names),
        tuple(found),
        names,
    )


def _check_renamed(columns: Columns, found: tuple[str, ...], shown: str, *, shared: bool) -> None:
    """Refuse the name of a column that no record has: another would be read without a word."""
    missing = columns.missing(found, shared=shared)
    if missing:
        name, column = missing[0]
        raise DatasetError(
            f"{shown} has no column {column} for the field {name}",
            expected="a column of the data",
            got=", ".join(found),
            fix=suggest_field(name, found),
        )


def _bounded(rows: Iterable[tuple[int, Any]], shown: str) -> Iterator[tuple[int, Any]]:
    """The rows, which are kept in memory, up to a bound."""
    total = 0
    for number, row in rows:
        total += _size(row)
        if total > _MOST_CHARACTERS:
            raise DatasetError(
                f"{shown} is too large",
                expected=f"at most {_MOST_CHARACTERS / 1e9:.1f} billion characters",
                got="more",
                fix="Take a sample of it",
            )
        yield number, row


def _size(value: Any) -> int:
    """Characters that a value holds, and a few for each of its parts."""
    if isinstance(value, str):
        return 64 + len(value)
    if isinstance(value, Mapping):
        return 64 + sum(map(_size, value.values()))
    return 64 + sum(map(_size, value)) if isinstance(value, list | tuple) else 8


def _hash_records(records: Iterable[Mapping[str, Any]]) -> str:
    digest = hashlib.sha256()
    for record in records:
        line = json.dumps(record, sort_keys=True, ensure_ascii=False)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
