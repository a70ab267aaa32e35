"""Every error that bert-export raises for its users, and what their messages quote.

::

    BertExportError
    ├── BudgetError            an accuracy budget cannot be kept in INT8
    ├── BundleError            a bundle is missing, tampered with, truncated or of another version
    ├── BusyError              more calls wait for an engine than its queue holds
    ├── CalibrationError       a calibration set is unknown, too small or sets no range
    ├── CheckpointError        a checkpoint cannot be read, or its tensors do not fit its config
    ├── ConfigError            config.json holds a value that the reference model does not implement
    ├── DatasetError           a data file is missing, malformed or does not fit the task
    ├── InputError             a call, a flag or a tensor does not fit the task or the graph
    ├── MeasurementError       a child process that measures died, or what it opened cannot be timed
    ├── MissingExtraError      an optional dependency is not installed (also an ImportError)
    ├── PassError              a graph pass refused a site that the recipe demands
    ├── QuantizationError      a graph or range cannot be quantized
    ├── TargetError            an engine cannot take the graph, or its builder failed
    ├── TaskError              the task is unknown, or its head is not in the checkpoint
    ├── TokenizerError         tokenizer files are missing, malformed or contradictory
    ├── TooLargeError          a request is larger than a service takes
    ├── TracingError           the traced graph is not what the task promises
    └── VerificationError      the exported graph does not answer as the PyTorch head does

The message is always ``<thing> <name> <what is wrong>: expected <x>, got <y>. <what to do>.``
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypedDict, TypeVar

__all__ = [
    "BertExportError",
    "BudgetError",
    "BundleError",
    "BusyError",
    "CalibrationError",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "InputError",
    "MeasurementError",
    "MissingExtraError",
    "PassError",
    "QuantizationError",
    "TargetError",
    "TaskError",
    "TokenizerError",
    "TooLargeError",
    "TracingError",
    "VerificationError",
    "nearest",
    "one_line",
    "one_of",
    "plain",
    "shown",
    "suggestion",
]

_CLOSE = 0.6
"""How alike two names are, of 1, so that one may be a slip of the other."""

_LONGEST_PART = 600
"""Characters that a message keeps of each of its parts: what was typed may be of any length."""


Error = TypeVar("Error", bound="BertExportError")


def shown(value: object, most: int = 60) -> str:
    """A value as a message quotes it: its ``repr``, of which ``most`` characters are kept."""
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]!r}..."
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def plain(name: str, most: int = 120) -> str:
    """A name as a message shows it: bare where it is short, else quoted and cut."""
    return name if len(name) <= most else shown(name, most)


def suggestion(name: object, known: Iterable[str]) -> str | None:
    """The question whether another name was meant, as the ``fix`` of an error.

    Args:
        name: As the user typed it.
        known: What could have been meant.

    Returns:
        ``Did you mean 'x'?`` with the :func:`nearest` name; ``None`` where none is near.
    """
    close = nearest(name, known)
    return None if close is None else f"Did you mean {close!r}?"


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is closest to another one, or one that begins so, whatever its case.

    Args:
        name: As the user typed it.
        known: What could have been meant.

    Returns:
        The name; ``None`` where none is close.
    """
    if not isinstance(name, str) or not 1 < len(name) <= _LONGEST_PART:
        return None
    from difflib import get_close_matches  # takes longer to import than this module

    names = {_folded(other): other for other in known}
    typed = _folded(name)
    close = get_close_matches(typed, names, n=1, cutoff=_CLOSE) or [
        other for other in names if other.startswith(typed)
    ]
    return names[close[0]] if close else None


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-").replace(" ", "-")


class _OneOf(TypedDict):
    expected: str
    got: str
    fix: str | None


def one_of(name: object, known: Iterable[str], *, others: Iterable[str] = ()) -> _OneOf:
    """What an error says of a name that is none of those that there are.

    Args:
        name: As it was typed.
        known: The names that there are.
        others: Names that are understood too, and not listed.

    Returns:
        The arguments ``expected``, ``got`` and ``fix`` of a :class:`BertExportError`.
    """
    names = list(known)
    return {
        "expected": f"one of {', '.join(names)}" if names else "none",
        "got": shown(name),
        "fix": suggestion(name, [*names, *others]),
    }


def one_line(error: object, *, most: int | None = 400, keep_end: bool = False) -> str:
    """What a library says, without line breaks and without its final stop.

    Args:
        error: An exception, or an entry of a log.
        most: Characters to keep; all where it is ``None``.
        keep_end: Whether the end is kept instead of the beginning.
    """
    text = " ".join(_said(error).split()).rstrip(".") or type(error).__name__
    if most is None or len(text) <= most:
        return text
    return f"...{text[-most:]}" if keep_end else f"{text[:most]}..."


