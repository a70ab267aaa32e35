"""Who may ask: the header ``Authorization``, as OpenAI's and Hugging Face's clients send it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from bert_export.errors import InputError
from bert_export.runtime.json_answers import write_json
from bert_export.serving.endpoint import send_bytes
from bert_export.serving.replies import Problem, tei_error

__all__ = ["KeyCheck", "read_keys"]

_OPEN = frozenset({"/", "/health", "/ping", "/ready", "/v2/health/live", "/v2/health/ready"})
"""Paths that tell nothing: probes of an orchestrator have no key, nor has a browser at first."""


def read_keys(path: str | Path) -> tuple[str, ...]:
    """The keys of a file, one a line; empty lines and lines from ``#`` do not count.

    Raises:
        InputError: It cannot be read, or holds none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"key file {path} cannot be read", expected="a text file, a key a line", got=error
        ) from error
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise InputError(f"key file {path} holds no key", expected="one a line", got="none")
    return keys


class KeyCheck:
    """Passes requests on that bring a key; others get 401.

    Args:
        app: The service.
        keys: That may ask.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        asks = scope["type"] == "http"
        free = asks and scope["method"] in ("GET", "HEAD") and scope["path"] in _OPEN
        if not asks or free or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        problem = Problem(
            401, "Unauthorized", "key is missing or unknown: expected Authorization: Bearer KEY."
        )
        headers = ((b"www-authenticate", b"Bearer"),)
        await send_bytes(send, 401, write_json(tei_error(problem)), headers=headers)

    def _is_known(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        kind, _, key = given.partition(b" ")
        digest = _digest(key.strip())
        # Every key is compared, in time that does not depend on how alike they are.
        found = [hmac.compare_digest(digest, own) for own in self._digests]
        return kind.lower() == b"bearer" and any(found)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
