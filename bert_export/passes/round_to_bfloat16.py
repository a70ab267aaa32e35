"""Round what goes into products to bfloat16, for engines whose products read that."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from bert_export.passes.editing import constant, insert_node, producer
from bert_export.passes.fused_attention import count_attention
from bert_export.passes.graph_pass import Match, Refusal, Rule, RulePass

__all__ = ["RoundToBfloat16"]

_BF16, _FP32 = ir.DataType.BFLOAT16, ir.DataType.FLOAT
_OPERANDS = 3


class RoundToBfloat16(RulePass):
    """Round queries, keys and values, and where asked for the operands of linear layers.

    Before::

        q, k, v -> Attention -> y

    After::

        q, k, v -> Cast(bfloat16) -> Cast(float32) -> Attention -> y

    The graph stays one of float32 that any engine runs: the casts say what is rounded. An engine
    with products of bfloat16 joins them with what makes their operands.

    Args:
        linear_layers: Whether the operands of float products by a stored weight are rounded too.
            The weights stay as they are stored; the engine rounds them when it loads them.
    """

    name = "round_to_bfloat16"

    def __init__(self, *, linear_layers: bool = False) -> None:
        self._linear_layers = linear_layers

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (_Attention(), _Product()) if self._linear_layers else (_Attention(),)

    def demand(self, model: ir.Model) -> int | None:
        """How many sites there must be: every attention; any number with linear layers."""
        return None if self._linear_layers else count_attention(model)


class _Attention:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        if node.domain or all(_is_rounded(value) for value in node.inputs[:_OPERANDS]):
            return None
        return Match(node, node.outputs[0])

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        for index in range(_OPERANDS):
            _round(graph, match.root, index)


class _Product:
    root_op: ClassVar[str] = "MatMul"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        x, weight = node.inputs
        stored = producer(weight, "Transpose")
        if constant(weight if stored is None else stored.inputs[0]) is None or _is_rounded(x):
            return None
        return Match(node, node.outputs[0])

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _round(graph, match.root, 0)


def _is_rounded(value: ir.Value | None) -> bool:
    cast = producer(value, "Cast")
    return cast is not None and cast.inputs[0] is not None and cast.inputs[0].dtype == _BF16


def _round(graph: ir.Graph, node: ir.Node, index: int) -> None:
    """Put both casts in front of an operand; readers of one value share them."""
    value = node.inputs[index]
    assert value is not None, "a product has its operands"
    if _is_rounded(value):
        return
    known = _rounded_form(value)
    if known is None:
        low = insert_node(
            graph,
            node,
            "Cast",
            [value],
            {"to": _BF16},
            name=f"{value.name}.bfloat16",
            shape=value.shape,
            dtype=_BF16,
        )
        known = insert_node(
            graph,
            node,
            "Cast",
            [low],
            {"to": _FP32},
            name=f"{value.name}.rounded",
            shape=value.shape,
            dtype=_FP32,
        )
    node.replace_input_with(index, known)


def _rounded_form(value: ir.Value) -> ir.Value | None:
    """The rounded form of a value, where an earlier site made it."""
    for use in value.uses():
        low = use.node.outputs[0]
        if use.node.op_type == "Cast" and low.dtype == _BF16:
            return next(
                (reader.node.outputs[0] for reader in low.uses() if reader.node.op_type == "Cast"),
                None,
            )
    return None
