"""A bundle's folder is replaced whole or not at all, whatever happens and whoever reads."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from bert_export.bundle import (
    MANIFEST,
    check_replaceable,
    folder,
    locks,
    read_bundle,
    read_manifest,
    read_steadily,
    renaming,
    replace_folder,
    verify_files,
)
from bert_export.errors import BundleError
from tests.bundle.killed_replacements import replace, weights_of
from tests.bundle.small import FILES, make_manifest, write_small
from tests.kills import Child


def fail_inside(target: Path, error: type[BaseException]) -> None:
    with replace_folder(target, force=True) as work:
        (work / "half").write_text("half")
        raise error("inside")


class TestReplaceFolder:
    def test_new(self, tmp_path: Path) -> None:
        target = tmp_path / "deep" / "bundle"
        with replace_folder(target) as work:
            (work / "file").write_text("new")
            assert not target.exists()
            assert work.parent.parent == target.parent
        assert (target / "file").read_text() == "new"
        assert [path.name for path in target.parent.iterdir()] == ["bundle"]

    def test_permissions_are_those_of_any_folder(self, tmp_path: Path) -> None:
        (tmp_path / "usual").mkdir()
        with replace_folder(tmp_path / "bundle") as work:
            (work / "file").touch()
        usual = stat.S_IMODE((tmp_path / "usual").stat().st_mode)
        assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == usual

    def test_force_replaces_a_bundle(self, bundle: Path) -> None:
        with replace_folder(bundle, force=True) as work:
            (work / "file").write_text("new")
            assert (bundle / MANIFEST).is_file()
        assert [path.name for path in bundle.iterdir()] == ["file"]
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    def test_without_force(self, bundle: Path) -> None:
        with pytest.raises(BundleError, match=r"exists already\. Pass --force"):
            replace_folder(bundle).__enter__()
        verify_files(bundle, read_manifest(bundle))

    def test_force_spares_what_is_no_bundle(self, tmp_path: Path) -> None:
        precious = tmp_path / "home"
        precious.mkdir()
        (precious / "letter").write_text("dear")
        for target in (precious, precious / "letter"):
            with pytest.raises(BundleError, match="is not a bundle"):
                replace_folder(target, force=True).__enter__()
        assert (precious / "letter").read_text() == "dear"

    def test_force_spares_another_tools_manifest(self, tmp_path: Path) -> None:
        extension = tmp_path / "extension"
        extension.mkdir()
        for text in ('{"manifest_version": 3, "name": "mine"}', "no JSON", '{"schema_version": 2}'):
            (extension / MANIFEST).write_text(text)
            with pytest.raises(BundleError, match="is not a bundle"):
                replace_folder(extension, force=True).__enter__()
            assert (extension / MANIFEST).read_text() == text

    def test_files_beside_the_bundle_are_carried_over(self, bundle: Path) -> None:
        (bundle / "letter").write_text("dear")
        with replace_folder(bundle, force=True) as work:
            (work / "file").write_text("new")
        assert {path.name: path.read_text() for path in bundle.iterdir()} == {
            "file": "new",
            "letter": "dear",
        }

    def test_files_that_arrive_meanwhile_are_carried_over(self, bundle: Path) -> None:
        with replace_folder(bundle, force=True) as work:
            (work / "file").write_text("new")
            (bundle / "letter").write_text("dear")
        assert (bundle / "letter").read_text() == "dear"

    def test_a_file_beside_the_bundle_is_in_the_way(self, bundle: Path) -> None:
        (bundle / "letter").write_text("dear")
        with (
            pytest.raises(BundleError, match="holds a file letter that is not the bundle's"),
            replace_folder(bundle, force=True) as work,
        ):
            (work / "letter").write_text("new")
        assert (bundle / "letter").read_text() == "dear"
        verify_files(bundle, read_manifest(bundle))

    def test_a_link_stays_and_what_it_names_is_replaced(self, bundle: Path) -> None:
        link = bundle.parent / "current"
        link.symlink_to(bundle.name)
        with replace_folder(link, force=True) as work:
            (work / "file").write_text("new")
        assert link.is_symlink()
        assert [path.name for path in bundle.iterdir()] == ["file"]

    def test_a_link_to_nowhere_gets_its_folder(self, tmp_path: Path) -> None:
        link = tmp_path / "current"
        link.symlink_to("version-1")
        with replace_folder(link) as work:
            (work / "file").write_text("new")
        assert (tmp_path / "version-1" / "file").read_text() == "new"

    def test_what_appeared_meanwhile_is_spared(self, tmp_path: Path) -> None:
        target = tmp_path / "bundle"
        block = replace_folder(target)
        block.__enter__()
        target.mkdir()
        (target / "letter").write_text("dear")
        with pytest.raises(BundleError, match="exists already"):
            block.__exit__(None, None, None)
        assert (target / "letter").read_text() == "dear"
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

    def test_the_folder_of_this_process(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (bundle / "deep").mkdir()
        monkeypatch.chdir(bundle / "deep")
        with pytest.raises(BundleError, match="is the folder that this command runs in"):
            replace_folder(Path(".."), force=True).__enter__()
        verify_files(bundle, read_manifest(bundle))

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_failure_inside_keeps_the_old(self, bundle: Path, error: type[BaseException]) -> None:
        with pytest.raises(error):
            fail_inside(bundle, error)
        verify_files(bundle, read_manifest(bundle))
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    def test_failure_inside_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="inside"):
            fail_inside(tmp_path / "x", ValueError)
        assert list(tmp_path.iterdir()) == []

    def test_failure_removes_the_folders_that_were_made_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        with pytest.raises(ValueError, match="inside"):
            fail_inside(tmp_path / "there" / "deep" / "deeper" / "x", ValueError)
        assert list(tmp_path.rglob("*")) == [tmp_path / "there"]

    def test_failure_spares_what_came_into_those_folders(self, tmp_path: Path) -> None:
        def work() -> None:
            with replace_folder(tmp_path / "deep" / "bundle"):
                (tmp_path / "deep" / "letter").write_text("dear")
                raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011
            work()
        assert list(tmp_path.rglob("*")) == [tmp_path / "deep", tmp_path / "deep" / "letter"]

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
    def test_a_name_that_no_folder_has(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="cannot be written: expected a folder"):
            replace_folder(tmp_path / "deep" / name).__enter__()
        assert list(tmp_path.iterdir()) == []

    def test_the_swap_itself_fails(self, bundle: Path) -> None:
        """The new folder vanished before it could take the old one's place."""
        with (
            pytest.raises(BundleError, match=r"cannot be written: .* No such file"),
            replace_folder(bundle, force=True) as work,
        ):
            work.rmdir()
        assert read_manifest(bundle) == make_manifest(bundle)
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    def test_nothing_can_be_made_there(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        target = tmp_path / "file" / "deep" / "bundle"
        with pytest.raises(BundleError, match="cannot be written"):
            replace_folder(target).__enter__()


@pytest.fixture(params=["one step", "two steps"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system that exchanges two folders in one step, and one that cannot."""
    if request.param == "two steps":
        monkeypatch.setattr(renaming, "_find", lambda: None)
    return str(request.param)


class TestKilled:
    @pytest.mark.parametrize("steps", ["one-step", "two-steps"])
    def test_before_each_call_that_touches_the_file_system(self, steps: str) -> None:
        # A small process: it forks for every kill.
        subprocess.run(
            [sys.executable, "-m", "tests.bundle.killed_replacements", steps],
            cwd=Path(__file__).parents[2],
            check=True,
        )

    def test_what_came_in_before_the_kill_is_rescued(self, bundle: Path) -> None:
        """Between the copy of a user's files and the exchange another one arrived."""
        holder = bundle.with_name(".bundle.bert-export-writing")
        holder.mkdir()
        (holder / "owner.json").touch()
        bundle.rename(holder / "ready")
        (holder / "ready" / "late letter").write_text("dear")
        bundle.mkdir()
        write_small(bundle, weights=b"new")
        replace(bundle.with_name("other"), force=False)
        assert (bundle / "late letter").read_text() == "dear"
        assert weights_of(bundle) == b"new"
        assert not holder.exists()


class TestTwoAtOnce:
    def test_the_second_is_told_who_the_first_is(self, tmp_path: Path) -> None:
        with replace_folder(tmp_path / "out") as work:
            write_small(work)
            for force in (True, False):
                message = rf"is being written by another process: .* got process {os.getpid()} of"
                with pytest.raises(BundleError, match=message):
                    replace(tmp_path / "out", force=force)
            replace(tmp_path / "other", force=False)  # and no other place is locked
        assert weights_of(tmp_path / "out") == FILES["weights.data"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]

    @pytest.mark.parametrize("force", [False, True])
    def test_one_of_two_is_refused_or_they_follow_each_other(
        self, *, force: bool, steps: str, tmp_path: Path
    ) -> None:
        for number in range(20):
            place = tmp_path / f"{number}" / "out"
            if force:
                place.mkdir(parents=True)
                write_small(place, weights=b"old")
            answers: list[str] = []

            def write(place: Path = place, answers: list[str] = answers) -> None:
                try:
                    replace(place, force=force)
                except BundleError:
                    answers.append("refused")
                else:
                    answers.append("written")

            threads = [threading.Thread(target=write) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(answers) == 3
            assert "written" in answers
            assert force or answers.count("written") == 1
            assert weights_of(place) == b"new"
            assert [path.name for path in place.parent.iterdir()] == ["out"]

    def test_without_locks_the_process_that_runs_holds_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with replace_folder(tmp_path / "out") as work:
            write_small(work)
            with pytest.raises(BundleError, match=f"got process {os.getpid()} of host"):
                replace(tmp_path / "out", force=False)
        holder = tmp_path / ".out.bert-export-writing"
        for host, pid, is_free in (
            (os.uname().nodename, 2**22 + 1, True),  # above the largest number of a process
            (os.uname().nodename, 1, False),
            ("another-host", 2**22 + 1, False),
        ):
            holder.mkdir()
            owner = {"pid": pid, "host": host, "since": "2026-01-01T00:00:00+00:00"}
            (holder / "owner.json").write_text(json.dumps(owner))
            if is_free:
                replace(tmp_path / "out", force=True)
                assert not holder.exists()
            else:
                with pytest.raises(BundleError, match=f"got process {pid} of host {host}, since"):
                    replace(tmp_path / "out", force=True)
                shutil.rmtree(holder)


class TestLeftovers:
    def test_of_another_user_or_behind_a_link_stay(self, tmp_path: Path) -> None:
        (tmp_path / "precious" / "new").mkdir(parents=True)
        (tmp_path / "precious" / "owner.json").touch()
        (tmp_path / ".a.bert-export-writing").symlink_to("precious")
        (tmp_path / ".b.bert-export-writing").mkdir()
        (tmp_path / ".b.bert-export-writing" / "letter").touch()
        (tmp_path / ".c.bert-export-writing").touch()
        replace(tmp_path / "out", force=False)
        assert (tmp_path / "precious" / "new").is_dir()
        assert (tmp_path / ".b.bert-export-writing" / "letter").exists()
        assert (tmp_path / ".c.bert-export-writing").exists()
        with pytest.raises(BundleError, match="is not a folder of this user; remove it"):
            replace(tmp_path / "a", force=False)

    def test_a_folder_that_may_not_be_written_to_is_removed(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where it cannot be, nothing fails, and a later command removes it."""
        (bundle / "letters").mkdir()
        (bundle / "letters" / "first").touch()
        (bundle / "letters").chmod(0o500)
        plain = shutil.rmtree

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOTEMPTY, "a file of it is open")

        monkeypatch.setattr(shutil, "rmtree", fail)
        replace(bundle, force=True)
        replace(bundle, force=True, weights=b"newer")
        assert weights_of(bundle) == b"newer"
        (holder,) = bundle.parent.glob(".*")
        assert len(list(holder.iterdir())) == 3
        monkeypatch.setattr(shutil, "rmtree", plain)
        replace(bundle.with_name("other"), force=False)
        assert not holder.exists()
        assert (bundle / "letters" / "first").exists()

    def test_a_live_process_keeps_its_own(self, tmp_path: Path) -> None:
        with replace_folder(tmp_path / "out") as work:
            write_small(work)
            replace(tmp_path / "other", force=False)
            assert (work / MANIFEST).is_file()


def replace_for(seconds: float, place: Path) -> None:
    """Replace a bundle again and again, by two in turns."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        number += 1
        replace(place, force=True, weights=b"ab"[number % 2 :] * 1000)


class TestReaders:
    def test_none_is_refused_while_it_is_replaced(self, steps: str, bundle: Path) -> None:
        replace(bundle, force=True, weights=b"b" * 1000)
        writer = Child(partial(replace_for, 1.5, bundle))
        seen: list[bytes] = []
        while writer.is_alive():
            seen.append(read_steadily(bundle, partial(self.read, bundle)))
        assert writer.code == 0
        assert len(seen) > 20
        changes = sum(one != other for one, other in pairwise(seen))
        assert changes > 5

    def read(self, bundle: Path) -> bytes:
        manifest = read_manifest(bundle)
        weights = (bundle / "weights.data").read_bytes()
        verify_files(bundle, manifest)
        return weights

    def test_a_bundle_is_not_replaced_while_it_is_opened(self, bundle: Path) -> None:
        writer = threading.Thread(target=replace, args=(bundle,), kwargs={"force": True})

        def read() -> bytes:
            writer.start()
            writer.join(timeout=0.1)
            assert writer.is_alive()
            return weights_of_open(bundle)

        assert read_steadily(bundle, read) == FILES["weights.data"]
        writer.join()
        assert weights_of(bundle) == b"new"

    def test_one_that_is_replaced_all_the_same_is_read_again(self, bundle: Path) -> None:
        """Where there are no locks, or the reader takes longer than a writer waits."""
        answers: list[bytes] = []
        discarded: list[bytes] = []

        def read() -> bytes:
            answers.append((bundle / "weights.data").read_bytes())
            if len(answers) == 1:
                put_another_in_its_place(bundle)
            elif len(answers) == 2:
                put_another_in_its_place(bundle)
                raise BundleError("bundle has files of two")
            return answers[-1]

        assert read_steadily(bundle, read, discard=discarded.append) == b"another"
        assert discarded == answers[:1] == [FILES["weights.data"]]

    def test_what_is_wrong_with_one_that_stays_is_said(self, bundle: Path) -> None:
        (bundle / "weights.data").unlink()
        with pytest.raises(BundleError, match=r"lacks the file weights\.data"):
            read_bundle(bundle)
        with pytest.raises(BundleError, match="no such folder"):
            read_bundle(bundle / "none")
        with pytest.raises(BundleError, match="no such folder"):
            read_bundle(bundle / "nul\0")

    def test_one_that_never_stays(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder, "_KEEP_READING", 0.2)
        with pytest.raises(BundleError, match="is replaced again and again"):
            read_steadily(bundle, lambda: put_another_in_its_place(bundle))

    def test_a_reader_that_never_ends_holds_nobody_up(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder, "_WAIT_FOR_READERS", 0.1)
        descriptor = os.open(bundle, os.O_RDONLY)
        try:
            assert locks.lock(descriptor, shared=True)
            replace(bundle, force=True)
        finally:
            os.close(descriptor)
        assert weights_of(bundle) == b"new"


def weights_of_open(place: Path) -> bytes:
    """As :func:`weights_of`, within one that reads."""
    verify_files(place, read_manifest(place))
    return (place / "weights.data").read_bytes()


def put_another_in_its_place(place: Path) -> None:
    other = place.with_name("another")
    other.mkdir()
    write_small(other, weights=b"another")
    assert renaming.exchange(other, place)
    shutil.rmtree(other)


def test_a_process_whose_folder_was_removed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    check_replaceable(bundle, force=True)
