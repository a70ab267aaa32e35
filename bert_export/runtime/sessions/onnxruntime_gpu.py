"""ONNX Runtime's CUDA and TensorRT providers. Never run on a GPU so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnxruntime

from bert_export.bundle import EngineRecord
from bert_export.errors import TargetError
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession

__all__ = ["PROVIDERS", "open_engine"]

PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime-cuda": ("CUDAExecutionProvider",),
    "onnxruntime-tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
"""By target, in order of preference; what none of them takes runs on the processor."""


def open_engine(
    folder: Path, engine: EngineRecord, *, threads: int | None = None
) -> OnnxRuntimeSession:
    """Open an engine of a bundle on the GPU.

    Args:
        folder: Of the bundle.
        engine: The bundle's entry, of a target in :data:`PROVIDERS`.
        threads: Threads inside an operator that runs on the processor.

    Raises:
        TargetError: This ONNX Runtime has no such provider, or it cannot start.
        BundleError: ONNX Runtime cannot read the graph.
    """
    providers = PROVIDERS[engine.target]
    available = onnxruntime.get_available_providers()
    missing = [provider for provider in providers if provider not in available]
    if missing:
        raise TargetError(
            f"target {engine.target} cannot run in onnxruntime {onnxruntime.__version__}",
            expected=" and ".join(providers),
            got=", ".join(available),
            fix="Run: pip uninstall onnxruntime, then pip install onnxruntime-gpu",
        )
    return OnnxRuntimeSession(
        folder / engine.graph.file,
        threads=threads,
        providers=(*providers, "CPUExecutionProvider"),
        fuse=engine.target == "onnxruntime-cuda",
    )
