"""Children that die, hang, print junk, and those that do as they are asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bert_export.errors import MeasurementError
from bert_export.measuring.child import Child, call_apart, pinned_environment
from bert_export.measuring.serving import __file__ as serving_file

WORKER = """
import os, sys, time

print("a library greets on standard output")

def junk(request):
    os.write(int(sys.argv[2]), b"Segmentation fault?\\n")
    return {}

def half(request):
    os.write(int(sys.argv[2]), b'{"reply"')
    os._exit(3)

def die(request):
    print("last words", file=sys.stderr)
    os._exit(7)

def hang(request):
    time.sleep(60)

def late(request):
    while request["after"] and not os.path.exists(request["after"]):
        time.sleep(0.01)
    return {"late": True}

def length(request):
    return {"length": len(request["text"]), "echo": request["text"]}

def environment(request):
    return {
        "threads": os.environ["OMP_NUM_THREADS"],
        "path": os.environ.get("PYTHONPATH"),
        "cores": sorted(os.sched_getaffinity(0)),
        "folders": sys.path,
    }
"""


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    file = tmp_path / "worker.py"
    file.write_text(WORKER, encoding="utf-8")
    return file


@contextmanager
def child_of(worker: Path) -> Iterator[Child]:
    with Child(worker, threads=1) as child:
        yield child


def call(child: Child, function: str, *, patience: float = 60.0, **request: object) -> object:
    answer = child.ask("call", function=function, request=request, patience=patience)
    return answer["reply"]


def test_a_child_that_dies_says_its_last_words(worker: Path) -> None:
    with child_of(worker) as child:
        with pytest.raises(MeasurementError, match=r"worker ended with status 7: .*last words"):
            call(child, "die")
        assert not child.alive
        with pytest.raises(MeasurementError, match="ended with status 7"):
            call(child, "length", text="")


def test_a_child_that_hangs_is_not_waited_for_for_ever(worker: Path) -> None:
    with child_of(worker) as child:
        with pytest.raises(MeasurementError, match="worker does not answer"):
            call(child, "hang", patience=0.1)
        assert not child.alive


def test_a_late_reply_answers_no_other_request(worker: Path, tmp_path: Path) -> None:
    with child_of(worker) as child:
        with pytest.raises(MeasurementError, match="does not answer"):
            call(child, "late", patience=0.1, after=str(tmp_path / "now"))
        (tmp_path / "now").touch()
        with pytest.raises(MeasurementError, match="ended with status -9"):
            call(child, "length", text="a", patience=20)


def test_junk_is_no_reply(worker: Path) -> None:
    with child_of(worker) as child:
        with pytest.raises(MeasurementError, match="answers with something else: expected JSON"):
            call(child, "junk")
        assert not child.alive


def test_half_a_reply_is_none(worker: Path) -> None:
    with child_of(worker) as child, pytest.raises(MeasurementError, match="ended with status 3"):
        call(child, "half")


def test_what_cannot_be_done_leaves_the_child_alive(worker: Path) -> None:
    with child_of(worker) as child:
        with pytest.raises(MeasurementError, match="AttributeError"):
            call(child, "no_such_function")
        assert call(child, "late", after="") == {"late": True}


def test_requests_and_replies_may_be_long(worker: Path) -> None:
    with child_of(worker) as child:
        text = "a" * 3_000_000
        assert call(child, "length", text=text) == {"length": len(text), "echo": text}


def test_a_child_is_pinned(worker: Path) -> None:
    with Child(worker, threads=3, cores=(0,)) as child:
        found = child.ask("call", function="environment", request={})["reply"]
    assert found["threads"] == "3"
    assert found["cores"] == [0]
    assert str(Path(serving_file).parent) not in found["folders"]


def test_another_interpreter_gets_no_path_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert pinned_environment(2)["PYTHONPATH"] == "/somewhere"
    foreign = pinned_environment(2, python="/usr/bin/python3")
    assert "PYTHONPATH" not in foreign
    assert {foreign["OMP_NUM_THREADS"], foreign["RAYON_NUM_THREADS"]} == {"2"}


def test_an_interpreter_that_is_not_there_is_a_reason(worker: Path) -> None:
    with pytest.raises(MeasurementError, match="worker cannot be started: expected an interpreter"):
        Child(worker, threads=1, python="/no/such/python")


def test_a_job_tells_what_it_took(worker: Path) -> None:
    job = call_apart(worker, "late", {"after": ""}, threads=1)
    assert job.reply == {"late": True}
    assert job.seconds > 0
    assert job.peak_bytes > 1e6
    with pytest.raises(MeasurementError, match="last words"):
        call_apart(worker, "die", {}, threads=1)


def test_the_service_needs_nothing_but_the_standard_library() -> None:
    code = (
        f"import runpy, sys; sys.argv = ['serving', 'json', '1', '-'];"
        f"runpy.run_path({serving_file!r}, run_name='__main__');"
        "sys.exit(' '.join({'numpy', 'msgspec', 'bert_export'} & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], input=b"", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
