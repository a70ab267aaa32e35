"""Records that are in memory already, as lists or tables; no table library is imported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bert_export.datasets.table import Table, class_names, rows_of_columns
from bert_export.errors import DatasetError

__all__ = ["IN_MEMORY", "Records", "read_memory", "records_of", "source_name"]

IN_MEMORY = "records in memory"
"""The source of a data set that was no file."""

Records = Iterable[Any] | Mapping[str, Any]
"""Mappings of fields, or texts; a table by columns; or an object of pandas, pyarrow, polars or the
datasets library."""

_KINDS = "mappings of fields, texts, or a table: of pandas, pyarrow, polars or the datasets library"


def source_name(data: str | os.PathLike[str] | Records | None) -> str | None:
    """What a manifest calls data: the file as given, or :data:`IN_MEMORY`."""
    if data is None or isinstance(data, str | os.PathLike):
        return None if data is None else os.fspath(data)
    return IN_MEMORY


def records_of(data: str | os.PathLike[str] | Records | None) -> Records | None:
    """The records, where data is no file."""
    return None if data is None or isinstance(data, str | os.PathLike) else data


def read_memory(records: Records) -> Table:
    """The rows of records in memory.

    Args:
        records: An iterable of mappings or of texts; a mapping of columns to lists; or a table with
            ``to_pylist`` (pyarrow), ``to_dicts`` (polars) or ``to_dict`` and ``columns`` (pandas).
            Its missing values are absent fields. ``features`` of the datasets library name classes.

    Raises:
        DatasetError: It is none of these.
    """
    rows = _rows(records)
    numbered = ((number, _native(row)) for number, row in enumerate(rows, 1))
    return Table(numbered, "record", class_names(getattr(records, "features", None)))


def _rows(records: Any) -> Iterator[Any]:
    if hasattr(records, "to_pylist"):  # pyarrow
        return iter(records.to_pylist())
    if hasattr(records, "to_dicts"):  # polars
        return iter(records.to_dicts())
    if hasattr(records, "to_dict") and hasattr(records, "columns"):  # pandas
        return iter(records.to_dict("records"))
    if isinstance(records, Mapping):
        rows = rows_of_columns(records)
        if rows is not None:
            return rows
    elif isinstance(records, Iterable) and not isinstance(records, str | bytes | bytearray):
        return ({"text": record} if isinstance(record, str) else record for record in records)
    if isinstance(records, Mapping):
        splits = any(hasattr(value, "features") for value in records.values())
        raise DatasetError(
            "records in memory are of an unknown kind",
            expected=_KINDS,
            got="a dictionary of splits" if splits else "a single record",
            fix="Pass one of them" if splits else "Put it into a list",
        )
    raise DatasetError(
        "records in memory are of an unknown kind", expected=_KINDS, got=type(records).__name__
    )


def _native(value: Any) -> Any:
    """Plain Python for what arrays and tables hold; ``None`` for what they call missing."""
    if isinstance(value, Mapping):
        return {name: _native(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_native(inner) for inner in value]
    if not isinstance(value, str) and hasattr(value, "tolist"):  # an array or a number of numpy
        return _native(value.tolist())
    if isinstance(value, str | int | None):
        return value
    missing = value != value  # noqa: PLR0124  NaN, NaT and the like are unlike themselves
    return None if missing is True or type(value).__name__ == "NAType" else value
