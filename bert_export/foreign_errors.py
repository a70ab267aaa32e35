"""What other libraries raise that is no error of theirs: requests to end, and panics."""

from __future__ import annotations

from types import TracebackType

__all__ = ["PanicError", "interruption_in", "panics_as_errors"]


def interruption_in(error: BaseException) -> BaseException | None:
    """The request to end that a library took for a failure of its own, such as Ctrl-C.

    Args:
        error: What the library raised; what it came of and in which handling it arose are looked
            through.

    Returns:
        The ``KeyboardInterrupt`` or ``SystemExit``; ``None`` where there is none.
    """
    left, met = [error], set[int]()
    while left:
        one = left.pop()
        if isinstance(one, KeyboardInterrupt | SystemExit):
            return one
        met.add(id(one))
        left += [
            other for other in (one.__cause__, one.__context__) if other and id(other) not in met
        ]
    return None


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
