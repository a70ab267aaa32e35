"""ONNX Runtime's CUDA provider: the form that its fused kernels want.

Attention is ``com.microsoft.MultiHeadAttention``, weights and activations are FP16 with FP32 where
accuracy needs it. ``Add`` and ``LayerNormalization`` are left to the session's extended level,
which fuses them for CUDA. INT8 has no fast kernels there: the TensorRT provider has.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.errors import QuantizationError
from bert_export.passes.bound_masks import BoundMasks
from bert_export.passes.convert_precision import ConvertPrecision
from bert_export.passes.fuse_multi_head_attention import FuseMultiHeadAttention
from bert_export.passes.recipe import Recipes, Step, every_attention
from bert_export.quantization.quantizer import Scheme
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession

__all__ = ["RECIPES", "check_graph", "check_installed", "open_written", "scheme"]

_MULTI_HEAD = Step(
    run=FuseMultiHeadAttention(),
    why="first: the CUDA provider's fused kernels stand behind this operator",
    demand=every_attention,
    sites="attention layers",
)

_BOUND_MASKS = Step(
    run=BoundMasks(),
    why="before the conversion, which would make -3.4e38 infinite; in FP32 too, so that one graph "
    "is the other's twin",
)

_FP16 = Step(
    run=ConvertPrecision(ir.DataType.FLOAT16, keep=("Softmax",)),
    why="after all that writes nodes; a softmax that stands outside the fused operator stays FP32",
)

RECIPES: Recipes = {
    "fp32": (_MULTI_HEAD, _BOUND_MASKS),
    "fp16": (_MULTI_HEAD, _BOUND_MASKS, _FP16),
}


def check_installed() -> None:
    """Writing the graph needs no CUDA."""


def scheme(processor: str) -> Scheme:
    """There is none: no recipe is for INT8."""
    raise QuantizationError(
        "ONNX Runtime's CUDA provider has no INT8",
        expected=" or ".join(RECIPES),
        got=f"int8 for {processor}",
    )


def check_graph(_: ir.Model) -> None:
    """Every legal graph opens."""


def open_written(folder: Path, engine: EngineRecord, *, threads: int | None) -> OnnxRuntimeSession:
    """The same graph on the CPU provider, as the CUDA provider needs a GPU."""
    return OnnxRuntimeSession(folder / engine.graph.file, threads=threads)
