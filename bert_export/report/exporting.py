"""The child that exports a variant, so that PyTorch's memory is gone when bundles are timed.

``python -m bert_export.report.exporting CHANNEL``: the request comes as the first line of standard
input; every stage is a line on CHANNEL, the last one has ``done``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from bert_export.bundle import ExportRequest
from bert_export.measuring.child import Child
from bert_export.measuring.memory import peak_bytes
from bert_export.measuring.once import answer_once, send

__all__ = ["export_apart", "main"]

_MODULE = "bert_export.report.exporting"
_PATIENCE = 3600.0


def export_apart(request: ExportRequest, output: Path, *, threads: int) -> tuple[float, int]:
    """Export in a child.

    Args:
        request: What is exported.
        output: The bundle's folder.
        threads: Of every thread pool in the child.

    Returns:
        Wall time in seconds from the start of the process, and its peak memory in bytes.

    Raises:
        MeasurementError: The export failed; it says why.
    """
    begun = time.monotonic()
    with Child(_MODULE, threads=threads) as child:
        reply = child.ask({"request": request, "output": str(output)}, patience=_PATIENCE)
        while not reply.get("done"):
            reply = child.reply(patience=_PATIENCE)
        return time.monotonic() - begun, reply["peak_bytes"]


class _Listener:
    """Tells the parent that the export is alive."""

    def start(self, stage: str) -> None:
        send({"stage": stage})

    def advance(self, done: int, total: int) -> None:
        """A variant's stages are short enough to be named alone."""

    def finish(self, stage: object) -> None:
        """The next stage's start says as much."""


def _export(message: dict[str, Any]) -> dict[str, Any]:
    from bert_export.exporter import export_request

    request = msgspec.convert(message["request"], ExportRequest)
    export_request(request, output=message["output"], listener=_Listener())
    return {"done": True, "peak_bytes": peak_bytes()}


def main() -> None:
    """Export once and say what it took."""
    answer_once(_export)


if __name__ == "__main__":
    main()
