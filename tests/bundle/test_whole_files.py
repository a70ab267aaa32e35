from __future__ import annotations

from pathlib import Path

import pytest

from bert_export.bundle import write_whole


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    for content in (b"first", b"", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.mkdir()  # cannot be replaced by a file
    (path / "inside").write_bytes(b"as before")
    with pytest.raises(OSError, match=r"card\.json"):
        write_whole(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "inside").read_bytes() == b"as before"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "card.json", b"")
