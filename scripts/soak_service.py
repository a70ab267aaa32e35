"""Load a service with what it must bear, each in a server of its own.

Usage::

    python -m scripts.soak_service BUNDLE [PROOF...]

BUNDLE answers texts, in static INT8: then an answer does not depend on its neighbours in a batch.

- ``equal``: 10,000 requests of mixed lengths from 32 clients get the serial answers, bit for bit.
- ``refuse``: 512 clients against a queue of 64 see 200 and 429 only; the 99th percentile of the
  seconds is bounded by the queue, and memory is flat. ``--seconds`` says how long.
- ``slow``: clients that send a byte a second hold nobody up.
- ``drain``: SIGTERM under load: every request that was accepted is answered, and the status is 0.
- ``hostile``: broken bodies get 4xx, which name the field, and never 500.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import click

from bert_export import load
from bert_export.errors import MeasurementError
from bert_export.runtime.json_answers import write_json
from scripts.soak import FLAT, random_texts, resident_bytes

__all__ = ["PROOFS", "Server", "served"]

QUEUE = 64


@dataclass(frozen=True, slots=True)
class Server:
    """A service in a process of its own."""

    port: int
    process: subprocess.Popen[str]


@contextmanager
def served(bundle: Path, *options: str) -> Iterator[Server]:
    """Serve a bundle with one thread until the block is left."""
    command = [sys.executable, "-m", "bert_export", "serve", str(bundle), "--port", "0"]
    with subprocess.Popen(
        [*command, "--threads", "1", *options], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said = "" if process.stderr is None else process.stderr.readline()
            if "http://" not in said:
                raise MeasurementError(f"server of {bundle} does not start", got=said)
            yield Server(int(said.rpartition(":")[2]), process)
        finally:
            process.terminate()


class Client:
    """One connection that is kept; knows as much of HTTP as this service's answers need."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server: Server) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    async def post(self, body: bytes, path: str = "/") -> tuple[int, bytes]:
        """Status and body of an answer.

        Raises:
            asyncio.IncompleteReadError: The server hung up before the answer was whole.
        """
        self.writer.write(head(len(body), path) + body)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        """The next answer of the connection."""
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines if line)
        return int(first.split()[1]), await self._reader.readexactly(int(fields[b"content-length"]))

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


def head(size: int, path: str = "/") -> bytes:
    """The lines before a body."""
    return f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {size}\r\n\r\n".encode()


def body_of(text: str) -> bytes:
    """The request that asks about a text."""
    return json.dumps({"inputs": text}).encode()


def equal(bundle: Path, _: float) -> str:
    """Compare answers under load with serial ones."""
    texts, clients, requests = random_texts(500, longest=60), 32, 10_000
    with load(bundle, threads=1) as pipeline:
        serial = [write_json(pipeline(text)) for text in texts]
    order = [random.Random(0).randrange(len(texts)) for _ in range(requests)]

    async def ask(server: Server, places: Iterator[int]) -> list[int]:
        client, wrong = await Client.to(server), []
        for place in places:
            status, answer = await client.post(body_of(texts[place]))
            if (status, answer) != (200, serial[place]):
                wrong.append(place)
        client.close()
        return wrong

    async def all_of(server: Server) -> int:
        places = iter(order)
        found = await asyncio.gather(*(ask(server, places) for _ in range(clients)))
        return sum(map(len, found))

    begin = time.monotonic()
    with served(bundle) as server:
        wrong = asyncio.run(all_of(server))
    check(not wrong, f"{wrong} of {requests:,} answers are not the serial ones")
    rate = requests / (time.monotonic() - begin)
    return f"{requests:,} requests from {clients} clients, {rate:.0f}/s: all as the serial ones"


