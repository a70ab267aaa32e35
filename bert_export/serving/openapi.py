"""The OpenAPI document: every route of the table with the schema of its body."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import msgspec

from bert_export.serving.routes import ApiRoute

__all__ = ["document"]

_ERRORS = {
    "400": "The body is no JSON.",
    "413": "The request is too large.",
    "422": "The body does not fit; the error names the field.",
    "424": "The engine failed.",
    "429": "The queue is full; Retry-After says when to come again.",
}
_READ = {
    "/health": "Whether the process answers.",
    "/ready": "Whether the engines are open.",
    "/info": "What is served.",
    "/metrics": "Figures for Prometheus.",
    "/ping": "SageMaker's probe.",
}


def document(routes: Iterable[tuple[str, ApiRoute]]) -> dict[str, Any]:
    """The document of OpenAPI 3.1.

    Args:
        routes: With the whole path of each.
    """
    listed = list(routes)
    bodies = list(dict.fromkeys(route.body for _, route in listed))
    found, components = msgspec.json.schema_components(
        bodies, ref_template="#/components/schemas/{name}"
    )
    schemas = dict(zip(bodies, found, strict=True))
    paths: dict[str, Any] = {
        path: {"get": {"summary": text, "responses": {"200": {"description": "As said."}}}}
        for path, text in _READ.items()
    }
    for path, route in listed:
        operation: dict[str, Any] = {
            "summary": route.summary,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schemas[route.body]}},
            },
            "responses": {
                "200": {"description": "The answer.", "content": {"application/json": {}}},
                **{status: {"description": text} for status, text in _ERRORS.items()},
            },
        }
        if "{task}" in path:
            task = {"name": "task", "in": "path", "required": True, "schema": {"type": "string"}}
            operation["parameters"] = [task]
        paths.setdefault(path, {})["post"] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "bert-export", "version": version("bert-export")},
        "paths": paths,
        "components": {"schemas": components},
    }
