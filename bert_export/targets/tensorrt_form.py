"""The form that TensorRT's builder wants, for every target behind which it stands.

A network is strongly typed: what precision a product has stands in the graph, not in a flag of the
builder. The form is:

- standard operators only, opset 20 (21 with Q/DQ);
- ``MatMul`` and ``Add`` with weights (K, N); attention written out, the scale on the queries and a
  mask (B, 1, 1, S) that is added and fits FP16, which is the pattern that the builder fuses;
- FP16 or BF16 from the embeddings to the last product, in FP32 what needs it, outputs in FP32;
- INT8 as explicit Q/DQ around FP16: symmetric int8, one scale per output channel of a weight, the
  bias a float.

The graph and the options that are in the manifest are all that a machine with the GPU needs: where
no builder is installed here, ``bert-export build`` finishes there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.errors import TargetError
from bert_export.passes.bound_masks import BoundMasks
from bert_export.passes.convert_precision import ConvertPrecision
from bert_export.passes.editing import attribute, constant, producer
from bert_export.passes.expand_attention import ExpandAttention
from bert_export.passes.lower_opset import LowerOpset
from bert_export.passes.recipe import Recipe, Recipes, Step, every_attention
from bert_export.quantization.quantizer import Scheme
from bert_export.runtime.sessions.session import Session
from bert_export.targets.rounded_session import open_rounded

__all__ = ["RECIPES", "check_graph", "check_installed", "open_written", "scheme"]

_EXPAND = Step(
    run=ExpandAttention(),
    why="first: an FP32 Attention of opset 23 fails to build, and the written-out form is the "
    "pattern that the builder fuses into one kernel in FP16 and BF16",
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
    why="after all that writes nodes; the casts around Softmax cost nothing: the builder still "
    "fuses attention and asks for as much memory as without",
)

_BF16 = Step(
    run=ConvertPrecision(ir.DataType.BFLOAT16, keep=("Softmax",)),
    why="as in FP16; of BF16's 8 bits a softmax would lose most",
)

_OLD_OPSET = Step(
    run=LowerOpset(), why="last: it checks every node that is written, in the type that it has"
)

_IN_FP16: Recipe = (_EXPAND, _BOUND_MASKS, _FP16, _OLD_OPSET)

RECIPES: Recipes = {
    "fp32": (_EXPAND, _BOUND_MASKS, _OLD_OPSET),
    "fp16": _IN_FP16,
    "bf16": (_EXPAND, _BOUND_MASKS, _BF16, _OLD_OPSET),
    "int8": _IN_FP16,
}
"""INT8 is the FP16 form around the Q/DQ that the quantizer wrote."""

_TYPES = frozenset(
    {
        *(ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16),
        *(ir.DataType.INT8, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL),
    }
)
_CHANNELS = 1
_OPSETS = {False: 20, True: 21}


def check_installed() -> None:
    """Writing the graph needs no builder."""


def scheme(processor: str) -> Scheme:  # noqa: ARG001  # the GPU multiplies, whatever the host is
    """Symmetric int8 for activations and weights: the one form that the builder reads."""
    return Scheme("int8", 8, symmetric=True, integer_tables=False)


def open_written(folder: Path, engine: EngineRecord, *, threads: int | None) -> Session:
    """The same graph in ONNX Runtime, as the engine itself needs a GPU."""
    return open_rounded(folder / engine.graph.file, threads=threads)


def check_graph(model: ir.Model) -> None:
    """Refuse, by node, what the builder would refuse without a name or would misread.

    Raises:
        TargetError: Names the node and what is wrong with it.
    """
    graph = model.graph
    quantized = any(node.op_type == "QuantizeLinear" for node in graph)
    opset = graph.opset_imports.get("")
    if opset != _OPSETS[quantized]:
        raise TargetError(
            "graph for tensorrt has another opset", expected=_OPSETS[quantized], got=opset
        )
    for node in graph:
        for refused in (_operator, _types, *_CHECKS.get(node.op_type, ())):
            refused(node)


def _refuse(node: ir.Node, what: str, *, expected: str, got: object) -> TargetError:
    return TargetError(
        f"{node.op_type} node {node.name} {what}, which tensorrt cannot take",
        expected=expected,
        got=got,
        fix="Report the checkpoint's config.json, please",
    )


def _operator(node: ir.Node) -> None:
    if node.domain:
        raise _refuse(
            node, f"is of domain {node.domain}", expected="a standard operator", got=node.op_type
        )
    if any(value.type == ir.AttributeType.GRAPH for value in node.attributes.values()):
        raise _refuse(node, "holds a branch", expected="a graph without branches", got=node.op_type)
    if node.op_type in ("Attention", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeLinear"):
        raise _refuse(
            node,
            "is not written out",
            expected="MatMul, Softmax, QuantizeLinear and DequantizeLinear",
            got=node.op_type,
        )


def _types(node: ir.Node) -> None:
    for value in (*node.inputs, *node.outputs):
        if value is None or value.dtype is None or value.dtype in _TYPES:
            continue
        raise _refuse(
            node,
            f"has a tensor {value.name} of type {value.dtype.name.lower()}",
            expected=", ".join(sorted(kind.name.lower() for kind in _TYPES)),
            got=value.dtype.name.lower(),
        )


def _zero_point(node: ir.Node) -> None:
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is None:
        return
    array = constant(zero)
    if array is None or np.any(array != 0) or array.dtype != np.int8:
        raise _refuse(
            node,
            f"has the zero point {zero.name}",
            expected="the int8 constant 0: symmetric quantization",
            got="no constant" if array is None else f"{array.dtype} {array.reshape(-1)[:4]}",
        )


def _channels(node: ir.Node) -> None:
    scale = constant(node.inputs[1])
    stored = constant(node.inputs[0])
    if scale is None:
        raise _refuse(node, "computes its scale", expected="a constant", got=node.inputs[1])
    if scale.size == 1:
        return
    axis = attribute(node, "axis", 1)
    if stored is None or axis != _CHANNELS or stored.ndim != 2:
        raise _refuse(
            node,
            "has a scale per channel of another axis",
            expected=f"a stored weight (K, N), axis {_CHANNELS}",
            got=f"axis {axis} of {'an activation' if stored is None else stored.shape}",
        )


def _quantized_operand(node: ir.Node) -> None:
    stored = constant(node.inputs[0])
    if stored is not None and stored.dtype != np.int8:
        raise _refuse(
            node,
            f"reads {node.inputs[0].name} in {stored.dtype}",  # type: ignore[union-attr]
            expected="an int8 weight; a bias stays float",
            got=stored.dtype,
        )
    if stored is None and producer(node.inputs[0], "QuantizeLinear") is None:
        raise _refuse(
            node, "stands alone", expected="QuantizeLinear or an int8 weight before it", got="none"
        )


def _written_type(node: ir.Node) -> None:
    dtype = attribute(node, "output_dtype", 0)
    if len(node.inputs) < 3 and dtype != ir.DataType.INT8:
        raise _refuse(node, "writes uint8", expected="a zero point of int8", got="none")


def _product(node: ir.Node) -> None:
    weight = node.inputs[1]
    if weight is not None and weight.is_initializer() and len(weight.shape or ()) != 2:
        raise _refuse(
            node, f"has the weight {weight.name}", expected="(K, N)", got=tuple(weight.shape or ())
        )


_CHECKS: Mapping[str, tuple[Callable[[ir.Node], None], ...]] = {
    "QuantizeLinear": (_zero_point, _channels, _written_type),
    "DequantizeLinear": (_zero_point, _quantized_operand, _channels),
    "MatMul": (_product,),
}
"""By operator, besides :func:`_operator` and :func:`_types`, which check every node."""
