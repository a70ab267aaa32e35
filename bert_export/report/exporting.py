"""A variant's export in a process of its own: PyTorch's memory is gone when bundles are timed.

The module is that process's worker too; see :mod:`bert_export.measuring.serving`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bert_export.errors import BertExportError
from bert_export.measuring.child import call_apart

__all__ = ["EXPECTED_ERRORS", "export_apart", "export_bundle"]

EXPECTED_ERRORS = (BertExportError,)


def export_apart(request: Mapping[str, Any], *, threads: int) -> tuple[float, int]:
    """Export in a child.

    Args:
        request: Arguments of :func:`bert_export.exporter.export`, JSON values.
        threads: Of every thread pool in the child.

    Returns:
        Wall time in seconds from the start of the process, and its peak memory in bytes.

    Raises:
        MeasurementError: The export failed; it says why.
    """
    job = call_apart("bert_export.report.exporting", "export_bundle", request, threads=threads)
    return job.seconds, job.peak_bytes


def export_bundle(request: Mapping[str, Any]) -> dict[str, Any]:
    """Export once; the request is that of :func:`export_apart`."""
    from bert_export.exporter import export

    export(**request)
    return {}
