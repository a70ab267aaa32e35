"""Requests a second of a service, with and without batches across requests, and of others.

Usage::

    python scripts/benchmarks/serving.py BUNDLE[=CHECKPOINT]... --python PEERS/bin/python

Needs ``wrk``. Servers of the same model are alive at once and take turns: 1 client and 32, round by
round, so that other work on the machine moves all. Texts of 4 to 40 words, a request each.
Processor time is that of the server.

- ``batched``: as users start it; ``alone``: every request's rows run by themselves.
- ``pipeline``: FastAPI around transformers' pipeline, where the checkpoint is named.
- ``sentence-transformers``: FastAPI around its ``encode``, of a sentence embedding.
- ``bare``: no server but the bundle's call in a loop, for what a request costs beyond it.

The others need fastapi, transformers and sentence-transformers, in the interpreter that
``--python`` names.
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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import httpx

from bert_export.bundle import read_manifest
from bert_export.errors import MeasurementError
from bert_export.tasks.feature_extraction import TASK as FEATURE_EXTRACTION
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

CLIENTS = (1, 32)
TEXTS = 64
WORDS = ("the", "harbour", "froze", "twice", "that", "winter", "and", "no", "ship", "came")

SERVER = """
import sys
from bert_export.runtime import batcher
from bert_export.serving.server import Service, serve

kind, bundle, port, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if kind == "alone":
    batcher.ROUND_TOKENS = 1  # every round is one request's
serve(Service(bundles=(bundle,), port=port, threads=threads), started=lambda _: None)
"""

PEER = """
import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

kind, checkpoint, port, threads, task = (*sys.argv[1:3], *map(int, sys.argv[3:5]), sys.argv[5])
torch.set_num_threads(threads)
if kind == "sentence-transformers":
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(checkpoint, device="cpu")
    answer = lambda text: model.encode(text, show_progress_bar=False).tolist()
else:
    from transformers import pipeline

    call = pipeline(task, model=checkpoint, device="cpu")
    answer = lambda text: [
        {name: value.item() if hasattr(value, "item") else value for name, value in one.items()}
        for one in call(text)
    ]
    if task == "feature-extraction":
        answer = lambda text: call(text, return_tensors=True)[0].mean(0).tolist()


class Ask(BaseModel):
    inputs: str


application = FastAPI()


@application.post("/")
def ask(body: Ask):
    return answer(body.inputs)


uvicorn.run(application, port=port, log_level="warning", access_log=False)
"""

BARE = """
import json, sys, time
from bert_export import load

bundle, threads, texts = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)
with load(bundle, threads=threads) as pipeline:
    for text in texts:
        pipeline(text)
    begin, calls, end = time.process_time(), 0, time.monotonic() + float(sys.argv[3])
    while time.monotonic() < end:
        pipeline(texts[calls * 5 % len(texts)])
        calls += 1
    print(1000 * (time.process_time() - begin) / calls)
"""

Server = tuple[str, int]
"""Address and process id."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def texts() -> list[str]:
    """Of different lengths."""
    sizes = (4 + 36 * index // (TEXTS - 1) for index in range(TEXTS))
    return [" ".join(WORDS[place % len(WORDS)] for place in range(size)) for size in sizes]


def write_requests(path: Path) -> None:
    """A script of wrk that posts the texts in turn."""
    bodies = [json.dumps({"inputs": text}) for text in texts()]
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
def served(python: str, source: str, *arguments: str) -> Iterator[Server]:
    """A server of a source that answers; its arguments are KIND MODEL PORT and others."""
    kind, model, *others = arguments
    port = free_port()
    with subprocess.Popen([python, "-c", source, kind, model, str(port), *others]) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(1200):
                if server.poll() is not None:
                    raise MeasurementError(f"server {kind} of {model} ended")
                try:
                    httpx.post(address, json={"inputs": "warm"}, timeout=60).raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            else:
                raise MeasurementError(f"server {kind} of {model} does not answer")
            yield address, server.pid
        finally:
            server.terminate()


def contenders(
    stack: ExitStack, bundle: Path, checkpoint: str, *, python: str, threads: int
) -> dict[str, Server]:
    """All servers of a model, by kind."""
    own = (str(bundle), str(threads))
    found = {
        kind: stack.enter_context(served(sys.executable, SERVER, kind, own[0], own[1]))
        for kind in ("batched", "alone")
    }
    if not checkpoint:
        return found
    task = read_manifest(bundle).task
    kinds = ["pipeline"]
    if task == SENTENCE_EMBEDDING.name:
        task, kinds = FEATURE_EXTRACTION.name, [*kinds, "sentence-transformers"]
    for kind in kinds:
        peer = served(python, PEER, kind, checkpoint, str(threads), task)
        found[kind] = stack.enter_context(peer)
    return found


def bare(bundle: Path, threads: int, seconds: int) -> float:
    """Milliseconds of processor time of a call without a server."""
    command = [sys.executable, "-c", BARE, str(bundle), str(threads), str(seconds)]
    said = subprocess.run(
        command, input=json.dumps(texts()), capture_output=True, text=True, check=True
    )
    return float(said.stdout)


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


def report(name: str, found: dict[tuple[int, str], list[tuple[float, float]]]) -> None:
    """Print a model's lines: medians of the rounds, and of the ratios within each round."""
    for (clients, kind), figures in found.items():
        used = statistics.median(figure[1] for figure in figures)
        rate = times = ""
        if clients:
            own = found[clients, "batched"]
            rate = f"{statistics.median(figure[0] for figure in figures):.0f}"
            pairs = zip(own, figures, strict=True)
            times = f"{statistics.median(ours[0] / other[0] for ours, other in pairs):.2f}"
        print(f"| {name} | {clients or ''} | {kind} | {rate} | {times} | {used:.2f} |", flush=True)


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="BUNDLE[=CHECKPOINT]...")
@click.option("--python", default=sys.executable, help="Interpreter of the others.")
@click.option("--threads", default=2, show_default=True, help="Of every engine.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3, show_default=True, help="Of one measurement.")
def main(models: tuple[str, ...], python: str, threads: int, rounds: int, seconds: int) -> None:
    """Print a table: medians of the rounds; `times` is how often the others fit into ours."""
    with TemporaryDirectory() as folder:
        script = Path(folder) / "requests.lua"
        write_requests(script)
        print("| bundle | clients | server | requests/s | times | CPU ms a request |")
        print("|---|---|---|---|---|---|")
        for model in models:
            name, _, checkpoint = model.partition("=")
            bundle = Path(name)
            found: dict[tuple[int, str], list[tuple[float, float]]] = {}
            with ExitStack() as stack:
                servers = contenders(stack, bundle, checkpoint, python=python, threads=threads)
                for _ in range(rounds):
                    for clients in CLIENTS:
                        for kind, server in servers.items():
                            figure = measure(*server, script, clients, seconds)
                            found.setdefault((clients, kind), []).append(figure)
                    used = bare(bundle, threads, seconds)
                    found.setdefault((0, "bare"), []).append((0.0, used))
            report(bundle.name, found)
    print(f"load of the machine: {os.getloadavg()[1]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
