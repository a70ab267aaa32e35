"""Only regular files are opened, and none that is too large."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from bert_export import regular_files
from bert_export.regular_files import check_regular, open_regular, read_regular, read_regular_text

READERS: tuple[Callable[[Path], object], ...] = (
    check_regular,
    open_regular,
    lambda path: read_regular(path, most=100),
    lambda path: read_regular_text(path, most=100),
)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(path.parent)  # the path of a socket has a hundred characters at most
        try:
            one.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (os.mkfifo, "a FIFO"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.symlink_to("/dev/tty"), "a device"),
        (Path.mkdir, "a folder"),
    ],
)
def test_no_regular_file(
    make: Callable[[Path], object], name: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path / "file")
    with pytest.raises(OSError, match=f"{name}, not a regular file"):
        read(tmp_path / "file")


def test_what_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "file")
    monkeypatch.setattr(regular_files, "check_regular", Mock(return_value=0))
    with pytest.raises(OSError, match="a FIFO, not a regular file"):
        open_regular(tmp_path / "file")


def test_a_socket(tmp_path: Path) -> None:
    make_socket(tmp_path / "file")
    for read in READERS:
        with pytest.raises(OSError, match="a socket, not a regular file"):
            read(tmp_path / "file")


@pytest.mark.parametrize("read", READERS)
def test_none(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "file")


def test_a_sparse_file_of_a_terabyte(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert check_regular(path) == 1 << 40
    for read in (read_regular, check_regular, open_regular):
        with pytest.raises(OSError, match="it has 1,099,511,627,776 bytes, more than 1,000"):
            read(path, most=1000)


def test_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("é".encode() * 50)
    assert check_regular(path, most=100) == 100
    assert read_regular(path, most=100) == "é".encode() * 50
    assert read_regular_text(path, most=100) == "é" * 50
    with open_regular(path, most=100) as file:
        assert file.read(2) == "é".encode()
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_regular_text(path, most=1)


@pytest.mark.skipif(sys.platform != "linux", reason="files that grow without a size are Linux's")
def test_a_file_that_says_less_than_it_has() -> None:
    path = Path("/proc/self/status")
    assert path.stat().st_size == 0
    assert read_regular(path, most=1 << 20).startswith(b"Name:")
    with pytest.raises(OSError, match="more than 10"):
        read_regular(path, most=10)