def refuse(bundle: Path, seconds: float) -> str:
    """Ask with many more clients than the queue holds."""
    texts, clients = [body_of(text) for text in random_texts(64, longest=24)], 512
    statuses: Counter[int] = Counter()
    taken: list[float] = []
    sizes: list[tuple[float, int]] = []

    async def ask(server: Server, number: int, end: float) -> None:
        client = await Client.to(server)
        while (begin := time.monotonic()) < end:
            status, _ = await client.post(texts[number % len(texts)])
            statuses[status] += 1
            if status == 200:
                taken.append(time.monotonic() - begin)
            else:
                await asyncio.sleep(random.Random(number).uniform(0.5, 1.5))
        client.close()

    async def watch(server: Server, end: float) -> None:
        begin = time.monotonic()
        while (now := time.monotonic()) < end:
            sizes.append((now - begin, resident_bytes(server.process.pid)))
            await asyncio.sleep(max(0.2, seconds / 60))

    async def all_of(server: Server) -> None:
        end = time.monotonic() + seconds
        asking = (ask(server, number, end) for number in range(clients))
        await asyncio.gather(watch(server, end), *asking)

    with served(bundle, "--queue", str(QUEUE)) as server:
        asyncio.run(all_of(server))
    check(set(statuses) == {200, 429}, f"statuses are {dict(statuses)}")
    slowest = statistics.quantiles(taken, n=100)[-1]
    bound = 4 * QUEUE * seconds / statuses[200]  # four times a full queue's turn
    check(slowest <= bound, f"99th percentile is {slowest:.2f} s, above {bound:.2f}")
    settled = [size for when, size in sizes if when >= seconds / 6]
    growth = max(settled) / settled[0]
    check(growth <= FLAT, f"memory grows by {growth:.2f}")
    return (
        f"{clients} clients, queue {QUEUE}, {seconds:.0f} s: {dict(statuses)}, 99th percentile "
        f"{slowest:.2f} s (bound {bound:.2f}), memory {settled[0] / 1e6:.0f} MB x {growth:.2f}"
    )


def slow(bundle: Path, _: float) -> str:
    """Ask while others send a byte a second."""
    body, others = body_of("a text"), 64

    async def trickle(client: Client) -> None:
        for byte in head(len(body)) + body:
            client.writer.write(bytes([byte]))
            await asyncio.sleep(1)

    async def pace(server: Server, number: int) -> float:
        client, taken = await Client.to(server), []
        for _ in range(number):
            begin = time.monotonic()
            status, _ = await client.post(body)
            check(status == 200, f"status is {status}")
            taken.append(time.monotonic() - begin)
        client.close()
        return statistics.median(taken)

    async def all_of(server: Server) -> tuple[float, float, int]:
        await pace(server, 50)
        alone = await pace(server, 300)
        clients = [await Client.to(server) for _ in range(others)]
        sending = [asyncio.create_task(trickle(client)) for client in clients]
        await asyncio.sleep(3)
        beside = await pace(server, 300)
        await asyncio.gather(*sending)
        answers = [await client.answer() for client in clients]
        for client in clients:
            client.close()
        return alone, beside, sum(status == 200 for status, _ in answers)

    with served(bundle) as server:
        alone, beside, answered = asyncio.run(all_of(server))
    check(beside <= 2 * alone + 0.005, f"a request takes {beside:.4f} s instead of {alone:.4f}")
    check(answered == others, f"{answered} of {others} slow clients are answered")
    return (
        f"{others} clients send a byte a second: another's request takes {1000 * beside:.1f} ms, "
        f"{1000 * alone:.1f} without them; all are answered"
    )


