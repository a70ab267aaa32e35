"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bert_export.bundle.locks import LocksUnsupportedError, lock

__all__ = ["whole_file", "write_whole"]

_SUFFIX = ".bert-export-part"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as :func:`whole_file` does.

    Args:
        path: Of the file; its folder exists.
        content: All of it.

    Raises:
        OSError: The disk is full, the folder cannot be written to, and the like.
    """
    with whole_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file under another name, and give it its own name in one step once it is written.

    A reader sees the old file or the new one, never a part of it. Where writing fails, the old file
    stays and nothing is left behind; what a process that was killed left is removed by the next
    that writes into the folder. Of two that write at once, the last one's content stays.

    Args:
        path: Of the file; its folder exists.

    Raises:
        OSError: The disk is full, the folder cannot be written to, and the like.
    """
    _collect_leftovers(path.parent)
    with contextlib.ExitStack() as stack:
        unfinished, file = _make(path, stack)
        yield file
        file.flush()
        unfinished.chmod(0o644)
        unfinished.replace(path)


def _make(path: Path, stack: contextlib.ExitStack) -> tuple[Path, BinaryIO]:
    """A new file beside a path, locked: closed and removed by the stack."""
    while True:
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
        stack.callback(unfinished.unlink, missing_ok=True)
        file = stack.enter_context(unfinished.open("xb"))
        with contextlib.suppress(LocksUnsupportedError):  # then nobody collects either
            lock(file.fileno())
        if os.fstat(file.fileno()).st_nlink:  # else it was collected before it was locked
            return unfinished, file


def _collect_leftovers(folder: Path) -> None:
    """Remove unfinished files that nobody writes any more, as far as this user may."""
    for unfinished in folder.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError), unfinished.open("r+b") as file:
            if lock(file.fileno()):
                unfinished.unlink()
