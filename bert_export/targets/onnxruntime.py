"""ONNX Runtime's CPU provider: the form its fastest kernels want.

Which form that is, and why, stands in :mod:`bert_export.passes.recipes`: attention is the standard
``Attention`` with three axes, a linear layer in INT8 is one ``com.microsoft.MatMulIntegerToFloat``
with a static activation scale and the bias inside, and everything else stays float32 and standard.
Sessions open at the basic level: the extended one would fuse ``Add`` and ``LayerNormalization``
into ``SkipLayerNormalization``, which took 3 to 6 times as long.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.quantization.quantizer import SCHEMES, Scheme
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession, open_engine

__all__ = ["check_graph", "check_installed", "open_written", "scheme"]


def check_installed() -> None:
    """ONNX Runtime is a dependency of the package itself."""


def scheme(processor: str) -> Scheme:
    """Number formats that the processor multiplies fastest without saturating."""
    return SCHEMES[processor]


def check_graph(_: ir.Model) -> None:
    """Every legal graph opens."""


def open_written(folder: Path, engine: EngineRecord, *, threads: int | None) -> OnnxRuntimeSession:
    """The session that a service opens."""
    return open_engine(folder, engine, threads=threads)
