"""A graph in memory, opened to be run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx_ir as ir

from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession

__all__ = ["open_graph"]

_FILE, _DATA = "graph.onnx", "graph.onnx.data"


def open_graph(
    model: ir.Model, *, folder: Path | None = None, threads: int | None = None
) -> OnnxRuntimeSession:
    """A session over a graph whose file exists only while it is opened.

    Args:
        model: The graph; it stays as it is.
        folder: Where it is written; the system's folder for temporary files when ``None``.
        threads: Threads inside an operator.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / _FILE
        ir.save(model, path, external_data=_DATA)
        return OnnxRuntimeSession(path, threads=threads)
