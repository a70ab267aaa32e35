"""One request: its body is read and decoded, it waits in the queue, and its answer is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from bert_export.errors import BusyError, InputError, TooLargeError, one_of
from bert_export.runtime.batcher import Batcher
from bert_export.runtime.json_answers import write_json
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving.limits import Limits
from bert_export.serving.metrics import Metrics
from bert_export.serving.models import Model
from bert_export.serving.replies import Problem, problem_of
from bert_export.serving.routes import ApiRoute
from bert_export.serving.texts import check_texts, half_pair
from bert_export.tasks.feature_extraction import TASK as FEATURE_EXTRACTION
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

__all__ = ["Endpoint", "send_bytes"]

_ALSO = (FEATURE_EXTRACTION.name, "sentence-similarity")
"""What the hub's service calls a sentence embedding."""

_LOGGER = logging.getLogger(__name__)


class _Left(Exception):  # noqa: N818 - no error: there is nobody to answer
    """The client went away."""


class _TooSlow(Exception):  # noqa: N818 - becomes a status
    """A body did not come in time."""


class Endpoint:
    """An ASGI application for one route.

    Args:
        route: From the table.
        model: That answers where a body names none.
        others: Models by name, where bodies may name one.
        limits: Of the service.
        metrics: Of the service.
    """

    def __init__(
        self,
        route: ApiRoute,
        model: Model,
        *,
        others: Mapping[str, Model],
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._route, self._model, self._others = route, model, others
        self._limits, self._metrics = limits, metrics
        self._decode = msgspec.json.Decoder(route.body).decode
        self._label = route.path or "/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            reply = await self._answer(scope, receive)
        except _Left:
            self._metrics.answered(self._label, 499)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the client hears of it
            await self._refuse(error, send)
            return
        self._metrics.answered(self._label, 200)
        await send_bytes(send, 200, reply)

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                raw = await _read_body(scope, receive, self._limits.body_bytes)
        except TimeoutError as error:
            raise _TooSlow from error
        try:
            body = self._decode(raw)
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(str(error)) from error
        except msgspec.DecodeError as error:
            raise half_pair(raw) or error from error
        check_texts(raw, characters=self._limits.characters)
        route, model = self._route, self._choose(body, scope)
        route.check_items(body, self._limits.items)
        batcher = model.opened
        if batcher is None:
            batcher = await asyncio.to_thread(model.open)

        def call(pipeline: Pipeline[Any, Any, Any]) -> bytes:
            return write_json(route.answer(pipeline, body))

        try:
            return await _unless_left(batcher, call, receive)
        except BusyError:
            model.metrics.refused.inc()
            raise

    def _choose(self, body: Any, scope: Scope) -> Model:
        """The model that a body names, if the route lets it; the only one answers to any name."""
        task, own = scope["path_params"].get("task"), self._model.task
        known = [own.name, *(_ALSO if own.name == SENTENCE_EMBEDDING.name else ())]
        if own.pipeline_tag:
            known.append(own.pipeline_tag)
        if task is not None and task not in known:
            raise InputError(f"task {task} does not fit the bundle", **one_of(task, known))
        name = None if self._route.model is None else self._route.model(body)
        if name is None or len(self._others) == 1:
            return self._model
        if name not in self._others:
            raise InputError(f"model {name} is unknown", **one_of(name, self._others))
        return self._others[name]

    async def _refuse(self, error: Exception, send: Send) -> None:
        problem = problem_of(error)
        if isinstance(error, _TooSlow):
            seconds = self._limits.body_seconds
            problem = Problem(408, "Validation", f"body did not come within {seconds} seconds.")
        if problem is None:
            _LOGGER.error("request to %s fails", self._label, exc_info=error)
            problem = Problem(500, "Unhealthy", "service fails; its log says why.")
        self._metrics.answered(self._label, problem.status)
        body = write_json(self._route.error(problem))
        await send_bytes(send, problem.status, body, headers=problem.headers)


async def _unless_left(
    batcher: Batcher, call: Callable[[Pipeline[Any, Any, Any]], bytes], receive: Receive
) -> bytes:
    """What a call gives; where the client leaves meanwhile, so does the call."""
    work = asyncio.ensure_future(batcher.run(call))
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise _Left
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """A request's body.

    Raises:
        TooLargeError: It has more bytes.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most:
            raise TooLargeError(
                "body is too large", expected=f"at most {most:,} bytes", got=int(value)
            )
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Left
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise TooLargeError("body is too large", expected=f"at most {most:,} bytes")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def send_bytes(
    send: Send,
    status: int,
    body: bytes,
    *,
    kind: bytes = b"application/json",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Send a whole answer."""
    own = ((b"content-type", kind), (b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})
