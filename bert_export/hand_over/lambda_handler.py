"""AWS Lambda's handler: an event is Hugging Face's ``{"inputs": ..., "parameters": {...}}``."""

from __future__ import annotations

import json
import os
from typing import Any

from bert_export import load
from bert_export.errors import BertExportError

__all__ = ["answer"]

_PIPELINE = load(os.environ.get("BUNDLE", "/opt/bundle"))


def answer(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer an event, or the body of a request that a gateway made an event of."""
    try:
        request = json.loads(event["body"]) if "body" in event else event
        found = _PIPELINE(request["inputs"], **request.get("parameters", {}))
    except (BertExportError, KeyError, TypeError, ValueError) as error:
        return {"statusCode": 400, "body": json.dumps({"error": str(error)})}
    return {"statusCode": 200, "body": json.dumps(found, default=_plain)}


def _plain(value: Any) -> Any:
    return value.tolist()
