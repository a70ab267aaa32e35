"""What each field of a record may hold; one reader per field.

Fields have the same names in every kind of file. A list is a list in JSON Lines, Parquet and Arrow,
and JSON text in a CSV cell.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bert_export.datasets.columns import suggest_field
from bert_export.errors import DatasetError, shown
from bert_export.tasks import Task

__all__ = ["FIELDS", "check_fields", "read_fields"]

_SURROGATE = re.compile("[\ud800-\udfff]")


class _UnfitError(Exception):
    """A value does not fit its field; the text says what the field holds."""


def check_fields(row: Any, place: str) -> None:
    """Refuse a row that has no fields at all.

    Args:
        row: What the file holds.
        place: File and row, for errors.

    Raises:
        DatasetError: The row is no mapping.
    """
    if not isinstance(row, Mapping):
        raise DatasetError(
            f"{place} is no object", expected="a mapping of fields", got=type(row).__name__
        )


def read_fields(
    values: Mapping[str, Any], task: Task, place: str, *, found: Sequence[str]
) -> Mapping[str, Any]:
    """Read a row's values as a record of the task.

    Args:
        values: What the file holds, by field. A field is absent if it is ``None``, or if it is
            optional and an empty text.
        task: The task whose fields are read.
        place: File and row, for errors.
        found: Names of the columns that the file has, for errors.

    Raises:
        DatasetError: The row lacks a field, or holds a value that does not fit.
    """
    present = {
        name: value
        for name, value in values.items()
        if value is not None and not (name in task.optional and value == "")
    }
    missing = [name for name in task.required if name not in present]
    if missing or not present:
        raise DatasetError(
            f"{place} does not fit {task.name}",
            expected=", ".join(missing) or " or ".join(task.optional),
            got=", ".join(found) or "an empty object",
            fix=suggest_field((missing or task.optional)[0], found) if found else None,
        )
    record = {name: _read(name, value, place) for name, value in present.items()}
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
    elements = _parsed(value)
    if not isinstance(elements, list | tuple):
        raise _UnfitError(f"a list of {what} (in a CSV cell: as JSON)")
    return list(elements)


def _parsed(value: Any) -> Any:
    """What JSON text holds, ``None`` if it is none; other values as they are."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _texts(value: Any) -> list[str]:
    texts = _list(value, "strings")
    if not texts or not all(isinstance(text, str) for text in texts):
        raise _UnfitError("a list of strings, one at least (in a CSV cell: as JSON)")
    return [_text(text) for text in texts]


def _names_or_ids(value: Any) -> list[str | int]:
    labels = _list(value, "names or ids")
    if not all(isinstance(label, str | int) and not isinstance(label, bool) for label in labels):
        raise _UnfitError("a list of names or ids (in a CSV cell: as JSON)")
    return labels


def _candidates(value: Any) -> list[str]:
    """A list of labels, or a text with commas between them."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return _texts([part.strip() for part in value.split(",") if part.strip()])
    return _texts(value)


def _answers(value: Any) -> Mapping[str, list[Any]]:
    """``{"text": [...], "answer_start": [...]}``; both lists empty if there is no answer."""
    expected = '{"text": [strings], "answer_start": [offsets]} of equal lengths'
    answers = _parsed(value)
    if isinstance(answers, list | tuple) and all(isinstance(one, Mapping) for one in answers):
        # Answer by answer, as SQuAD's own files have them.
        answers = {name: [one.get(name) for one in answers] for name in ("text", "answer_start")}
    if not isinstance(answers, Mapping):
        raise _UnfitError(expected)
    texts, starts = answers.get("text"), answers.get("answer_start")
    if not isinstance(texts, list | tuple) or not isinstance(starts, list | tuple):
        raise _UnfitError(expected)
    are_offsets = all(isinstance(start, int) and not isinstance(start, bool) for start in starts)
    are_texts = all(isinstance(text, str) for text in texts)
    if not are_offsets or not are_texts or len(texts) != len(starts):
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
    "summary": _text,
}
"""By field name: turns a file's value into the value that records hold."""
