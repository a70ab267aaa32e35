"""The command in a process of its own: it starts, answers, and ends in order."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from bert_export.cli import main
from bert_export.errors import InputError
from bert_export.serving.keys import read_keys
from bert_export.serving.server import Service, listen

LIGHT = """
import sys
from bert_export.serving import app
import bert_export.serving.server
service = app(sys.argv[1])
for model in service.state.models:
    model.open()
print(*{"torch", "transformers", "onnx", "pandas", "rich"} & set(sys.modules))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_serves_and_drains(bundles: Mapping[str, Path], workers: int) -> None:
    command = [sys.executable, "-m", "bert_export", "serve", str(bundles["text-classification"])]
    options = ["--port", "0", "--threads", "1", "--workers", str(workers)]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://\S+", server.stderr.readline())
        assert found is not None
        transport = httpx.HTTPTransport(retries=20)
        statuses: list[int] = []
        with httpx.Client(base_url=found[0], transport=transport, timeout=60) as client:
            assert client.post("/", json={"inputs": "warm"}).status_code == 200
            body = {"inputs": ["a text of some words"] * 32}
            asking = [
                threading.Thread(
                    target=lambda: statuses.append(client.post("/", json=body).status_code)
                )
                for _ in range(4)
            ]
            for thread in asking:
                thread.start()
            while not statuses and any(thread.is_alive() for thread in asking):
                asking[0].join(0.001)
            server.send_signal(signal.SIGTERM)
            for thread in asking:
                thread.join()
        assert server.wait(60) == 0
    assert statuses
    assert set(statuses) == {200}


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with (
        listen(Service(bundles=(), port=0)) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_service_imports_nothing_heavy(bundles: Mapping[str, Path]) -> None:
    command = [sys.executable, "-c", LIGHT, str(bundles["text-classification"])]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout.strip()) == (0, ""), finished.stderr


def test_what_the_command_refuses(bundles: Mapping[str, Path], tmp_path: Path) -> None:
    bundle = str(bundles["text-classification"])
    for arguments, said in (
        ([str(tmp_path)], "bundle"),
        ([bundle, "--host", "203.0.113.7", "--port", "0"], "cannot be listened on"),
        ([bundle, "--ssl-certfile", str(tmp_path / "none.pem")], "for TLS is missing"),
        ([bundle, "--ssl-certfile", __file__], "cannot be used: expected PEM files"),
        ([bundle, "--ssl-keyfile", __file__], "certificate is missing"),
        ([bundle, "--api-key-file", str(tmp_path / "none")], "cannot be read"),
    ):
        done = CliRunner().invoke(main, ["serve", *arguments])
        assert done.exit_code == 1, done.output
        assert said in done.output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_engine_that_does_not_open(
    bundles: Mapping[str, Path], tmp_path: Path, workers: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundles["text-classification"], broken)
    (broken / "weights.data").write_bytes(b"")
    done = CliRunner().invoke(main, ["serve", str(broken), "--port", "0", "--workers", workers])
    assert done.exit_code == 1, done.output
    assert done.output.startswith("error: ")
    assert "serving" not in done.output


def test_keys_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# ours\n\none\n two \n", encoding="utf-8")
    assert read_keys(path) == ("one", "two")
    path.write_text("# none\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no key"):
        read_keys(path)
