"""Bundles that all tests of the service share, and clients that need no socket."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from bert_export.exporter import Export, export
from bert_export.runtime.loading import load
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving import app
from tests.checkpoints.conftest import write_modules

HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "text-classification": ("BertForSequenceClassification", {}),
    "feature-extraction": ("BertModel", {}),
    "fill-mask": ("BertForMaskedLM", {}),
    "question-answering": ("BertForQuestionAnswering", {}),
    "token-classification": ("BertForTokenClassification", {}),
    "zero-shot-classification": (
        "BertForSequenceClassification",
        {
            "id2label": {0: "contradiction", 1: "entailment", 2: "neutral"},
            "max_position_embeddings": 128,
            "model_max_length": 128,
        },
    ),
}
"""Tasks that are served together, with the classes and configs of their tiny weights."""

Found = TypeVar("Found")


@pytest.fixture(scope="session")
def bundles(
    tiny: Callable[..., Path],
    tiny_export: Callable[..., Export],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """The folder of each task's bundle; all in one service have other names."""
    made = {
        task: Path(tiny_export(task, head, **config).path) for task, (head, config) in HEADS.items()
    }
    folder = tmp_path_factory.mktemp("sentences")
    shutil.copytree(tiny("BertModel"), folder / "checkpoint")
    write_modules(folder / "checkpoint", {"pooling_mode_mean_tokens": True})
    embedding = export(
        task="sentence-embedding",
        model=str(folder / "checkpoint"),
        output=folder / "sentence-embedding",
        precision="fp32",
    )
    return {**made, "sentence-embedding": Path(embedding.path)}


@pytest.fixture(scope="session")
def pipelines(bundles: Mapping[str, Path]) -> Iterator[dict[str, Pipeline[Any, Any, Any]]]:
    """The same bundles, opened beside the service."""
    with ExitStack() as stack:
        yield {task: stack.enter_context(load(path, threads=1)) for task, path in bundles.items()}


@pytest.fixture(scope="session")
def service(bundles: Mapping[str, Path]) -> Starlette:
    """One application with all bundles; engines open at the first request."""
    return app(*bundles.values(), threads=1)


@pytest.fixture(scope="session")
def address(service: Starlette) -> Iterator[str]:
    """The same application behind a real socket."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(service, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


Talk = Callable[[httpx.AsyncClient], Awaitable[Found]]


def talk(service: Any, story: Talk[Found]) -> Found:
    """Run a client's story against an application, in an event loop of its own."""

    async def run() -> Found:
        transport = httpx.ASGITransport(app=service, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await story(client)

    return asyncio.run(run())


def ask(service: Any, path: str, body: Any) -> httpx.Response:
    """Post one JSON body, or bytes as they are."""

    async def story(client: httpx.AsyncClient) -> httpx.Response:
        if isinstance(body, bytes):
            return await client.post(path, content=body)
        return await client.post(path, json=body)

    return talk(service, story)


def read(service: Any, path: str, **headers: str) -> httpx.Response:
    """Get one path."""

    async def story(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get(path, headers=headers)

    return talk(service, story)
