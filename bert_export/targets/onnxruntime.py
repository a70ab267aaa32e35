"""ONNX Runtime's CPU provider: the form that its fastest kernels want.

Attention is the standard ``Attention`` with three axes. A linear layer in INT8 is one
``com.microsoft.MatMulIntegerToFloat`` with a static activation scale and the bias inside.
Everything else stays float32 and standard. Residuals are added with ``Sum``: ONNX Runtime's
extended level would fuse ``Add`` and ``LayerNormalization`` into ``SkipLayerNormalization``, which
took 3 to 6 times as long. Our sessions open at the basic level, other people's at the extended one.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.passes.keep_residuals import KeepResiduals, count_residuals
from bert_export.passes.lower_quantized_linear import LowerQuantizedLinear, count_quantized
from bert_export.passes.recipe import RecipeContext, Recipes, Step
from bert_export.passes.share_initializers import ShareInitializers
from bert_export.passes.skip_full_mask import SkipFullMask
from bert_export.quantization.quantizer import SCHEMES, Scheme
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession, open_engine

__all__ = ["RECIPES", "check_graph", "check_installed", "open_written", "scheme"]


def _every_quantized(model: ir.Model, _: RecipeContext) -> int:
    return count_quantized(model)


def _every_residual(model: ir.Model, _: RecipeContext) -> int:
    return count_residuals(model)


_LOWER_INT8 = Step(
    run=LowerQuantizedLinear(),
    why="before anything that reads weights: it replaces Q/DQ, which ONNX Runtime would compute",
    demand=_every_quantized,
    sites="quantized linear layers",
)

_SKIP_MASK = Step(
    run=SkipFullMask(),
    why="after quantization: no other pass looks into the branches of an If; saves a tenth of "
    "attention where nothing is padded, and costs about a microsecond a layer",
)

_KEEP_RESIDUALS = Step(
    run=KeepResiduals(),
    why="after the passes that look for Add; the graph keeps its form in a session with defaults",
    demand=_every_residual,
    sites="residuals",
)

_SHARE = Step(
    run=ShareInitializers(),
    why="last: names of weights are lost, which the quantizer and the lowering read",
)

RECIPES: Recipes = {
    "fp32": (_SKIP_MASK, _KEEP_RESIDUALS, _SHARE),
    "int8": (_LOWER_INT8, _SKIP_MASK, _KEEP_RESIDUALS, _SHARE),
}


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
