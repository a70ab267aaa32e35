"""The lines of a text file, plain or gzipped: streamed, bounded, and strict about UTF-8."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bert_export.errors import DatasetError
from bert_export.regular_files import irregular_kind

__all__ = ["MOST_DOCUMENT", "MOST_LINE", "check_regular", "read_lines", "read_text", "split_kind"]

MOST_LINE = 64 << 20
"""Bytes of a line, which is a record in most kinds of files."""

MOST_DOCUMENT = 512 << 20
"""Bytes of a file that is parsed as one value."""

_FREE = 64 << 20
_MOST_RATIO = 200  # text shrinks tenfold; of JSON that repeats itself a hundredfold was seen
_GZIP = ".gz"
_MARK = b"\xef\xbb\xbf"
_FOREIGN_STARTS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "gzip data: end the name in .gz",
    b"PK\x03\x04": "a zip archive",
}


def split_kind(path: Path) -> tuple[str, bool]:
    """The suffix that names a file's kind, in lower case, and whether gzip packed the file."""
    suffix = path.suffix.lower()
    if suffix == _GZIP:
        return Path(path.stem).suffix.lower(), True
    return suffix, False


def check_regular(path: Path) -> None:
    """Refuse what has no end or is no file: a FIFO, a device, a socket, a folder.

    Raises:
        DatasetError: It is one of these, or there is nothing of that name.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError for a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(
            f"data file {path} cannot be read", expected="a file that is there", got=reason
        ) from error
    kind = irregular_kind(mode)
    if kind is not None:
        raise DatasetError(
            f"data file {path} cannot be read",
            expected="a regular file",
            got=kind,
            fix="Write what it gives into a file",
        )


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, each with its number, from 1, and its line break.

    A byte-order mark is left out. Memory holds a line at a time.

    Raises:
        DatasetError: The file cannot be read, is no UTF-8, has a line above :data:`MOST_LINE`, or
            unpacks to far more than text ever does.
    """
    check_regular(path)
    most, read = _most_bytes(path), 0
    with _read_errors(path), _open(path) as file:
        number = 0
        while data := file.readline(MOST_LINE + 1):
            number += 1
            if len(data) > MOST_LINE:
                raise DatasetError(
                    f"data file {path} line {number} is too long",
                    expected=f"at most {MOST_LINE >> 20} MiB",
                    got="more",
                )
            yield number, _decode(data, path, number=number, before=read)
            read += len(data)
            if read > most:
                raise _too_large(path, most)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file that is parsed as a whole.

    Raises:
        DatasetError: As of :func:`read_lines`, or it is larger than :data:`MOST_DOCUMENT`.
    """
    check_regular(path)
    most = min(_most_bytes(path), MOST_DOCUMENT)
    with _read_errors(path), _open(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise _too_large(path, most)
    return _decode(data, path, number=1, before=0)


def _open(path: Path) -> IO[bytes]:
    if split_kind(path)[1]:
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _most_bytes(path: Path) -> int:
    """What a file may hold: packed ones so much more than their size as text shrinks at most."""
    size = path.stat().st_size
    return max(_FREE, size * _MOST_RATIO) if split_kind(path)[1] else size


def _too_large(path: Path, most: int) -> DatasetError:
    packed = split_kind(path)[1]
    return DatasetError(
        f"data file {path} {'unpacks to too much' if packed else 'is too large'}",
        expected=f"at most {most >> 20} MiB",
        got="more",
        fix="Unpack it yourself, if it is right" if packed else "Write one JSON object a line",
    )


def _decode(data: bytes, path: Path, *, number: int, before: int) -> str:
    """Text of bytes that begin in line ``number``, behind ``before`` bytes."""
    start = len(_MARK) if before == 0 and data.startswith(_MARK) else 0
    try:
        return data[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        index = start + error.start
        line = number + data.count(b"\n", 0, index)
        what = next(
            (
                what
                for begin, what in _FOREIGN_STARTS.items()
                if before == 0 and data.startswith(begin)
            ),
            f"byte 0x{data[index]:02x} at {before + index} of the file, in line {line}",
        )
        raise DatasetError(
            f"data file {path} cannot be read",
            expected="a UTF-8 text file",
            got=what,
            fix="Convert it to UTF-8, such as with: iconv -f WINDOWS-1252 -t UTF-8"
            if what.startswith("byte")
            else None,
        ) from error


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Turn what files and gzip raise into a :class:`DatasetError`."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:  # a damaged gzip file raises all of them
        raise DatasetError(
            f"data file {path} cannot be read",
            expected="a whole gzip file" if split_kind(path)[1] else "a UTF-8 text file",
            got=error,
        ) from error
