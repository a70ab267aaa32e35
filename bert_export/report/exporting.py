"""A variant's export in a process of its own: PyTorch's memory is gone when bundles are timed.

The module is that process's worker too; see :mod:`bert_export.measuring.serving`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bert_export.bundle import ExportRequest
from bert_export.errors import BertExportError
from bert_export.measuring.child import call_apart

__all__ = ["EXPECTED_ERRORS", "export_apart", "export_bundle"]

EXPECTED_ERRORS = (BertExportError,)


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
    job = call_apart(
        "bert_export.report.exporting",
        "export_bundle",
        {"request": msgspec.to_builtins(request), "output": str(output)},
        threads=threads,
    )
    return job.seconds, job.peak_bytes


def export_bundle(message: Mapping[str, Any]) -> dict[str, Any]:
    """Export once; the message holds what :func:`export_apart` is given."""
    from bert_export.exporter import export_request

    export_request(msgspec.convert(message["request"], ExportRequest), output=message["output"])
    return {}
