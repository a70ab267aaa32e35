"""Answering looks no host up and leaves nothing in the home folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import bert_export
from bert_export.exporter import Export
from bert_export.measuring.child import pinned_environment
from bert_export.telemetry import TELEMETRY_OFF, disable_telemetry

SWITCHES = (*TELEMETRY_OFF, "CI", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME")
"""Set where tests run, and not where services do."""

PATIENCE = 13
"""Seconds until ONNX Runtime 1.32 has asked for its host: it waits 9."""

ASKED = """
import time
from pathlib import Path


def asked():
    '''Packets that found no way out of this network, which has none.'''
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2]):
        if names[0] == "Ip:":
            return int(dict(zip(names, values))["OutNoRoutes"])
"""
ANSWER = """
import sys
from bert_export import load
with load(sys.argv[1], target=sys.argv[2], threads=1) as pipeline:
    pipeline("Ada Lovelace")
"""


@pytest.fixture(scope="module")
def bundle(tiny_export: Callable[..., Export]) -> Export:
    targets = ("onnxruntime", "openvino")
    if not openvino_is_installed():
        targets = targets[:1]
    return tiny_export("text-classification", "BertForSequenceClassification", targets=targets)


def openvino_is_installed() -> bool:
    import importlib.util

    return importlib.util.find_spec("openvino") is not None


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    path = os.pathsep.join(
        [str(Path(bert_export.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    return kept | {"HOME": str(home), "PYTHONPATH": path}


def run(command: Sequence[str], home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(home), timeout=120
    )


def isolated() -> list[str] | None:
    """The command that runs another in a network of its own, which leads nowhere."""
    if shutil.which("unshare") is not None:
        for options in (["-n"], ["-r", "-n"]):
            command = ["unshare", *options, sys.executable, "-c", "pass"]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return command[:-2]
    return None


@pytest.fixture(scope="module", autouse=True)
def engines(
    bundle: Export, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[subprocess.Popen[str]]]:
    """Both engines at once, for as long as the slower of them waits before it asks for its host.

    They answer before the first test of this file and are heard by its last: the wait is long.
    """
    python = isolated()
    program = f"{ASKED}{ANSWER}time.sleep({PATIENCE})\nprint(asked())"
    children = [
        subprocess.Popen(
            [*python, "-c", program, str(bundle.path), engine.target],
            stdout=subprocess.PIPE,
            env=environment(tmp_path_factory.mktemp("home")),
            text=True,
        )
        for engine in bundle.manifest.engines
        if python is not None
    ]
    yield children
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_nothing_is_left_in_home(bundle: Export, target: str, tmp_path: Path) -> None:
    if target not in (engine.target for engine in bundle.manifest.engines):
        pytest.skip(f"{target} is not installed")
    done = run([sys.executable, "-c", ANSWER, str(bundle.path), target], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.rglob("*")) == []


def test_a_home_that_cannot_be_written_to_is_quiet(bundle: Export, tmp_path: Path) -> None:
    """A file, so that even root cannot write below it."""
    home = tmp_path / "home"
    home.write_text("no folder")
    command = [sys.executable, "-m", "bert_export.cli", "run", str(bundle.path), "Ada Lovelace"]
    done = run(command, home)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_wants_telemetry_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TELEMETRY_OFF:
        monkeypatch.setenv(name, "kept")
    disable_telemetry()
    assert {os.environ[name] for name in TELEMETRY_OFF} == {"kept"}


def test_processes_that_measure_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    own: Mapping[str, Any] = pinned_environment(1)
    foreign = pinned_environment(1, python="/usr/bin/python3")
    for found in (own, foreign):
        assert found.items() >= TELEMETRY_OFF.items()
        assert found["CI"] == "true"


def test_openvino_keeps_its_package_for_others(tmp_path: Path) -> None:
    """What was hidden while OpenVINO was imported can be imported afterwards."""
    pytest.importorskip("openvino_telemetry")
    program = (
        "from bert_export.telemetry import import_openvino\n"
        "import sys; import_openvino(); print('openvino_telemetry' in sys.modules)\n"
        "import openvino_telemetry; print('openvino' in sys.modules)"
    )
    done = run([sys.executable, "-c", program], tmp_path)
    assert (done.stdout.split(), done.stderr) == (["False", "True"], "")


SYSTEM_CALLS = (
    "socket,connect,sendto,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink"
)


def test_no_socket_and_no_write(bundle: Export, tmp_path: Path) -> None:
    """What a bundle asks of the system while it loads and answers, by every thread and child."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log, home = tmp_path / "calls", tmp_path / "home"
    home.mkdir()
    traced = ["strace", "-f", "-qq", "-e", f"trace={SYSTEM_CALLS}", "-o", str(log)]
    control = "import socket; socket.socket().close(); open('/dev/null', 'w').close()"
    if run([*traced, sys.executable, "-c", control], home).returncode:
        pytest.skip("this machine lets no process trace another")
    assert offences(log) != ([], []), "a socket and a write are seen here"
    for engine in bundle.manifest.engines:
        program = [sys.executable, "-B", "-c", ANSWER, str(bundle.path), engine.target]
        done = run([*traced, *program], home)
        assert done.returncode == 0, done.stderr
        sockets, writes = offences(log)
        assert sockets == []
        assert [line for line in writes if '"/dev/null"' not in line] == []


def offences(log: Path) -> tuple[list[str], list[str]]:
    """Calls that open sockets, and calls that succeed in changing a file system."""
    sockets, writes = [], []
    for line in log.read_text(errors="replace").splitlines():
        name = line.split("(")[0].split()[-1]
        if name in ("socket", "connect", "sendto"):
            sockets.append(line)
        elif " = -1 " not in line and (
            not name.startswith("open")
            or any(way in line for way in ("O_WRONLY", "O_RDWR", "O_CREAT"))
        ):
            writes.append(line)
    return sockets, writes


def test_no_host_is_looked_up(engines: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    """The last of this file: see the fixture."""
    python = isolated()
    if python is None:
        pytest.skip("this machine lets no process have a network of its own (unshare -n)")
    lookup = "import socket\ntry: socket.getaddrinfo('example.org', 80)\nexcept OSError: pass\n"
    control = run([*python, "-c", f"{ASKED}{lookup}print(asked())"], tmp_path)
    assert int(control.stdout) > 0, "a look-up is seen here"
    assert engines
    assert {child.communicate(timeout=120)[0].strip() for child in engines} == {"0"}
