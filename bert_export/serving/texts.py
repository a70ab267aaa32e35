"""Texts of a body that are refused as they stand, by the name of their field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from bert_export.errors import InputError, TooLargeError

__all__ = ["check_texts", "half_pair"]

_NUL = "\0"
_ESCAPED_NUL = rb"\u0000"


def check_texts(raw: bytes, *, characters: int) -> None:
    """Make sure that a body's texts are not too long and hold no NUL.

    Args:
        raw: JSON that was decoded without an error. It is read again only where its bytes leave a
            doubt.
        characters: Of a text at most.

    Raises:
        TooLargeError: A text is longer.
        InputError: A text holds a NUL, which the tokenizer would drop.
    """
    if len(raw) <= characters and _ESCAPED_NUL not in raw:
        return
    for place, text in _texts(msgspec.json.decode(raw), "body"):
        if len(text) > characters:
            raise TooLargeError(
                f"{place} is too long",
                expected=f"at most {characters:,} characters",
                got=f"{len(text):,}",
            )
        if _NUL in text:
            raise InputError(f"{place} holds a NUL character", expected="text without it")


def half_pair(raw: bytes) -> InputError | None:
    """The error that names the field of a string with half a surrogate pair, if there is one.

    Args:
        raw: A body that could not be decoded, for this or another reason.
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    for place, text in _texts(value, "body"):
        if any("\ud800" <= character <= "\udfff" for character in text):
            expected = "text that UTF-8 can write"
            return InputError(f"{place} holds half a surrogate pair", expected=expected)
    return None


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every string of a JSON value, names in objects too, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield f"name in {place}", name
            yield from _texts(part, f"{place}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _texts(part, f"{place}[{index}]")
