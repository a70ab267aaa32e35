"""A service's start: a fresh process that loads a bundle and answers one record.

``python -m bert_export.report.first_answer REQUEST CHANNEL``; the reply says how long that took
since the parent's clock, and how much memory. Nothing is imported beyond what such a service needs.
"""

from __future__ import annotations

import json
import os
import sys
import time

__all__ = ["main"]


def main() -> None:
    """Answer once and say what it took."""
    request, channel = json.loads(sys.argv[1]), int(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cores"])
    reply: dict[str, object]
    try:
        from bert_export import load

        pipeline = load(request["bundle"], target=request["target"], threads=request["threads"])
        item = pipeline.item(request["record"])
        next(pipeline.answers([item], pipeline.dataset_settings()))
        ended = time.monotonic()
        from bert_export.report.memory import peak_bytes

        reply = {"ended": ended, "peak_bytes": peak_bytes()}
    except Exception as error:  # noqa: BLE001  an engine may raise anything; the parent says it
        reply = {"error": f"{type(error).__name__}: {error}"}
    os.write(channel, json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
