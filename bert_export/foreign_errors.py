"""What other libraries raise that is no error of theirs: requests to end, panics, no connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import TracebackType

from bert_export.errors import one_line

__all__ = ["PanicError", "interruption_in", "panics_as_errors", "what_a_hub_says"]


def interruption_in(error: BaseException) -> BaseException | None:
    """The request to end that a library took for a failure of its own, such as Ctrl-C.

    Args:
        error: What the library raised; what it came of and in which handling it arose are looked
            through.

    Returns:
        The ``KeyboardInterrupt`` or ``SystemExit``; ``None`` where there is none.
    """
    for one in _arisen_from(error):
        if isinstance(one, KeyboardInterrupt | SystemExit):
            return one
    return None


def what_a_hub_says(error: BaseException) -> str:
    """The reason why a hub did not do as it was asked, in a line.

    Args:
        error: What its client raised, of whichever library for HTTP. Where no server was reached,
            that spells objects of several libraries; the system's own words stand for it then.
    """
    for one in _arisen_from(error):
        if isinstance(one, socket.gaierror | ConnectionError | TimeoutError):
            return f"no connection: {one_line(one.strerror or one)}"
    return one_line(error)


def _arisen_from(error: BaseException) -> Iterator[BaseException]:
    """An error, what it came of, and in which handling it arose."""
    left, met = [error], set[int]()
    while left:
        one = left.pop()
        yield one
        met.add(id(one))
        left += [
            other for other in (one.__cause__, one.__context__) if other and id(other) not in met
        ]


class PanicError(RuntimeError):
    """What a panic of a library in Rust becomes."""


class _PanicsAsErrors:
    """A context without state: one serves all threads, and entering it costs next to nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # No module exports the class.
        if error is not None and type(error).__name__ == "PanicException":
            raise PanicError(str(error)) from error


_PANICS_AS_ERRORS = _PanicsAsErrors()


def panics_as_errors() -> _PanicsAsErrors:
    """Turn a panic of a library in Rust, which no ``except Exception`` hears, into an error.

    Raises:
        PanicError: The library panicked.
    """
    return _PANICS_AS_ERRORS
