"""How every command speaks: answers on standard output, progress and errors on standard error.

Its exit code is 0; 1 where it failed; 2 where what was typed cannot be right; 130 after Ctrl-C, and
128 + N after signal N.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from rich.console import Console

from bert_export.errors import BertExportError, MissingExtraError
from bert_export.foreign_errors import interruption_in

__all__ = [
    "UsageProblem",
    "errors_on_one_line",
    "fail",
    "print_json",
    "size_text",
    "stderr",
    "stdout",
    "usage_errors",
]

FAILED = 1
MISUSED = 2
INTERRUPTED = 128 + signal.SIGINT

_PIPED_WIDTH = 140
_REQUESTS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

for _stream in (sys.stdout, sys.stderr):
    if isinstance(_stream, io.TextIOWrapper):  # what an encoding lacks becomes a question mark
        _stream.reconfigure(errors="replace")

_terminal = sys.stdout is not None and sys.stdout.isatty()
# Tables in a file should not fold, unless the user says how wide it is.
_width = None if _terminal or "COLUMNS" in os.environ else _PIPED_WIDTH

# No markup: names of labels, files and layers may hold brackets.
stdout = Console(markup=False, highlight=False, soft_wrap=True, width=_width)
stderr = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


class UsageProblem(click.UsageError):
    """What was typed cannot be right: an error of this package that leaves with status 2."""

    def __init__(self, error: BertExportError) -> None:
        super().__init__(str(error))


class _PackageProblem(UsageProblem):
    """What was typed is right, and a package that it needs is missing: status 1."""

    exit_code = FAILED


@contextmanager
def usage_errors() -> Iterator[None]:
    """Take a library's errors inside for misuse: what is checked is what was typed.

    Raises:
        UsageProblem: In their place.
    """
    try:
        yield
    except MissingExtraError as error:
        raise _PackageProblem(error) from error
    except BertExportError as error:
        raise UsageProblem(error) from error


def fail(text: str, status: int) -> NoReturn:
    """Print an error as one red line, and leave."""
    stderr.print(f"error: {' '.join(text.split())}", style="red")
    sys.exit(status)


@contextmanager
def errors_on_one_line() -> Iterator[None]:
    """Print a library's or a file system's error as one red line and leave with status 1.

    A request to end (Ctrl-C, SIGTERM, or SIGHUP of a terminal that is closed) unwinds the command,
    so that nothing half-written is left, and ends it with 128 and the signal's number, also where a
    library takes it for a failure of its own.
    """
    asked: list[int] = []
    try:
        with _ended_in_order(asked):
            yield
        if asked:  # a library went on as if nothing had been asked
            _end(asked)
    except BrokenPipeError:  # whoever read the output has enough
        raise
    except (BertExportError, OSError) as error:
        if asked or interruption_in(error) is not None:
            _end(asked)
        text = _file_text(error) if isinstance(error, OSError) else str(error)
        _drop_output()
        fail(text, FAILED)
    except KeyboardInterrupt:
        _end(asked)
    except Exception as error:
        if asked or interruption_in(error) is not None:
            _end(asked)
        raise


def _end(asked: Sequence[int]) -> NoReturn:
    stderr.print("interrupted", style="red")
    # Python remembers that code of a string was interrupted, as libraries run some while they are
    # imported, and would end by SIGINT whatever the status. Running a string makes it forget.
    exec("")  # noqa: S102
    sys.exit(128 + asked[0] if asked else INTERRUPTED)


@contextmanager
def _ended_in_order(asked: list[int]) -> Iterator[None]:
    """Turn requests to end into ``KeyboardInterrupt``, and note their signals' numbers."""

    def end(number: int, _: object) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [one for one in _REQUESTS if signal.getsignal(one) != signal.SIG_IGN]  # nohup ignores
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _drop_output() -> None:
    """Drop what stdout could not take, as Python would try again and end with another status."""
    if sys.stdout is None:  # closed by whoever started the command
        return
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123  no path of the user's
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def _file_text(error: OSError) -> str:
    """A disk that is full, a folder that may not be written to, and the like."""
    name = "" if error.filename is None else f" {error.filename}"
    return f"file{name} cannot be read or written: got {error.strerror or error}."


def print_json(value: Any) -> None:
    """Print one JSON value on one line; arrays become lists."""
    from bert_export.runtime.json_answers import write_json

    text = write_json(value).decode()
    if codecs.lookup(stdout.encoding).name != "utf-8":
        text = json.dumps(json.loads(text))  # with escapes, which every encoding has
    stdout.out(text, highlight=False)


def size_text(size: int) -> str:
    """A size in bytes, as a person reads it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
