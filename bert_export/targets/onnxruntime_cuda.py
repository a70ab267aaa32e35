"""ONNX Runtime's CUDA provider: the form that its fused kernels want.

Attention is ``com.microsoft.MultiHeadAttention``, weights and activations are FP16 with FP32 where
accuracy needs it. ``Add`` and ``LayerNormalization`` are left to the session's extended level,
which fuses them for CUDA. INT8 has no fast kernels there: ``onnxruntime-tensorrt`` has.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.errors import QuantizationError
from bert_export.quantization.quantizer import Scheme
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession

__all__ = ["check_graph", "check_installed", "open_written", "scheme"]


def check_installed() -> None:
    """Writing the graph needs no CUDA."""


def scheme(processor: str) -> Scheme:
    """There is none: the table of targets offers no INT8 here."""
    raise QuantizationError(
        "target onnxruntime-cuda has no INT8",
        expected="fp32 or fp16",
        got=f"int8 for {processor}",
        fix="Use --target onnxruntime-tensorrt",
    )


def check_graph(_: ir.Model) -> None:
    """Every legal graph opens."""


def open_written(folder: Path, engine: EngineRecord, *, threads: int | None) -> OnnxRuntimeSession:
    """The very graph on the CPU provider, as the CUDA provider needs a GPU."""
    return OnnxRuntimeSession(folder / engine.graph.file, threads=threads)
