"""Ctrl-C and requests to end: one line, the status that shells expect, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path

import pytest

from bert_export.bundle import read_bundle
from bert_export.cli import main
from bert_export.cli.console import errors_on_one_line
from bert_export.errors import TracingError
from bert_export.exporter import Export
from tests.kills import Child, count_calls, interrupt_at

REQUESTS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Wrapping(AbstractContextManager[None]):
    """A library that blames what it works on."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            raise TracingError("head cannot be traced") from error


class Stumbling(AbstractContextManager[None]):
    """A library that asks its half-imported self what it caught."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            raise AttributeError("module has no attribute 'exc'") from None


@pytest.mark.parametrize(
    "library", [nullcontext, Wrapping, Stumbling, partial(suppress, BaseException)]
)
@pytest.mark.parametrize("request_to_end", REQUESTS)
def test_it_ends_the_command_whatever_a_library_makes_of_it(
    request_to_end: signal.Signals,
    library: Callable[[], AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = [signal.getsignal(number) for number in REQUESTS]
    with pytest.raises(SystemExit) as left, errors_on_one_line(), library():
        os.kill(os.getpid(), request_to_end)
    assert left.value.code == 128 + request_to_end
    assert capsys.readouterr().err == "interrupted\n"
    assert [signal.getsignal(number) for number in REQUESTS] == before


def test_an_error_that_holds_an_interruption_of_the_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No signal was heard: a thread or a child process was interrupted."""
    with pytest.raises(SystemExit) as left, errors_on_one_line(), Wrapping():
        raise KeyboardInterrupt
    assert left.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_error_stays_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left, errors_on_one_line():
        raise TracingError("head cannot be traced")
    assert left.value.code == 1
    assert capsys.readouterr().err == "error: head cannot be traced.\n"


@pytest.mark.long
@pytest.mark.parametrize("force", [False, True])
def test_at_any_file_call_nothing_is_left(
    *, force: bool, tiny_export: Callable[..., Export], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """In forks of this process, so that the time of a start is not spent for each."""
    cls_name = "BertForSequenceClassification"
    source = tiny_export("text-classification", cls_name, num_labels=3).path
    model = str(tiny(cls_name, num_labels=3))
    log = tmp_path / "log"

    def export(place: Path) -> None:
        options = ["--force"] if force else []
        main(["--model", model, "-o", str(place), "--quiet", *options], standalone_mode=False)

    def interrupted(place: Path, number: int) -> None:
        """Leave with the command's status."""
        interrupt_at(number, of=str(place.parent))
        with log.open("w") as sys.stderr:
            try:
                export(place)
            except SystemExit as error:
                sys.stderr.flush()
                os._exit(int(str(error.code)))

    def set_up(name: str) -> Path:
        (tmp_path / name).mkdir()
        if force:
            shutil.copytree(source, tmp_path / name / "out")
        return tmp_path / name / "out"

    calls = count_calls(partial(export, set_up("count")), of=str(tmp_path / "count"))
    assert calls > 30
    for number in range(1 + force, calls - 2, calls // 4):
        place = set_up(f"{number}")
        assert Child(partial(interrupted, place, number)).wait() == 130, log.read_text()
        assert log.read_text() == "interrupted\n"
        # The bundle is as it was, or whole where the interruption came after it was put there.
        there = [path.name for path in place.parent.iterdir()]
        assert there in ([["out"]] if force else [[], ["out"]] if number > calls // 2 else [[]])
        if there:
            assert read_bundle(place).task == "text-classification"


def test_the_status_is_kept_where_code_of_a_string_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "from bert_export.cli.console import errors_on_one_line\n"
        "with errors_on_one_line():\n"
        "    exec('raise KeyboardInterrupt')\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