def drain(bundle: Path, _: float) -> str:
    """Tell the server to end while clients ask."""
    body, clients = body_of("a text of some words " * 8), 64

    async def ask(server: Server, counts: Counter[str]) -> None:
        client = await Client.to(server)
        while True:
            client.writer.write(head(len(body)) + body)
            try:
                status, _ = await client.answer()
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                begun = isinstance(error, asyncio.IncompleteReadError) and error.partial
                counts["cut off" if begun else "hung up"] += 1
                return
            counts[str(status)] += 1

    async def held(server: Server) -> int:
        """How many requests the server says that it holds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        lines = (await reader.read()).decode().splitlines()
        writer.close()
        (line,) = (one for one in lines if one.startswith("bert_export_queue_size{"))
        return int(float(line.rpartition(" ")[2]))

    async def all_of(server: Server) -> tuple[Counter[str], int, int]:
        counts: Counter[str] = Counter()
        asking = [asyncio.create_task(ask(server, counts)) for _ in range(clients)]
        await asyncio.sleep(2)
        waiting, before = await held(server), counts["200"]
        server.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*asking)
        return counts, waiting, counts["200"] - before

    with served(bundle) as server:
        counts, waiting, after = asyncio.run(all_of(server))
        status = server.process.wait(60)
    check(status == 0, f"the server ends with {status}")
    check(set(counts) == {"200", "hung up"}, f"clients saw {dict(counts)}")
    check(after >= waiting, f"{after} answers after SIGTERM, where {waiting} were accepted")
    return f"SIGTERM with {waiting} accepted: {after} answered after it, none cut off, status 0"


def hostile(bundle: Path, _: float) -> str:
    """Send what no client should."""
    long = "word " * 200_000
    cases: tuple[tuple[str, bytes, set[int], str], ...] = (
        ("10^6 characters", body_of(long), {413}, "body.inputs"),
        ("33 items", json.dumps({"inputs": ["a"] * 33}).encode(), {413}, "inputs"),
        ("broken JSON", b'{"inputs": "a', {400}, "body"),
        ("bytes that are no UTF-8", b'{"inputs": "\xff"}', {400, 422}, "body"),
        ("a number", b'{"inputs": 5}', {422}, "inputs"),
        ("a list of numbers", b'{"inputs": [5]}', {422}, "item 0"),
        ("no inputs", b"{}", {422}, "inputs"),
        ("wrong parameters", b'{"inputs": "a", "parameters": 5}', {422}, "parameters"),
        ("an unknown parameter", b'{"inputs": "a", "parameters": {"x": 5}}', {422}, "x"),
        ("NUL", b'{"inputs": "a\\u0000b"}', {422}, "body.inputs"),
        ("half a pair", b'{"inputs": "\\ud800"}', {422}, "body.inputs"),
        ("half a pair in a list", b'{"inputs": ["a", "\\udc00"]}', {422}, "body.inputs[1]"),
        ("deep lists", b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {400, 422}, ""),
        ("3,000,000 bytes", b'{"inputs": "' + b"a" * 3_000_000 + b'"}', {413}, "body"),
    )

    async def ask(server: Server, body: bytes) -> tuple[int, bytes]:
        client = await Client.to(server)
        reply = await client.post(body)
        client.close()
        return reply

    with served(bundle) as server:
        for name, body, statuses, named in cases:
            status, answer = asyncio.run(ask(server, body))
            fits = status in statuses and named.encode() in answer
            check(fits, f"{name}: {status} {answer[:200]!r}")
    return f"{len(cases)} hostile bodies: each as documented, none 500"


def check(fits: bool, what: str) -> None:  # noqa: FBT001 - reads as an assertion
    """Stop where a service does not keep its word.

    Raises:
        MeasurementError: It does not.
    """
    if not fits:
        raise MeasurementError(what)


PROOFS: dict[str, Callable[[Path, float], str]] = {
    proof.__name__: proof for proof in (equal, refuse, slow, drain, hostile)
}


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.argument("proofs", nargs=-1, type=click.Choice(list(PROOFS)))
@click.option("--seconds", default=600.0, show_default=True, help="Of `refuse`.")
def main(bundle: Path, proofs: tuple[str, ...], seconds: float) -> None:
    """Run proofs on BUNDLE, all of them where none is named."""
    failed = False
    for name in proofs or PROOFS:
        try:
            print(f"{name}: {PROOFS[name](bundle, seconds)}", flush=True)
        except MeasurementError as error:
            failed = True
            print(f"{name} FAILS: {error}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
