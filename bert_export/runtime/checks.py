"""Options that callers pass, checked alike everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from msgspec import UNSET, UnsetType

from bert_export.errors import InputError, shown, suggestion

__all__ = [
    "check_flag",
    "check_mapping",
    "check_number",
    "check_whole",
    "check_whole_or_none",
    "check_word",
    "or_default",
]

Value = TypeVar("Value")
Word = TypeVar("Word", bound=str)


def or_default(value: Value | UnsetType, default: Value) -> Value:
    """The value of an option, or its default where the call leaves it out."""
    return default if value is UNSET else value


def check_whole(
    name: str,
    value: object,
    *,
    least: int,
    most: int | None = None,
    expected: str | None = None,
) -> int:
    """The value of an option, if it is a whole number; numpy's integers are.

    Args:
        name: As the caller typed it.
        value: As it came.
        least: That it may be.
        most: That it may be, if anything bounds it.
        expected: What is expected, if that is more than a whole number of at least ``least``.

    Raises:
        InputError: It is anything else, or out of bounds.
    """
    if not isinstance(value, bool) and isinstance(value, Integral):
        number = int(value)
        if number >= least and (most is None or number <= most):
            return number
    raise InputError(
        f"{name} is wrong",
        expected=expected or f"a whole number, at least {least}",
        got=shown(value),
    )


def check_whole_or_none(
    name: str, value: object, *, least: int, expected: str | None = None
) -> int | None:
    """As :func:`check_whole`; ``None`` is left to who reads it."""
    return None if value is None else check_whole(name, value, least=least, expected=expected)


def check_word(
    name: str, value: object, words: Sequence[Word], *, expected: str | None = None
) -> Word:
    """The value of an option, if it is one of some words in whatever case.

    Args:
        name: As the caller typed it.
        value: As it came.
        words: In lower case.
        expected: What is expected, if it is not one of the words alone.

    Raises:
        InputError: It is anything else.
    """
    for word in words:
        if isinstance(value, str) and value.lower() == word:
            return word
    raise InputError(
        f"{name} is unknown",
        expected=expected or f"one of {', '.join(words)}",
        got=shown(value),
        fix=suggestion(value, words),
    )


def check_number(name: str, value: object) -> float:
    """The value of an option, if it is a finite number.

    Raises:
        InputError: It is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{name} is wrong", expected="a number", got=shown(value))
    return float(value)


def check_flag(name: str, value: object) -> bool:
    """The value of an option, if it says yes or no; numpy's booleans do.

    Raises:
        InputError: It is anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is wrong", expected="true or false", got=shown(value))
    return bool(value)


def check_mapping(name: str, value: object) -> Mapping[str, Any]:
    """The value of an option, if it names options of its own; ``None`` names none.

    Raises:
        InputError: It is anything else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is wrong", expected="a mapping of options", got=shown(value))
    return value
