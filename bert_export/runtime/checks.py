"""Numbers that callers pass, checked alike everywhere."""

from __future__ import annotations

from numbers import Integral

from bert_export.errors import InputError

__all__ = ["check_whole", "check_whole_or_none"]


def check_whole(name: str, value: object, *, least: int) -> int:
    """The value of an option, if it is a whole number; numpy's integers are.

    Args:
        name: As the caller typed it.
        value: As it came.
        least: That it may be.

    Raises:
        InputError: It is anything else, or less.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(
            f"{name} is wrong", expected=f"a whole number, at least {least}", got=repr(value)
        )
    return int(value)


def check_whole_or_none(name: str, value: object, *, least: int) -> int | None:
    """As :func:`check_whole`; ``None`` is left to who reads it."""
    return None if value is None else check_whole(name, value, least=least)
