"""What a graph may contain, written as data, and the check that runs between passes.

A traced head is made of few operators. Each row of :data:`LEGAL` says what a node of one operator
may look like. An operator without a row, or a node that does not fit its row, is an error that
names the node, so that no pass ever meets a form that it was not written for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from bert_export.errors import PassError
from bert_export.passes.editing import CONTRIB, attribute, constant

__all__ = ["DOMAINS", "LEGAL", "Legal", "check_legal"]

_INT64, _BOOL = ir.DataType.INT64, ir.DataType.BOOL
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_UINT8, _INT8 = ir.DataType.UINT8, ir.DataType.INT8

DOMAINS = ("", CONTRIB)
"""The standard operators, and those of ONNX Runtime that its recipe lowers to."""


@dataclass(frozen=True, slots=True)
class Legal:
    """What a node of one operator may look like.

    Args:
        dtypes: Of its first output.
        inputs: Least and greatest number of inputs.
        holds: Further conditions, by the words that the message uses.
    """

    dtypes: tuple[ir.DataType, ...]
    inputs: tuple[int, int]
    holds: Mapping[str, Callable[[ir.Node], bool]] | None = None


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _last_axis(node: ir.Node) -> bool:
    axis, rank = attribute(node, "axis", -1), _rank(node.inputs[0])
    return bool(axis == -1 or (rank is not None and axis == rank - 1))


def _weight_has_two_axes(node: ir.Node) -> bool:
    weight = constant(node.inputs[1])
    return weight is None or weight.ndim == 2


def _heads_are_named(node: ir.Node) -> bool:
    return _rank(node.inputs[0]) != 3 or "q_num_heads" in node.attributes


def _plain_attention(node: ir.Node) -> bool:
    if attribute(node, "softcap", 0.0):
        return False
    past = [value for value in node.inputs[4:] if value is not None]
    return (len(past), len(node.outputs)) in ((0, 1), (2, 3))


_ANY = (*_FLOATS, _INT64, _BOOL, _UINT8, _INT8)
_NUMBER = (*_FLOATS, _INT64)
_ATTENTION = {
    "three axes with q_num_heads, or four": _heads_are_named,
    "no softcap, and a whole cache or none": _plain_attention,
}

LEGAL: Mapping[tuple[str, str], Legal] = {
    # embeddings and selections
    ("", "Gather"): Legal(_ANY, (2, 2)),
    ("", "GatherElements"): Legal(_ANY, (2, 2)),
    ("", "GatherND"): Legal(_ANY, (2, 2)),
    ("", "Slice"): Legal(_NUMBER, (3, 5)),
    ("", "Split"): Legal(_NUMBER, (1, 2)),
    # linear layers
    ("", "MatMul"): Legal(_FLOATS, (2, 2), {"a weight of two axes": _weight_has_two_axes}),
    ("", "Gemm"): Legal(_FLOATS, (2, 3)),
    ("", "Einsum"): Legal(_FLOATS, (2, 2)),
    (CONTRIB, "FusedMatMul"): Legal(_FLOATS, (2, 2)),
    # attention
    ("", "Softmax"): Legal(_FLOATS, (1, 1), {"the last axis": _last_axis}),
    ("", "Attention"): Legal(_FLOATS, (3, 6), _ATTENTION),
    (CONTRIB, "MultiHeadAttention"): Legal(_FLOATS, (3, 8)),
    # normalization and activations
    ("", "LayerNormalization"): Legal(_FLOATS, (2, 3), {"the last axis": _last_axis}),
    ("", "Gelu"): Legal(_FLOATS, (1, 1)),
    ("", "Erf"): Legal(_FLOATS, (1, 1)),
    ("", "Relu"): Legal(_FLOATS, (1, 1)),
    ("", "Sigmoid"): Legal(_FLOATS, (1, 1)),
    ("", "Tanh"): Legal(_FLOATS, (1, 1)),
    # arithmetic
    ("", "Add"): Legal(_NUMBER, (2, 2)),
    ("", "Sum"): Legal(_FLOATS, (2, 2)),
    ("", "Sub"): Legal(_NUMBER, (2, 2)),
    ("", "Mul"): Legal(_NUMBER, (2, 2)),
    ("", "Div"): Legal(_NUMBER, (2, 2)),
    ("", "Pow"): Legal(_FLOATS, (2, 2)),
    ("", "Sqrt"): Legal(_FLOATS, (1, 1)),
    ("", "Reciprocal"): Legal(_FLOATS, (1, 1)),
    ("", "Clip"): Legal(_FLOATS, (1, 3)),
    ("", "ReduceL2"): Legal(_FLOATS, (1, 2)),
    ("", "ReduceMax"): Legal(_FLOATS, (1, 2)),
    ("", "ReduceMin"): Legal((_INT64,), (1, 2)),
    ("", "ReduceMean"): Legal(_FLOATS, (1, 2)),
    ("", "ReduceSum"): Legal(_NUMBER, (1, 2)),
    ("", "ArgMax"): Legal((_INT64,), (1, 1)),
    # masks
    ("", "CumSum"): Legal((_INT64,), (2, 2)),
    ("", "And"): Legal((_BOOL,), (2, 2)),
    ("", "Equal"): Legal((_BOOL,), (2, 2)),
    ("", "If"): Legal(_FLOATS, (1, 1)),
    ("", "IsNaN"): Legal((_BOOL,), (1, 1)),
    ("", "LessOrEqual"): Legal((_BOOL,), (2, 2)),
    ("", "Not"): Legal((_BOOL,), (1, 1)),
    ("", "Range"): Legal((_INT64,), (3, 3)),
    ("", "Where"): Legal(_ANY, (3, 3)),
    # shapes and layouts
    ("", "Cast"): Legal(_ANY, (1, 1)),
    ("", "Concat"): Legal(_NUMBER, (1, 8)),
    ("", "Expand"): Legal(_ANY, (2, 2)),
    ("", "Identity"): Legal(_ANY, (1, 1)),
    ("", "Reshape"): Legal(_ANY, (2, 2)),
    ("", "Shape"): Legal((_INT64,), (1, 1)),
    ("", "Squeeze"): Legal(_ANY, (1, 2)),
    ("", "Transpose"): Legal(_ANY, (1, 1)),
    ("", "Unsqueeze"): Legal(_ANY, (2, 2)),
    # INT8
    ("", "QuantizeLinear"): Legal((_UINT8, _INT8), (2, 3)),
    ("", "DynamicQuantizeLinear"): Legal((_UINT8,), (1, 1)),
    ("", "DequantizeLinear"): Legal(_FLOATS, (2, 3)),
    (CONTRIB, "MatMulIntegerToFloat"): Legal(_FLOATS, (4, 7)),
}


def check_legal(model: ir.Model, stage: str) -> None:
    """Check that a graph holds only what :data:`LEGAL` says.

    Args:
        model: The graph.
        stage: What ran before, for the message.

    Raises:
        PassError: A node is not legal; the message names it.
    """
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        domain = node.domain
        legal = LEGAL.get((domain, node.op_type))
        name = f"{domain}.{node.op_type}" if domain else node.op_type
        if legal is None:
            raise PassError(
                f"graph after {stage} holds node {node.name} with operator {name}",
                expected="an operator that bert_export.passes.legality names",
                got=name,
                fix="Report the checkpoint's config.json, please",
            )
        least, most = legal.inputs
        if not least <= len(node.inputs) <= most:
            raise PassError(
                f"graph after {stage} holds {name} node {node.name} with other inputs",
                expected=f"{least} to {most}",
                got=len(node.inputs),
            )
        dtype = node.outputs[0].dtype
        if dtype is not None and dtype not in legal.dtypes:
            raise PassError(
                f"graph after {stage} holds {name} node {node.name} of another type",
                expected=" or ".join(str(choice) for choice in legal.dtypes),
                got=dtype,
            )
        for words, holds in (legal.holds or {}).items():
            if not holds(node):
                raise PassError(
                    f"graph after {stage} holds {name} node {node.name} in another form",
                    expected=words,
                    got=f"inputs {[_rank(value) for value in node.inputs]} (axes)",
                )
