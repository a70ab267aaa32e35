"""A service's start: a fresh process that loads a bundle and answers one record.

``python -m bert_export.measuring.first_answer REQUEST CHANNEL``; the reply says when the answer was
there, by the clock that the parent reads too, and how much memory it took. Nothing is imported
beyond what such a service needs.
"""

from __future__ import annotations

import os
import time
from typing import Any

from bert_export.measuring.once import answer_once

__all__ = ["main"]


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cores"])
    from bert_export.runtime.loading import load, threads_for

    bundle, target = request["bundle"], request["target"]
    threads = threads_for(bundle, target, request["threads"])
    pipeline = load(bundle, target=target, threads=threads)
    item = pipeline.item(request["record"])
    next(pipeline.answers([item], pipeline.dataset_settings()))
    ended = time.monotonic()
    from bert_export.measuring.memory import peak_bytes

    return {"ended": ended, "peak_bytes": peak_bytes()}


def main() -> None:
    """Answer once and say what it took."""
    answer_once(_answer)


if __name__ == "__main__":
    main()
