"""What every reader of data gives: rows as they stand in the file, with their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Table", "class_names", "rows_of_columns"]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, or of records in memory.

    Args:
        rows: The number, from 1, and the value of each; values are not checked yet.
        unit: What the numbers count: ``line``, ``row`` or ``record``.
        class_names: By column, the names that its integers stand for, if the file has them.
        columns: All columns, where the rows hold only some of them.
    """

    rows: Iterable[tuple[int, Any]]
    unit: str
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()


def class_names(features: Any) -> dict[str, tuple[str, ...]]:
    """The names of ``ClassLabel`` columns, and of lists of them.

    Args:
        features: The datasets library's features by column, as JSON has them or as objects.
    """
    found: dict[str, tuple[str, ...]] = {}
    for column, feature in features.items() if isinstance(features, Mapping) else ():
        element = _member(feature, "feature") or feature
        names = _member(element, "names")
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            found[column] = tuple(names)
    return found


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def rows_of_columns(value: Mapping[Any, Any]) -> Iterator[dict[Any, Any]] | None:
    """The rows of a table that is written column by column; ``None`` if the mapping is none.

    Args:
        value: Lists of one length by column, or, as pandas writes them, mappings from the row's
            index. A single record of ``tokens`` and ``tags`` is no table, though it has lists.
    """
    columns = list(value.values())
    if columns and all(isinstance(column, Mapping) for column in columns):
        index = list(columns[0])
        if not index or any(list(column) != index for column in columns):
            return None
        columns = [list(column.values()) for column in columns]
    elif not all(isinstance(column, list | tuple) for column in columns):
        return None
    if len({len(column) for column in columns}) != 1:
        return None
    words = value.get("tokens")
    if isinstance(words, list | tuple) and all(isinstance(word, str) for word in words):
        return None
    return (dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True))
