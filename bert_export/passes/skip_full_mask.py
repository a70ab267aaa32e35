"""Leave the mask out of attention at run time when there is nothing to mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from bert_export.passes.editing import (
    insert_node,
    producer,
    scalar,
    split_scalar,
    substitute_node,
)
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["SkipFullMask"]

_MASK = 3
_FULL = "visible.full"


class _Rule:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        if len(node.inputs) <= _MASK or node.inputs[_MASK] is None:
            return None
        visible = _visible(node.inputs[_MASK])
        if isinstance(visible, Refusal):
            return visible
        return Match(node, node.outputs[0], values={"visible": visible})

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        node, visible = match.root, match.values["visible"]
        assert visible is not None
        full = _known(visible) or _make_full(graph, visible)
        branches = [
            _branch(graph, node, "full", node.inputs[:_MASK]),
            _branch(graph, node, "padded", node.inputs),
        ]
        substitute_node(
            graph,
            match.output,
            "If",
            [full],
            {"then_branch": branches[0], "else_branch": branches[1]},
            name=f"{node.name}.either",
        )


class SkipFullMask(RulePass):
    """Choose between attention with and without a mask, once per layer.

    Before::

        q, k, v, mask -> Attention -> y

    After::

        attention_mask -> ReduceMin -> Cast(bool) = full                 once for all layers
        full -> If(then: q, k, v -> Attention, else: q, k, v, mask -> Attention) -> y

    A mask that hides nothing changes no score, so both branches give the same numbers. The choice
    costs a microsecond and saves a tenth of attention's time. It is made per call: a batch of texts
    of one length needs no mask. A causal mask always hides something and stays.
    """

    name = "skip_full_mask"
    rules = (_Rule(),)


def _visible(mask: ir.Value | None) -> ir.Value | Refusal:
    """The integers, 1 where a token may be seen, from which a mask is made."""
    expand = producer(mask, "Expand")
    value = mask if expand is None else expand.inputs[0]
    scaled = producer(value, "Mul")
    if scaled is not None:  # the additive form: (1 - visible) * lowest
        split = split_scalar(scaled)
        inverted = None if split is None else producer(split[0], "Sub")
        if inverted is None or scalar(inverted.inputs[0]) != 1:
            return Refusal("the mask is not made of zeros and ones", str(scaled.name), 1)
        value = inverted.inputs[1]
    cast = producer(value, "Cast")
    visible = None if cast is None else cast.inputs[0]
    if visible is None or visible.dtype != ir.DataType.INT64:
        at = None if value is None else value.producer()
        name = str(getattr(value, "name", None) if at is None else at.name)
        return Refusal("the mask is not cast from integers", name, 2)
    made = producer(visible, "Unsqueeze")
    if made is None:
        return Refusal("the mask holds more than padding", str(visible.name), 3)
    return visible


def _branch(
    graph: ir.Graph, node: ir.Node, suffix: str, inputs: Sequence[ir.Value | None]
) -> ir.Graph:
    """A graph of one node, which reads the values around it."""
    name, output = f"{node.name}.{suffix}", node.outputs[0]
    value = ir.Value(name=name, shape=output.shape, type=output.type)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    attend = ir.node("Attention", inputs, attributes, name=name, outputs=[value])
    return ir.Graph([], [value], nodes=[attend], opset_imports=dict(graph.opset_imports), name=name)


def _known(visible: ir.Value) -> ir.Value | None:
    for use in visible.uses():
        if use.node.op_type == "ReduceMin":
            reader = next(iter(use.node.outputs[0].uses()), None)
            return None if reader is None else reader.node.outputs[0]
    return None


def _make_full(graph: ir.Graph, visible: ir.Value) -> ir.Value:
    made = visible.producer()
    assert made is not None
    order = list(graph)
    before = order[order.index(made) + 1]
    least = insert_node(
        graph,
        before,
        "ReduceMin",
        [visible],
        {"keepdims": 0},
        name="visible.least",
        shape=[],
        dtype=ir.DataType.INT64,
    )
    return insert_node(
        graph,
        before,
        "Cast",
        [least],
        {"to": ir.DataType.BOOL},
        name=_FULL,
        shape=[],
        dtype=ir.DataType.BOOL,
    )
