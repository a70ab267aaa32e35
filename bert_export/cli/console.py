"""How every command speaks: answers on standard output, progress and errors on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from bert_export.errors import BertExportError

__all__ = ["errors_on_one_line", "print_json", "size_text", "stderr", "stdout"]

_PIPED_WIDTH = 140
_width = None if sys.stdout.isatty() else _PIPED_WIDTH  # tables in a file should not fold

stdout = Console(highlight=False, soft_wrap=True, width=_width)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def errors_on_one_line() -> Iterator[None]:
    """Print a library error as one red line and leave with status 1."""
    try:
        yield
    except BertExportError as error:
        stderr.print(f"error: {' '.join(str(error).split())}", style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        stderr.print("interrupted", style="red")
        sys.exit(130)


def print_json(value: Any) -> None:
    """Print one JSON value on one line; arrays become lists."""
    text = msgspec.json.encode(value, enc_hook=_plain).decode()
    stdout.out(text, highlight=False)


def size_text(size: int) -> str:
    """A size in bytes, as a person reads it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")
