"""Our own fused kernels on a processor: the graph becomes a program of operations over ragged rows.

``README.md`` beside this file states what each operation computes. Products are integer where the
plan says so; queries, keys and values are in bfloat16 in INT8, which AMX and AVX512-BF16 multiply
at once and other processors as exactly. The residual stream and norms stay in float32.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.errors import QuantizationError
from bert_export.passes.recipe import Recipes, Step, every_attention
from bert_export.passes.round_to_bfloat16 import RoundToBfloat16
from bert_export.passes.share_initializers import ShareInitializers
from bert_export.quantization.quantizer import SCHEMES, Scheme
from bert_export.runtime.native import require_native
from bert_export.runtime.sessions.native import NativeSession, open_engine
from bert_export.targets.native.translation import translate

__all__ = ["RECIPES", "check_graph", "check_installed", "open_written", "scheme"]

_ROUND_ATTENTION = Step(
    run=RoundToBfloat16(),
    why="before weights lose their names: queries, keys and values are multiplied in bfloat16, at "
    "twice to sixteen times the speed of float32",
    demand=every_attention,
    sites="attention layers",
)

_ROUND_PRODUCTS = Step(
    run=RoundToBfloat16(linear_layers=True),
    why="as in INT8, and the operands of linear layers too",
)

_SHARE = Step(
    run=ShareInitializers(standard=True),
    why="last: names of weights are lost; a decoder that is tied to the word table is stored once",
)

RECIPES: Recipes = {
    "fp32": (_SHARE,),
    "bf16": (_ROUND_PRODUCTS, _SHARE),
    "int8": (_ROUND_ATTENTION, _SHARE),
}
"""Everything else becomes a program as it is, see :mod:`bert_export.targets.native.translation`."""


def check_installed() -> None:
    """The program is verified in the compiled module.

    Raises:
        MissingExtraError: It is not built.
    """
    require_native("target native")


def scheme(processor: str) -> Scheme:
    """Number formats that the processor multiplies fastest without saturating.

    Raises:
        QuantizationError: The kernels have no integer products for the processor.
    """
    found = SCHEMES[processor]
    if found.activation_type != "uint8":
        raise QuantizationError(
            f"target native has no INT8 for {processor}",
            expected="a processor that multiplies unsigned activations",
            got=f"{found.activation_type} activations",
            fix="Export for another target",
        )
    return found


def check_graph(model: ir.Model) -> None:
    """Refuse what a program cannot hold.

    Raises:
        TargetError: Names the node and the reason.
    """
    translate(model)


def open_written(folder: Path, engine: EngineRecord, *, threads: int | None) -> NativeSession:
    """The session that a service opens."""
    return open_engine(folder, engine, threads=threads)
