"""The child's side of a single request: do it, and say the result or the reason.

Only the standard library and the errors are imported: a child's start is part of what is measured.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from bert_export.errors import BertExportError

__all__ = ["answer_once", "send"]


def send(message: dict[str, Any]) -> None:
    """Write a line to the parent: the descriptor is the argument of the process."""
    os.write(int(sys.argv[1]), json.dumps(message).encode() + b"\n")


def answer_once(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer the request that is the first line of standard input.

    Args:
        work: From the request to the reply, both JSON objects.
    """
    try:
        reply = work(json.loads(sys.stdin.buffer.readline()))
    except BertExportError as error:
        reply = {"error": str(error)}
    except Exception as error:  # noqa: BLE001  an engine may raise anything; the parent says it
        reply = {"error": f"{type(error).__name__}: {error}"}
    send(reply)
