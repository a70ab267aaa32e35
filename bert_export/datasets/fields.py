"""What each field of a record may hold, one reader per field.

Columns are called alike in every kind of file. A column of lists is a list in JSON Lines, Parquet
and Arrow, and JSON text in a CSV cell.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from bert_export.errors import DatasetError, shown
from bert_export.tasks import Task

__all__ = ["FIELDS", "read_fields"]

_SURROGATE = re.compile("[\ud800-\udfff]")


class _UnfitError(Exception):
    """A value is not what its field holds; the text says what that is."""


def read_fields(row: Any, task: Task, place: str) -> Mapping[str, Any]:
    """A row as a record of the task.

    Args:
        row: What the file holds; ``None`` in a field, or an empty text in an optional one, counts
            as absent.
        task: Whose fields are read.
        place: File and row, for errors.

    Raises:
        DatasetError: The row is no mapping, lacks a field, or holds a value of another type.
    """
    if not isinstance(row, Mapping):
        raise DatasetError(
            f"{place} is no object", expected="a mapping of fields", got=type(row).__name__
        )
    given = {
        name: row[name]
        for name in (*task.required, *task.optional)
        if row.get(name) is not None and not (name in task.optional and row[name] == "")
    }
    missing = [name for name in task.required if name not in given]
    if missing or not given:
        raise DatasetError(
            f"{place} does not fit {task.name}",
            expected=", ".join(missing) or " or ".join(task.optional),
            got=", ".join(map(str, row)) or "an empty object",
        )
    record = {name: _read(name, value, place) for name, value in given.items()}
    if "tags" in record and len(record["tags"]) != len(record.get("tokens", ())):
        raise DatasetError(
            f"{place} field tags does not fit its tokens",
            expected=f"{len(record.get('tokens', ()))} tags, one per token",
            got=len(record["tags"]),
        )
    return record


def _read(name: str, value: Any, place: str) -> Any:
    try:
        return FIELDS[name](value)
    except _UnfitError as unfit:
        raise DatasetError(
            f"{place} field {name} is wrong",
            expected=str(unfit),
            got=f"{type(value).__name__} {shown(value)}",
        ) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _UnfitError("a string")
    if _SURROGATE.search(value):
        raise _UnfitError("a string of valid Unicode, without lone surrogates")
    return value


def _number(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise _UnfitError("a finite number")
    return number


def _label(value: Any) -> str | int | float:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise _UnfitError("a label's name or id, or a number")


def _list(value: Any, what: str) -> list[Any]:
    """A list, or JSON text that holds one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list | tuple):
        raise _UnfitError(f"a list of {what} (in a CSV cell: as JSON)")
    return list(value)


def _texts(value: Any) -> list[str]:
    found = _list(value, "strings")
    if not found or not all(isinstance(part, str) for part in found):
        raise _UnfitError("a list of strings, one at least (in a CSV cell: as JSON)")
    return [_text(part) for part in found]


def _names_or_ids(value: Any) -> list[str | int]:
    found = _list(value, "names or ids")
    if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in found):
        raise _UnfitError("a list of names or ids (in a CSV cell: as JSON)")
    return found


def _candidates(value: Any) -> list[str]:
    """A list, or a text with commas between the labels."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return _texts([part.strip() for part in value.split(",") if part.strip()])
    return _texts(value)


def _answers(value: Any) -> Mapping[str, list[Any]]:
    """``{"text": [...], "answer_start": [...]}``; empty lists where there is no answer."""
    expected = '{"text": [strings], "answer_start": [offsets]} of equal lengths'
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, Mapping):
        raise _UnfitError(expected)
    texts, starts = value.get("text"), value.get("answer_start")
    if not isinstance(texts, list | tuple) or not isinstance(starts, list | tuple):
        raise _UnfitError(expected)
    whole = all(isinstance(start, int) and not isinstance(start, bool) for start in starts)
    if not whole or not all(isinstance(text, str) for text in texts) or len(texts) != len(starts):
        raise _UnfitError(expected)
    return {"text": list(texts), "answer_start": list(starts)}


FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "text": _text,
    "text_pair": _text,
    "question": _text,
    "context": _text,
    "prompt": _text,
    "choices": _texts,
    "candidate_labels": _candidates,
    "tokens": _texts,
    "tags": _names_or_ids,
    "label": _label,
    "labels": _names_or_ids,
    "answers": _answers,
    "score": _number,
}
"""By field name: gives the value as records hold it."""
