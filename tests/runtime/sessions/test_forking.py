"""A process that forks after a bundle was loaded: the child can end, and may load its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import parser

import bert_export
from tests.runtime.sessions.test_session_contract import GRAPH, RECORD

PROGRAM = """
import os, sys, time
from pathlib import Path
from bert_export.errors import InputError
from tests.runtime.sessions.test_session_contract import answer, engine, feeds, same
from bert_export.runtime.sessions import open_session

folder, target, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
session = open_session(folder, engine(target), threads=2)
case = feeds(8, 64)
same(session.run(case), answer(case))
child = os.fork()
if not child:
    if what == "call":
        try:
            same(session.run(case), answer(case))
            print("answered")
        except InputError as error:
            print(str(error).partition(":")[0])
    else:
        session.close()
        with open_session(folder, engine(target), threads=2) as own:
            same(own.run(case), answer(case))
        print("opened")
    sys.exit(7)  # as any program ends, the interpreter's objects freed
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        print("child ended with", os.waitstatus_to_exitcode(status))
        break
    time.sleep(0.02)
else:
    os.kill(child, 9)
    print("child hangs")
same(session.run(case), answer(case))
"""
REFUSED = "session was opened before this process was forked"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    ("target", "what", "printed"),
    [
        ("onnxruntime", "call", "answered"),
        ("onnxruntime", "open", "opened"),
        ("openvino", "call", REFUSED),
        ("openvino", "open", "opened"),
    ],
)
def test_a_forked_child(tmp_path: Path, target: str, what: str, printed: str) -> None:
    pytest.importorskip(target)
    onnx.save(parser.parse_model(GRAPH), tmp_path / RECORD.file)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), target, what],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(bert_export.__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line] == [
        printed,
        "child ended with 7",
    ]
