from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from bert_export.bundle import locks, whole_files, write_whole
from tests.kills import Child, count_calls, kill_at


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


@pytest.mark.parametrize("there", [False, True])
def test_killed_before_each_call_it_is_whole_or_as_before(*, there: bool, tmp_path: Path) -> None:
    def write(folder: Path, content: bytes) -> None:
        write_whole(folder / "card.json", content)

    def set_up(name: str) -> Path:
        (tmp_path / name).mkdir()
        if there:
            write(tmp_path / name, b"old")
        return tmp_path / name

    calls = count_calls(partial(write, set_up("count"), b"new"))
    assert calls > 4
    seen = set()
    for number in range(1, calls + 1):
        folder = set_up(f"{number}")
        assert kill_at(number, partial(write, folder, b"new"))
        path = folder / "card.json"
        seen.add(path.read_bytes() if path.exists() else None)
        write_whole(folder / "another.json", b"")
        assert {path.name for path in folder.iterdir()} <= {"another.json", "card.json"}
    assert seen == {b"new", b"old" if there else None}


def test_an_unfinished_file_of_a_live_writer_stays(tmp_path: Path) -> None:
    unfinished = tmp_path / ".card.json.00000000.bert-export-part"
    with unfinished.open("xb") as file:
        assert locks.lock(file.fileno())
        write_whole(tmp_path / "another.json", b"")
        assert unfinished.exists()
    write_whole(tmp_path / "another.json", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["another.json"]


def test_a_file_that_is_collected_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = locks.lock
    collected = []

    def collect_first(descriptor: int) -> bool:
        if not collected:
            collected.extend(tmp_path.iterdir())
            collected[0].unlink()
        return plain(descriptor)

    monkeypatch.setattr(whole_files, "lock", collect_first)
    write_whole(tmp_path / "card.json", b"new")
    assert len(collected) == 1
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    writers = [Child(partial(write_often, tmp_path / "card.json", content)) for content in contents]
    while any(map(Child.is_alive, writers)):
        if (tmp_path / "card.json").exists():
            assert (tmp_path / "card.json").read_bytes() in contents
    assert [writer.code for writer in writers] == [0] * 8
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def write_often(path: Path, content: bytes) -> None:
    for _ in range(20):
        write_whole(path, content)
