"""Calls that do not fit: what Python says of them becomes an error that asks what was meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from bert_export.errors import InputError, plain, suggestion

__all__ = ["explains_misuse"]

Options = ParamSpec("Options")
Answer = TypeVar("Answer")


def explains_misuse(call: Callable[Options, Answer]) -> Callable[Options, Answer]:
    """The same call, which raises an InputError where an argument is unknown or missing.

    The error names the option that is closest to an unknown one. A call that fits costs nothing
    more: arguments are looked at after Python has refused them.
    """

    @wraps(call)
    def explained(*args: Options.args, **kwargs: Options.kwargs) -> Answer:
        try:
            return call(*args, **kwargs)
        except TypeError as error:
            misuse = _find_misuse(call, args, kwargs)
            if misuse is None:
                raise
            raise misuse from error

    return explained


def _find_misuse(
    call: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> InputError | None:
    """What of a call's arguments does not fit; ``None`` where they do and something else failed."""
    signature = inspect.signature(call)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        unknown = next((name for name in kwargs if name not in known), None)
        if unknown is None:
            required = [p.name for p in parameters if p.default is p.empty and p.name in known]
            return InputError(
                "arguments do not fit the call",
                expected=f"{', '.join(required) or 'none'}, and options by name",
                got=error,
            )
        return InputError(
            f"option {plain(unknown)} is unknown",
            expected=f"some of {', '.join(known)}",
            got=plain(unknown),
            fix=suggestion(unknown, known),
        )
    return None
