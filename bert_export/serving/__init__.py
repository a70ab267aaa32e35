"""Bundles over HTTP: :func:`bert_export.serving.app` for any ASGI server; the extra ``serve``."""

from __future__ import annotations

from bert_export.importing import needs_extra

with needs_extra("bert_export.serving", extra="serve"):
    from bert_export.serving.application import app

__all__ = ["app"]
