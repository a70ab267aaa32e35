"""Opening files of a folder that somebody else filled: only regular ones, and no endless ones.

Opening a FIFO waits for its other end, reading a device need not end, and a sparse file of a
terabyte takes an hour to read. All three are refused before a byte is read.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

__all__ = [
    "check_regular",
    "irregular_kind",
    "open_regular",
    "read_regular",
    "read_regular_text",
]

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
)
_CHUNK = 1 << 20
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)


def irregular_kind(mode: int) -> str | None:
    """What a file is that is no regular one, by its ``st_mode``; ``None`` for a regular one."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)


def check_regular(path: Path, *, most: int | None = None) -> int:
    """Make sure that a library that is about to open a path finds a regular file.

    Args:
        path: The file, or a link to it.
        most: Bytes that it may have; any number when ``None``.

    Returns:
        Its size in bytes.

    Raises:
        OSError: It is not there, is no regular file, or is larger; ``strerror`` says which.
    """
    return _check(path.stat(), path, most)


def open_regular(path: Path, *, most: int | None = None) -> io.FileIO:
    """Open a regular file to read its bytes; see :func:`check_regular`.

    It is looked at before, for opening a device may move it; and after, for another may have taken
    its place.
    """
    check_regular(path, most=most)
    file = io.FileIO(path, "rb", opener=_open_at_once)
    try:
        _check(os.fstat(file.fileno()), path, most)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: Path, *, most: int) -> bytes:
    """All bytes of a regular file; see :func:`check_regular`."""
    content = bytearray()
    with open_regular(path, most=most) as file:
        while chunk := file.read(_CHUNK):
            content += chunk
            if len(content) > most:  # it grows, or does not say how much it has
                raise _too_large(path, len(content), most)
    return bytes(content)


def read_regular_text(path: Path, *, most: int) -> str:
    """The text of a regular file in UTF-8; see :func:`check_regular`.

    Raises:
        UnicodeDecodeError: It is no UTF-8.
    """
    return read_regular(path, most=most).decode("utf-8")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | _NO_WAITING)


def _check(found: os.stat_result, path: Path, most: int | None) -> int:
    kind = irregular_kind(found.st_mode)
    if kind is not None:
        number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        raise OSError(number, f"{kind}, not a regular file", str(path))
    if most is not None and found.st_size > most:
        raise _too_large(path, found.st_size, most)
    return found.st_size


def _too_large(path: Path, size: int, most: int) -> OSError:
    return OSError(errno.EFBIG, f"it has {size:,} bytes, more than {most:,}", str(path))
