"""What a call passes: one item, or several; and which of several an error is about.

A call takes one item, a list of items or any other iterable. Here it is told which. What is neither
becomes an :class:`~bert_export.errors.InputError`: a table, which would be read as the names of its
columns, a mapping, bytes, or an array whose items are not its elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from bert_export.errors import InputError, shown
from bert_export.runtime.batching import Row

__all__ = [
    "DecodeItem",
    "check_text",
    "field",
    "mapping_items",
    "naming_items",
    "read_items",
    "several",
    "text_items",
    "type_name",
]

Item = TypeVar("Item")
Reduced = TypeVar("Reduced")
EncodeItems = Callable[[Sequence[Item]], list[list[Row]]]
DecodeItem = Callable[[Item, Sequence[Row], Sequence[Reduced]], Any]

TEXTS = "a string or an iterable of strings"


def several(inputs: object, name: str = "inputs", *, expected: str = TEXTS) -> Iterable[Any]:
    """What is read item by item, for every argument of every task.

    Args:
        inputs: Lists, tuples, generators, columns of tables, arrays with one axis and any other
            iterable are; strings, bytes, mappings, tables and other arrays are not.
        name: As the caller typed it.
        expected: What the argument may be.

    Raises:
        InputError: It cannot be read item by item.
    """
    if isinstance(inputs, list | tuple):
        return inputs
    kind = type(inputs).__name__
    columns = getattr(inputs, "columns", None)
    if columns is not None and not callable(columns):
        raise InputError(
            f"{name} are a table",
            expected=expected,
            got=f"{kind} with columns {shown(_names(columns))}",
            fix="Pass one of its columns, or its rows as a list of mappings",
        )
    if getattr(inputs, "ndim", 1) != 1:
        raise InputError(
            f"{name} are an array with other than one axis",
            expected=expected,
            got=f"{kind} of shape {getattr(inputs, 'shape', None)}",
        )
    if isinstance(inputs, str | bytes | bytearray | memoryview | Mapping) or not isinstance(
        inputs, Iterable
    ):
        raise InputError(
            f"{name} are of the wrong type",
            expected=expected,
            got="nothing" if inputs is None else kind,
        )
    return inputs


def text_items(inputs: object, name: str = "inputs") -> tuple[bool, Iterable[Any]]:
    """Whether an argument of that name is a single text, and its texts.

    Raises:
        InputError: It is neither a string nor read item by item, see :func:`several`.
    """
    return (True, (inputs,)) if isinstance(inputs, str) else (False, several(inputs, name))


def mapping_items(inputs: object, **fields: object) -> tuple[bool, Iterable[Any]]:
    """Whether a call names a single record, and its records.

    Args:
        inputs: A record, or an iterable of records, or ``None`` where ``fields`` name one.
        fields: The record's fields as keyword arguments; ``None`` where they were not given.

    Raises:
        InputError: Both or neither were given, or ``inputs`` is no mapping and no iterable of them.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    names = " and ".join(fields)
    if given and inputs is not None:
        raise InputError("inputs are given twice", expected=f"records, or {names}", got="both")
    if given:
        return True, (given,)
    if isinstance(inputs, Mapping):
        return True, (inputs,)
    return False, several(inputs, expected=f"{names}, or an iterable of mappings with them")


def read_items(records: Iterable[object], read: Callable[[Any], Item]) -> Iterator[Item]:
    """The items that records stand for, one by one.

    Raises:
        InputError: One is malformed; the error names its index.
    """
    for index, record in enumerate(records):
        try:
            yield read(record)
        except InputError as error:
            raise error.at(_place(index)) from error


def naming_items(
    encode: EncodeItems[Item], decode: DecodeItem[Item, Reduced]
) -> tuple[EncodeItems[Item], DecodeItem[Item, Reduced]]:
    """The steps of :func:`bert_export.runtime.batching.answer_items`, whose errors name the item.

    Args:
        encode: Rows of each item; called for chunk after chunk. Where it fails, it is called again
            with the chunk's items one by one.
        decode: The answer to an item; called for one after the other.
    """
    encoded, decoded = 0, 0

    def encode_items(items: Sequence[Item]) -> list[list[Row]]:
        nonlocal encoded
        try:
            rows = encode(items)
        except InputError as error:
            for index, item in enumerate(items, encoded):
                try:
                    encode([item])
                except InputError as own:
                    raise own.at(_place(index)) from error
            raise
        encoded += len(items)
        return rows

    def decode_item(item: Item, rows: Sequence[Row], reduced: Sequence[Reduced]) -> Any:
        nonlocal decoded
        try:
            answer = decode(item, rows, reduced)
        except InputError as error:
            raise error.at(_place(decoded)) from error
        decoded += 1
        return answer

    return encode_items, decode_item


def check_text(value: object, name: str = "text") -> str:
    """The value, if it is a string.

    Raises:
        InputError: It is anything else.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} is of the wrong type", expected="a string", got=type_name(value))
    return value


def type_name(value: object) -> str:
    """What a message says of a value of the wrong type; an empty cell is ``float nan``."""
    kind = type(value).__name__
    return f"{kind} {value}" if isinstance(value, float) else kind


def field(record: object, name: str) -> Any:
    """One field of a record.

    Raises:
        InputError: The record is no mapping, or lacks the field.
    """
    if not isinstance(record, Mapping):
        raise InputError(
            "item is of the wrong type",
            expected=f"a mapping with {name!r}",
            got=type(record).__name__,
        )
    if name not in record:
        raise InputError(
            f"item lacks {name!r}",
            expected=f"a mapping with {name!r}",
            got=", ".join(map(repr, record)) or "an empty mapping",
        )
    return record[name]


def _names(columns: Any) -> list[Any]:
    """Names of a table's columns; empty where it has none that can be read."""
    return list(columns) if isinstance(columns, Iterable) else []


def _place(index: int) -> str:
    return f"item {index}"
