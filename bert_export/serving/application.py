"""The ASGI application: every bundle, the routes that it has, and what operators ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bert_export.runtime.json_answers import write_json
from bert_export.serving import huggingface, openai, tei
from bert_export.serving.endpoint import Endpoint
from bert_export.serving.keys import KeyCheck
from bert_export.serving.kserve import infer_route, metadata
from bert_export.serving.limits import Limits
from bert_export.serving.metrics import Metrics
from bert_export.serving.models import LoadOptions, Model, find_models
from bert_export.serving.openapi import document
from bert_export.serving.replies import Problem, tei_error
from bert_export.serving.routes import ApiRoute

__all__ = ["app", "build"]

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)
"""The page brings all that it needs, and asks nobody but its own service."""

_ROUTES: tuple[ApiRoute, ...] = (*huggingface.ROUTES, *tei.ROUTES, *openai.ROUTES)


def app(
    *bundles: str | Path,
    task: str | None = None,
    target: str | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
    keys: Sequence[str] = (),
) -> Starlette:
    """An ASGI application that answers with bundles.

    The first bundle that has a route answers on it; each has all of its own below
    ``/models/NAME``, where the name is that of its folder. Engines open when the server starts, or
    at the first request where a server does not say that it starts; so a process that forks before
    has an engine of its own.

    Args:
        *bundles: Folders, or hub ids with the extra ``hub``.
        task: Another task that the bundles' heads serve.
        target: Whose engines answer; each bundle's default when ``None``.
        threads: Threads inside an operator; all cores when ``None``.
        limits: How much is taken at once.
        keys: Who may ask, by ``Authorization: Bearer KEY``; everybody when empty.

    Raises:
        InputError: There is no bundle, or two have one name.
        BundleError: One is no bundle, or does not serve the target.
        TaskError: The task is unknown.
    """
    metrics, bounds = Metrics(), limits or Limits()
    options = LoadOptions(task=task, target=target, threads=threads)
    models = find_models(bundles, options=options, limits=bounds, metrics=metrics)
    return build(models, metrics=metrics, limits=bounds, keys=keys)


def build(
    models: Sequence[Model], *, metrics: Metrics, limits: Limits, keys: Sequence[str] = ()
) -> Starlette:
    """The application over models; see :func:`app`.

    Args:
        models: One at least, of different names.
        metrics: That the models report to.
        limits: How much is taken at once.
        keys: Who may ask.
    """
    table = list(_table(models))
    by_name = {model.name: model for model in models}
    endpoints = [
        Route(
            path,
            Endpoint(
                route,
                model,
                others={name: other for name, other in by_name.items() if route.serves(other)}
                if route.model is not None and not path.startswith("/models/")
                else {model.name: model},
                limits=limits,
                metrics=metrics,
            ),
            methods=["POST"],
        )
        for path, route, model in table
    ]
    paths = document((path, route) for path, route, _ in table)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        for model in models:
            await asyncio.to_thread(model.open)
        try:
            yield
        finally:
            for model in models:
                await asyncio.to_thread(model.close)

    application = Starlette(
        routes=[*_operation_routes(models, metrics, paths), *_kserve_routes(by_name), *endpoints],
        lifespan=lifespan,
        middleware=[Middleware(KeyCheck, keys=keys)] if keys else [],
        exception_handlers={HTTPException: _http_error},
    )
    application.state.models = models
    return application


def _table(models: Sequence[Model]) -> list[tuple[str, ApiRoute, Model]]:
    """Every path with its route and the bundle that answers."""
    rows: list[tuple[str, ApiRoute, Model]] = []
    for route in _ROUTES:
        model = next((model for model in models if route.serves(model)), None)
        if model is not None:
            rows.append((route.path or "/", route, model))
    rows.append(("/invocations", huggingface.ROUTES[0], models[0]))
    for model in models:
        rows += [
            (f"/models/{model.name}{route.path}", route, model)
            for route in _ROUTES
            if route.serves(model)
        ]
        rows.append((f"/v2/models/{model.name}/infer", infer_route(model), model))
        rows.append((f"/v2/models/{model.name}/versions/1/infer", infer_route(model), model))
    return rows


def _operation_routes(
    models: Sequence[Model], metrics: Metrics, paths: dict[str, Any]
) -> list[Route]:
    """What operators and browsers ask for."""
    page = files("bert_export.serving").joinpath("page.html").read_text(encoding="utf-8")

    async def home(_: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": _POLICY})

    async def health(_: Request) -> Response:
        return _json({})

    async def ready(_: Request) -> Response:
        if all(model.opened is not None for model in models):
            return _json({})
        return _json(tei_error(Problem(503, "Unhealthy", "engines are not open yet.")), 503)

    async def info(_: Request) -> Response:
        facts = [model.facts() for model in models]
        return _json({"version": version("bert-export"), **facts[0], "models": facts})

    async def listed(_: Request) -> Response:
        data = [
            {"id": model.name, "object": "model", "created": 0, "owned_by": "bert-export"}
            for model in models
        ]
        return _json({"object": "list", "data": data})

    async def figures(_: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def described(_: Request) -> Response:
        return _json(paths)

    return [
        Route("/", home),
        Route("/health", health),
        Route("/ready", ready),
        Route("/ping", ready),
        Route("/info", info),
        Route("/metrics", figures),
        Route("/openapi.json", described),
        Route("/v1/models", listed),
        Route("/v2/health/live", health),
        Route("/v2/health/ready", ready),
    ]


def _kserve_routes(models: dict[str, Model]) -> list[Route]:
    """What the Open Inference Protocol tells of the server and its models."""

    async def server(_: Request) -> Response:
        return _json({"name": "bert-export", "version": version("bert-export"), "extensions": []})

    async def described(request: Request) -> Response:
        return _json(metadata(_model(request)))

    async def ready(request: Request) -> Response:
        is_open = _model(request).opened is not None
        return _json({"name": _model(request).name, "ready": is_open}, 200 if is_open else 503)

    def _model(request: Request) -> Model:
        name = request.path_params["model"]
        if name not in models:
            raise HTTPException(404, f"model {name} is unknown: expected {', '.join(models)}.")
        return models[name]

    return [
        Route("/v2", server),
        *(
            Route(f"/v2/models/{{model}}{version}{ending}", endpoint)
            for version in ("", "/versions/1")
            for ending, endpoint in (("", described), ("/ready", ready))
        ),
    ]


async def _http_error(_: Request, error: Exception) -> Response:
    """A path or method that there is not, in the body of all other errors."""
    assert isinstance(error, HTTPException)
    problem = Problem(error.status_code, "Validation", str(error.detail))
    return _json(tei_error(problem), error.status_code)


def _json(value: Any, status: int = 200) -> Response:
    return Response(write_json(value), status, media_type="application/json")
