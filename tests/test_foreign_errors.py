"""Requests to end are found in what libraries make of them, and panics become errors."""

from __future__ import annotations

import socket

import pytest

from bert_export.foreign_errors import (
    PanicError,
    interruption_in,
    panics_as_errors,
    what_a_hub_says,
)


def fail(error: BaseException) -> None:
    raise error


def raised(*, cause: bool, error: BaseException) -> BaseException:
    """What a library raises that catches an error and goes on, two deep."""
    try:
        try:
            try:
                fail(error)
            except BaseException as first:
                if cause:
                    raise ValueError("the library cannot") from first
                raise AttributeError("the library stumbles") from None
        except Exception as second:
            raise RuntimeError("the library gives up") from second
    except RuntimeError as third:
        return third
    return error


@pytest.mark.parametrize("cause", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_a_request_to_end_is_found(*, cause: bool, error: BaseException) -> None:
    assert interruption_in(raised(cause=cause, error=error)) is error
    assert interruption_in(error) is error


@pytest.mark.parametrize("cause", [True, False])
def test_a_failure_is_no_request_to_end(*, cause: bool) -> None:
    error = raised(cause=cause, error=OSError("full"))
    error.__cause__.__context__.__context__ = error  # type: ignore[union-attr]  # a circle
    assert interruption_in(error) is None


class PanicException(BaseException):
    pass


def test_a_panic_is_an_error() -> None:
    with pytest.raises(PanicError, match="index out of bounds"), panics_as_errors():
        raise PanicException("index out of bounds")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, GeneratorExit])
def test_all_else_stays(error: type[BaseException]) -> None:
    with pytest.raises(error), panics_as_errors():
        raise error


def test_a_lost_connection_is_said_in_the_system_s_words() -> None:
    lost = raised(cause=True, error=socket.gaierror(-2, "Name or service not known"))
    assert what_a_hub_says(lost) == "no connection: Name or service not known"
    assert what_a_hub_says(TimeoutError()) == "no connection: TimeoutError"
    assert what_a_hub_says(raised(cause=True, error=KeyError("x"))) == "the library gives up"
