"""What a service says of itself, whom it refuses, and what it does with bad bodies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_export.errors import BundleError, InputError
from bert_export.serving import app
from bert_export.serving.limits import Limits
from tests.runtime.test_batcher import until
from tests.serving.conftest import ask, read, talk

PATHS = (
    "/",
    "/embed",
    "/embed_all",
    "/predict",
    "/similarity",
    "/tokenize",
    "/v1/embeddings",
    "/invocations",
    "/models/question-answering",
    "/models/zero-shot-classification",
    "/pipeline/text-classification",
    "/v2/models/text-classification/infer",
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "name", "question", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = (
    "inputs",
    "parameters",
    "texts",
    "query",
    "input",
    "dimensions",
    "normalize",
    "truncate",
    "encoding_format",
)
PARAMETERS = ("top_k", "candidate_labels", "batch_size", "max_length", "truncation", "context")
BODIES = st.fixed_dictionaries(
    {"inputs": VALUES},
    optional={
        **dict.fromkeys(FIELDS[2:], VALUES),
        "parameters": VALUES | st.dictionaries(st.sampled_from(PARAMETERS), VALUES, max_size=3),
    },
)


@settings(max_examples=120)
@given(path=st.sampled_from(PATHS), body=BODIES | VALUES)
def test_no_body_is_a_fault_of_the_service(service: Any, path: str, body: Any) -> None:
    reply = ask(service, path, body)
    assert reply.status_code < 500, reply.text
    if reply.status_code != 200:
        assert reply.json()["error"]


@settings(max_examples=40)
@given(raw=st.binary(max_size=60), path=st.sampled_from(PATHS))
def test_nor_are_bytes(service: Any, raw: bytes, path: str) -> None:
    assert 400 <= ask(service, path, raw).status_code < 500


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b'{"inputs": "a', 400, "body is no JSON"),
        (b"\xff", 400, "body is no JSON"),
        (b'{"inputs": "\xff"}', 400, "body is no JSON"),
        (b"[" * 50_000, 422, "Expected `object`"),
        (b'{"inputs": ' + b"[" * 50_000, 400, "body is no JSON"),
        (b'{"inputs": "x \\ud800"}', 422, "body.inputs holds half a surrogate pair"),
        (b'{"inputs": ["x", {"text": "\\udc00"}]}', 422, "body.inputs[1].text holds half"),
        (b'{"inputs": ["x", "a\\u0000b"]}', 422, "body.inputs[1] holds a NUL character"),
        (
            {"inputs": {"text": "word " * 200_000}},
            413,
            "body.inputs.text is too long: expected at most 100,000 characters, got 1,000,000",
        ),
        ({}, 422, "`inputs`"),
        ({"inputs": 5}, 422, "inputs are of the wrong type"),
        ({"inputs": "x", "parameters": 3}, 422, "$.parameters"),
        ({"inputs": "x", "parameters": {"top": 3}}, 422, "option top is unknown"),
        ({"inputs": ["x"] * 33}, 413, "inputs hold too many items: expected at most 32, got 33"),
        ({"inputs": ["x", None]}, 422, "item 1"),
    ],
)
def test_errors_name_the_field(service: Any, body: Any, status: int, said: str) -> None:
    reply = ask(service, "/", body)
    assert reply.status_code == status, reply.text
    assert said in reply.json()["error"]


def test_strange_texts(service: Any) -> None:
    assert ask(service, "/", rb'{"inputs": "a\\u0000b"}').status_code == 200  # no NUL: escaped
    assert ask(service, "/", {"inputs": ["word " * 20_000] * 2}).status_code == 200
    long = ask(service, "/", {"inputs": "x" * 2_000_001})
    assert (long.status_code, "body is too large" in long.json()["error"]) == (413, True)
    many = {"inputs": {"question": "who?", "context": "a b c d e f " * 8_000}}
    reply = ask(service, "/models/question-answering", many)
    assert (reply.status_code, "at most 16,384 tokens" in reply.json()["error"]) == (413, True)


def test_what_it_says_of_itself(service: Any, bundles: Mapping[str, Path]) -> None:
    assert ask(service, "/", {"inputs": "warm"}).status_code == 200
    for path in ("/health", "/v2/health/live"):
        assert read(service, path).status_code == 200
    info = read(service, "/info").json()
    assert info["task"] == "text-classification"
    assert [model["name"] for model in info["models"]] == list(bundles)
    assert info["max_client_batch_size"] == 32
    assert "Content-Security-Policy" in read(service, "/").headers
    figures = read(service, "/metrics").text
    for name in ("queue_seconds", "tokenize_seconds", "infer_seconds", "batch_rows", "refused"):
        assert f"bert_export_{name}" in figures
    assert 'bert_export_infer_seconds_count{model="text-classification"}' in figures
    document = read(service, "/openapi.json").json()
    assert {"/", "/embed", "/v1/embeddings", "/invocations"} <= set(document["paths"])
    schema = document["paths"]["/embed"]["post"]["requestBody"]["content"]["application/json"]
    assert (
        schema["schema"]["$ref"].removeprefix("#/components/schemas/")
        in document["components"]["schemas"]
    )
    assert read(service, "/nothing").json()["error"] == "Not Found"
    assert ask(service, "/health", {}).status_code == 405


def test_ready_once_engines_are_open(bundles: Mapping[str, Path]) -> None:
    service = app(bundles["text-classification"], threads=1)
    assert read(service, "/ping").status_code == 503

    async def story(client: httpx.AsyncClient) -> list[int]:
        async with service.router.lifespan_context(service):
            inside = (await client.get("/ping")).status_code
        return [inside, (await client.get("/ready")).status_code]

    assert talk(service, story) == [200, 503]


def test_keys(bundles: Mapping[str, Path]) -> None:
    service = app(bundles["text-classification"], threads=1, keys=("one", "zwei"))
    assert read(service, "/health").status_code == 200
    for header in ("", "one", "Bearer three", "Bearer", "Basic one"):
        refused = read(service, "/info", authorization=header)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert read(service, "/info", authorization="Bearer zwei").status_code == 200
    assert ask(service, "/", {"inputs": "x"}).status_code == 401


def test_a_full_queue_and_a_client_that_leaves(
    bundles: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = app(bundles["text-classification"], threads=1, limits=Limits(queue=2))
    (model,) = service.state.models
    batcher, entered, opened = model.open(), threading.Event(), threading.Event()
    run = batcher.pipeline.run

    def wait(feeds: Any) -> Any:
        entered.set()
        assert opened.wait(60)
        return run(feeds)

    monkeypatch.setattr(batcher.pipeline, "run", wait)

    async def story(client: httpx.AsyncClient) -> None:
        first = asyncio.create_task(client.post("/", json={"inputs": "one"}))
        assert await asyncio.to_thread(entered.wait, 60)
        leaving = asyncio.create_task(_leave(service, b'{"inputs": "two"}'))
        await asyncio.to_thread(until, lambda: batcher.held == 2)
        refused = await client.post("/", json={"inputs": "three"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error_type"] == "Overloaded"
        await leaving
        opened.set()
        assert (await first).status_code == 200
        await asyncio.to_thread(until, lambda: not batcher.held)
        assert (await client.post("/", json={"inputs": "four"})).status_code == 200
        assert "bert_export_refused_total{model=" in (await client.get("/metrics")).text

    talk(service, story)
    model.close()


async def _leave(service: Any, body: bytes) -> None:
    """A client that is gone shortly after its request came."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.sleep(0.3)
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("nobody is there")

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    await service(scope, receive, send)


def test_a_slow_body(bundles: Mapping[str, Path]) -> None:
    limits = Limits(body_seconds=1)
    service = app(bundles["text-classification"], threads=1, limits=limits)

    async def drops() -> Any:
        yield b"{"
        await asyncio.sleep(30)

    async def story(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/", content=drops())

    reply = talk(service, story)
    assert (reply.status_code, "within 1 seconds" in reply.json()["error"]) == (408, True)


def test_a_failing_engine(bundles: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    service = app(bundles["text-classification"], threads=1)
    (model,) = service.state.models
    pipeline = model.open().pipeline

    def fails(_: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr(pipeline, "run", fails)
    reply = ask(service, "/", {"inputs": "x"})
    assert (reply.status_code, reply.json()["error_type"]) == (424, "Backend")
    model.close()


def test_what_cannot_be_served(bundles: Mapping[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bundles are missing"):
        app()
    with pytest.raises(BundleError):
        app(tmp_path)
    one = bundles["fill-mask"]
    with pytest.raises(InputError, match="has the name of another"):
        app(one, one)
    with pytest.raises(InputError, match="queue is wrong"):
        Limits(queue=0)