def _said(value: object) -> str:
    """The text of a value; of a system's error the reason, as the message names the file itself."""
    reason = value.strerror if isinstance(value, OSError) else None
    return reason if isinstance(reason, str) and reason else str(value)


def _part(value: object) -> str:
    """A part of a message; of a long one the beginning and the end.

    Names come out of files: none may break the line or speak to the terminal.
    """
    text = "".join(map(_printable, _said(value)))
    if len(text) <= _LONGEST_PART:
        return text
    end = _LONGEST_PART // 4
    left_out = len(text) - _LONGEST_PART
    return f"{text[: _LONGEST_PART - end]} [... {left_out:,} characters ...] {text[-end:]}"


def _printable(character: str) -> str:
    """A character, or the escape that spells one which a terminal would act on."""
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _ended(text: str) -> str:
    """A sentence with its final stop, which an error that is quoted in it may have brought."""
    return text if text.endswith(".") and not text.endswith("..") else f"{text}."


class BertExportError(Exception):
    """Base of the tree; its text is one line that a user can act on.

    Args:
        what: The thing, its name and what is wrong with it, without a final stop.
        expected: What would have been right, if that can be said.
        got: What was found instead.
        fix: What the user can do, as a sentence without its final stop, or a question.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object | None = None,
        got: object | None = None,
        fix: str | None = None,
    ) -> None:
        clauses = []
        if expected is not None:
            clauses.append(f"expected {_part(expected)}")
        if got is not None:
            clauses.append(f"got {_part(got)}")
        wrong = _part(what)
        message = _ended(f"{wrong}: {', '.join(clauses)}" if clauses else wrong)
        if fix is not None:
            advice = _part(fix)
            message = f"{message} {advice if advice.endswith('?') else _ended(advice)}"
        super().__init__(message)

    def at(self, place: str) -> Self:
        """The same error, said of a place such as an item of a list."""
        error = _restore(type(self), f"{place}: {self}")
        error.__dict__.update(self.__dict__)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes, whatever their class is made of."""
        return _restore, (type(self), str(self)), self.__dict__


def _restore(kind: type[Error], message: str) -> Error:
    """An error of a class with a message that is composed already."""
    return kind.__new__(kind, message)


class BudgetError(BertExportError):
    """An accuracy budget cannot be kept in INT8.

    Args:
        what: See :class:`BertExportError`, as for the rest.
        expected: The drop that was allowed.
        got: The best that was found.
        fix: How to take that, or what to ask for instead.
        search: The :class:`bert_export.bundle.SearchRecord` of what was tried.
    """

    def __init__(
        self, what: str, *, expected: object, got: object, fix: str, search: object
    ) -> None:
        super().__init__(what, expected=expected, got=got, fix=fix)
        self.search = search


class BundleError(BertExportError):
    """A bundle is missing, tampered with, truncated or of another version."""


class BusyError(BertExportError):
    """More calls wait for an engine than its queue holds."""


class CalibrationError(BertExportError):
    """A calibration set is unknown, too small or sets no range."""


class CheckpointError(BertExportError):
    """A checkpoint cannot be read, or its tensors do not fit its config."""


class ConfigError(BertExportError):
    """``config.json`` holds a value that the reference model does not implement."""


class DatasetError(BertExportError):
    """A data file is missing, malformed or does not fit the task."""


class InputError(BertExportError):
    """A call, a flag or a tensor does not fit the task or the graph."""


class MeasurementError(BertExportError):
    """A child process that measures died, or what it opened cannot be timed."""


class MissingExtraError(BertExportError, ImportError):
    """An optional dependency is not installed.

    Args:
        feature: What the user asked for.
        extra: The extra of this package that brings the dependency.
        needs: What it needs and why that is not there, where there is more to say of it.
        build: The command that builds it once the extra is there.
    """

    def __init__(
        self, feature: str, *, extra: str, needs: str | None = None, build: str | None = None
    ) -> None:
        commands = [f"pip install 'bert-export[{extra}]'"] + ([build] if build else [])
        super().__init__(
            f"{feature} needs {needs or 'an optional dependency that is not installed'}",
            fix=f"Run: {' && '.join(commands)}",
        )


class PassError(BertExportError):
    """A graph pass refused a site that the recipe demands."""


class QuantizationError(BertExportError):
    """A graph or range cannot be quantized."""


class TargetError(BertExportError):
    """An engine cannot take the graph, or its builder failed."""


class TaskError(BertExportError):
    """The task is unknown, or its head is not in the checkpoint."""


class TokenizerError(BertExportError):
    """Tokenizer files are missing, malformed or contradictory."""


class TooLargeError(BertExportError):
    """A request is larger than a service takes."""


class TracingError(BertExportError):
    """The traced graph is not what the task promises."""


class VerificationError(BertExportError):
    """The exported graph does not answer as the PyTorch head does."""
