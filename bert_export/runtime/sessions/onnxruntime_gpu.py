"""ONNX Runtime's CUDA and TensorRT providers. Never run on a GPU so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from bert_export.bundle import EngineRecord
from bert_export.errors import TargetError
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession

__all__ = ["open_with_cuda", "open_with_tensorrt"]

_CUDA, _TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
_PROCESSOR = "CPUExecutionProvider"


def open_with_cuda(
    folder: Path, engine: EngineRecord, *, threads: int | None = None
) -> OnnxRuntimeSession:
    """Open an engine of a bundle with the CUDA provider.

    ONNX Runtime's own fusions run too: the provider has kernels for them.

    Args:
        folder: Of the bundle.
        engine: The bundle's entry.
        threads: Threads inside an operator that runs on the processor.

    Raises:
        TargetError: This ONNX Runtime has no such provider, or it cannot start.
        BundleError: ONNX Runtime cannot read the graph.
    """
    return _open(folder, engine, (_CUDA,), threads=threads, fuse=True)


def open_with_tensorrt(
    folder: Path, engine: EngineRecord, *, threads: int | None = None
) -> OnnxRuntimeSession:
    """Open an engine of a bundle with the TensorRT provider, and the CUDA provider behind it.

    For the arguments and errors see :func:`open_with_cuda`.
    """
    return _open(folder, engine, (_TENSORRT, _CUDA), threads=threads, fuse=False)


def _open(
    folder: Path,
    engine: EngineRecord,
    providers: Sequence[str],
    *,
    threads: int | None,
    fuse: bool,
) -> OnnxRuntimeSession:
    """Open with providers in order of preference; what none of them takes runs on the processor."""
    available = onnxruntime.get_available_providers()
    if not set(providers) <= set(available):
        raise TargetError(
            f"target {engine.target} cannot run in onnxruntime {onnxruntime.__version__}",
            expected=" and ".join(providers),
            got=", ".join(available),
            fix="Run: pip uninstall onnxruntime, then pip install onnxruntime-gpu",
        )
    return OnnxRuntimeSession(
        folder / engine.graph.file,
        threads=threads,
        providers=(*providers, _PROCESSOR),
        fuse=fuse,
    )
