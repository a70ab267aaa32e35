"""Renames in one step, on file systems that know them and on others."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_export.bundle import renaming
from bert_export.bundle.renaming import exchange, rename_new


def answering(number: int) -> Callable[..., int]:
    """A ``renameat2`` that fails."""

    def function(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    return function


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    return tmp_path / "a", tmp_path / "b"


def test_an_exchange(folders: tuple[Path, Path]) -> None:
    a, b = folders
    assert exchange(a, b)
    assert (a / "b").exists()
    assert (b / "a").exists()


def test_an_exchange_with_nothing(folders: tuple[Path, Path]) -> None:
    with pytest.raises(FileNotFoundError):
        exchange(folders[0], folders[0] / "none")


@pytest.mark.parametrize("number", [None, errno.EINVAL, errno.ENOSYS, errno.EPERM])
def test_what_is_not_known(
    folders: tuple[Path, Path], number: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_find", lambda: None if number is None else answering(number))
    a, b = folders
    assert not exchange(a, b)
    assert (a / "a").exists()
    with pytest.raises(FileExistsError):
        rename_new(a, b)
    rename_new(a, a.with_name("c"))
    assert (a.with_name("c") / "a").exists()


def test_nothing_is_renamed_over(folders: tuple[Path, Path]) -> None:
    a, b = folders
    (b / "b").unlink()  # a plain rename replaces an empty folder
    with pytest.raises(FileExistsError):
        rename_new(a, b)
    rename_new(a, a.with_name("c"))
    assert (a.with_name("c") / "a").exists()


def test_what_fails_for_another_reason(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_find", lambda: answering(errno.EXDEV))
    with pytest.raises(OSError, match="Invalid cross-device link"):
        exchange(*folders)
