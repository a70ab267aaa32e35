"""Requests a second of a service, with and without batches across requests.

Usage::

    python scripts/benchmarks/serving.py BUNDLE...

Needs ``wrk``. Two servers of the same bundle, one of which runs every request's rows alone, take
turns: 1 client and 32, round by round, so that other work on the machine moves both. Texts of 4 to
40 words, a request each. Processor time is that of the server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import httpx

from bert_export.errors import MeasurementError

CLIENTS = (1, 32)
TEXTS = 64
WORDS = ("the", "harbour", "froze", "twice", "that", "winter", "and", "no", "ship", "came")

SERVER = """
import sys
from bert_export.runtime import batcher
from bert_export.serving.server import Service, serve

bundle, port, batched = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "batched"
if not batched:
    batcher.ROUND_TOKENS = 1  # every round is one request's
serve(Service(bundles=(bundle,), port=port), started=lambda _: None)
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def write_requests(path: Path) -> None:
    """A script of wrk that posts texts of different lengths in turn."""
    bodies = [
        json.dumps({"inputs": " ".join(WORDS[place % len(WORDS)] for place in range(size))})
        for size in (4 + 36 * index // (TEXTS - 1) for index in range(TEXTS))
    ]
    lines = "\n".join(f"  [==[{body}]==]," for body in bodies)
    path.write_text(
        f"local bodies = {{\n{lines}\n}}\nlocal at = 0\n"
        "request = function()\n"
        f"  at = (at * 5 + 1) % {TEXTS}\n"
        '  local headers = {["Content-Type"] = "application/json"}\n'
        '  return wrk.format("POST", "/", headers, bodies[at + 1])\n'
        "end\n",
        encoding="utf-8",
    )


@contextmanager
def served(bundle: Path, kind: str) -> Iterator[tuple[str, int]]:
    """Address and process id of a server that answers."""
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(bundle), str(port), kind]
    with subprocess.Popen(command) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    httpx.post(address, json={"inputs": "warm"}, timeout=60).raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            else:
                raise MeasurementError(f"server of {bundle} does not answer")
            yield address, server.pid
        finally:
            server.terminate()


def processor_seconds(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    address: str, process: int, script: Path, clients: int, seconds: int
) -> tuple[float, float]:
    """Requests a second, and milliseconds of the server's processor time a request.

    Raises:
        MeasurementError: A request was not answered with 200.
    """
    program = shutil.which("wrk")
    if program is None:
        raise MeasurementError("program wrk is not installed", fix="Install wrk")
    begin = processor_seconds(process)
    options = ["-t", "1", "-c", str(clients), "-d", f"{seconds}s", "-s", str(script)]
    said = subprocess.run(
        [program, *options, address], capture_output=True, text=True, check=True
    ).stdout
    used = processor_seconds(process) - begin
    found = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if found is None or rate is None or "Non-2xx" in said:
        raise MeasurementError("wrk saw failures", got=said)
    return float(rate[1]), 1000 * used / int(found[1])


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3, show_default=True, help="Of one measurement.")
def main(bundles: tuple[Path, ...], rounds: int, seconds: int) -> None:
    """Print a table: medians of the rounds."""
    with TemporaryDirectory() as folder:
        script = Path(folder) / "requests.lua"
        write_requests(script)
        print("| bundle | clients | batches | requests/s | CPU ms a request |")
        print("|---|---|---|---|---|")
        for bundle in bundles:
            found: dict[tuple[int, str], list[tuple[float, float]]] = {}
            with served(bundle, "batched") as batched, served(bundle, "alone") as alone:
                for _ in range(rounds):
                    for clients in CLIENTS:
                        for kind, server in (("batched", batched), ("alone", alone)):
                            figure = measure(*server, script, clients, seconds)
                            found.setdefault((clients, kind), []).append(figure)
            for (clients, kind), figures in found.items():
                rate = statistics.median(figure[0] for figure in figures)
                used = statistics.median(figure[1] for figure in figures)
                print(f"| {bundle.name} | {clients} | {kind} | {rate:.0f} | {used:.2f} |")


if __name__ == "__main__":
    main()
