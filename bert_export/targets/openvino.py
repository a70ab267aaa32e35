"""OpenVINO's CPU plugin: standard operators, attention written out, explicit Q/DQ.

Attention stands as products and a softmax, which OpenVINO joins into one kernel. Linear layers in
INT8 are a MatMul of two DequantizeLinear: OpenVINO joins those with the product, the bias, GELU and
the QuantizeLinear that follows.

By measurement (MiniLM INT8, processor time of one thread, paired runs at 1x16 to 32x64): the
operator ``Attention`` of opset 23 took 3 to 9 % longer; the branch on whether a mask hides
anything, which pays in ONNX Runtime, 3 to 6 %; a scale folded into the weights of the queries, and
a QuantizeLinear in front of attention's last Transpose, gained nothing.

INT8 computes what is between the integer products in FP32. In BF16, on a processor with AMX,
OpenVINO 2026.4 multiplies INT8 queries and keys wrongly where a row has as many tokens as a head
has channels (MiniLM, 32 tokens: cosine 0.6), and is 7 % slower at 1x16, 2 % at 1x128, but 5 %
faster at 8x128 and 12 % at 1x512. The same numbers suit the same processors as in ONNX
Runtime, so that two targets of one bundle share their INT8 weights; only queries and keys are in
int8 here alone, see :mod:`bert_export.quantization.query_key`.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.errors import MissingExtraError, TargetError
from bert_export.passes.expand_attention import ExpandAttention
from bert_export.passes.recipe import Recipe, Recipes, Step, every_attention
from bert_export.passes.share_initializers import ShareInitializers
from bert_export.quantization.quantizer import SCHEMES, Scheme
from bert_export.runtime.sessions.session import Session

__all__ = ["RECIPES", "check_graph", "check_installed", "open_written", "scheme"]

_WRITTEN_OUT: Recipe = (
    Step(
        run=ExpandAttention(),
        why="first: OpenVINO joins the written-out form into one kernel; the operator of opset 23 "
        "took 3 to 9 % longer in INT8, and as long in FP32",
        demand=every_attention,
        sites="attention layers",
    ),
    Step(
        run=ShareInitializers(standard=True),
        why="last: names of weights are lost, which the quantizer reads",
    ),
)

RECIPES: Recipes = {"fp32": _WRITTEN_OUT, "bf16": _WRITTEN_OUT, "int8": _WRITTEN_OUT}
"""One form: BF16 is a setting of the session, and Q/DQ of INT8 stay as the quantizer wrote them."""


def check_installed() -> None:
    """The graph is verified in OpenVINO itself.

    Raises:
        MissingExtraError: It is not installed.
    """
    if find_spec("openvino") is None:
        raise MissingExtraError("target openvino", extra="openvino")


def scheme(processor: str) -> Scheme:
    """Number formats that the processor multiplies fastest without saturating."""
    return replace(SCHEMES[processor], integer_query_key=processor == "x86-64-vnni")


def check_graph(model: ir.Model) -> None:
    """Refuse operators that only ONNX Runtime has.

    Raises:
        TargetError: Names the node.
    """
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain:
            raise TargetError(
                f"{node.op_type} node {node.name} is of domain {node.domain}, which openvino "
                "cannot take",
                expected="a standard operator",
                got=f"{node.domain}.{node.op_type}",
                fix="Report the checkpoint's config.json, please",
            )


def open_written(folder: Path, engine: EngineRecord, *, threads: int | None) -> Session:
    """The session that a service opens."""
    from bert_export.runtime.sessions.openvino import open_engine

    return open_engine(folder, engine, threads=threads)
