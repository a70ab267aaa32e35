"""Which part of a graph may work on some tokens only, when only those are read.

An operator is *row-wise* if each token's result depends on that token alone: it commutes with
selecting tokens. Walking back from a value of which only some tokens are read, everything row-wise
may run after the selection; ``Attention`` is row-wise in its queries, not in keys and values::

    x ─┬> linear (q) ──────────┐                  x ─┬> Select ─┬> linear (q) ────┐
       ├> linear (k), (v) ──┴> Attention             ├> linear (k), (v) ───────┴> Attention
       └────────────────────> Add -> ... -> Select   └──────────────────┴> Add -> ...

No number changes: what is computed for the selected tokens is computed from the same operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from bert_export.passes.editing import attribute, constant, is_output, static_dim

__all__ = ["Region", "find_region", "move_selection"]

_UNARY = frozenset(
    ("Cast", "Erf", "Gelu", "Identity", "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Tanh")
)
_BINARY = frozenset(("Add", "Div", "Mul", "Pow", "Sub"))
_MASK = 3


@dataclass(frozen=True, slots=True)
class Region:
    """What may run on the selected tokens only.

    Args:
        nodes: In graph order.
        boundary: Values (B, S, H) that the region reads and that must be selected.
    """

    nodes: tuple[ir.Node, ...]
    boundary: tuple[ir.Value, ...]


def find_region(root: ir.Value, *, through_attention: bool) -> Region:
    """Walk back from a value of which only some tokens are read.

    Args:
        root: The value, (B, S, H).
        through_attention: Whether the walk goes on along the queries; a selection that does not
            keep one axis per text cannot.
    """
    graph = root.graph
    if graph is None:
        return Region((), (root,))
    order = list(graph)
    position = {node: index for index, node in enumerate(order)}
    inside: set[ir.Node] = set()
    last = root.producer()
    if last is not None and _carriers(last, through_attention=through_attention) is not None:
        inside.add(last)
    start = position[last] if last is not None else -1
    for node in reversed(order[: max(start, 0)]):
        carriers = _carriers(node, through_attention=through_attention)
        # Further outputs are keys and values, which all tokens have.
        single = len(node.outputs) == 1 or node.op_type == "Attention"
        if carriers is None or not single or is_output(node.outputs[0]):
            continue
        uses = tuple(node.outputs[0].uses())
        if uses and all(
            use.node in inside
            and use.idx in (_carriers(use.node, through_attention=through_attention) or ())
            for use in uses
        ):
            inside.add(node)
    made = {node.outputs[0] for node in inside}
    boundary: dict[ir.Value, None] = {}
    nodes = tuple(node for node in order if node in inside)
    for node in nodes:
        for index in _carriers(node, through_attention=through_attention) or ():
            value = node.inputs[index]
            if value is not None and value not in made:
                boundary[value] = None
    return Region(nodes, tuple(boundary) if nodes else (root,))


def move_selection(
    region: Region,
    select: Callable[[ir.Value, ir.Node], ir.Value],
    select_mask: Callable[[ir.Value, ir.Node], ir.Value] | None,
    lead: Sequence[ir.SymbolicDim | int | str],
) -> None:
    """Put the selection in front of a region.

    Args:
        region: From :func:`find_region`.
        select: Makes the selected form of a value, in front of a node.
        select_mask: The same for an attention mask (B, 1, S, S).
        lead: The axes that take the place of (B, S).
    """
    made = {node.outputs[0] for node in region.nodes}
    selected: dict[ir.Value, ir.Value] = {}
    for value in region.boundary:
        readers = [node for node in region.nodes if value in node.inputs]
        selected[value] = select(value, readers[0])
    for node in region.nodes:
        indices = _carriers(node, through_attention=True) or ()
        for index in indices:
            carried = node.inputs[index]
            if carried in selected:
                node.replace_input_with(index, selected[carried])
        if node.op_type == "Attention" and select_mask is not None and len(node.inputs) > _MASK:
            mask = node.inputs[_MASK]
            if mask is not None:
                node.replace_input_with(_MASK, select_mask(mask, node))
    for value in made:
        if value.shape is not None:
            value.shape = ir.Shape([*lead, *list(value.shape)[2:]])


def _carriers(node: ir.Node, *, through_attention: bool) -> tuple[int, ...] | None:
    """Which inputs carry the tokens of a row-wise node; ``None`` if it is not row-wise."""
    if node.domain:
        return None
    inputs = node.inputs
    if node.op_type in _UNARY:
        return (0,)
    if node.op_type == "LayerNormalization":
        return (0,) if attribute(node, "axis", -1) in (-1, 2) and _tokens(inputs[0]) else None
    if node.op_type == "MatMul":
        weight = constant(inputs[1])
        return (0,) if weight is not None and weight.ndim == 2 and _tokens(inputs[0]) else None
    if node.op_type == "Attention":
        own = through_attention and "q_num_heads" in node.attributes
        return (0,) if own and not attribute(node, "is_causal", 0) else None
    if node.op_type not in _BINARY:
        return None
    carriers = []
    for index, value in enumerate(inputs):
        array = constant(value)
        if array is None and _tokens(value):
            carriers.append(index)
        elif array is None or array.ndim > 1:
            return None
    axes = {tuple(map(str, list(inputs[index].shape or ())[:2])) for index in carriers}  # type: ignore[union-attr]
    return tuple(carriers) if len(axes) == 1 else None  # an axis that is broadcast is no token


def _tokens(value: ir.Value | None) -> bool:
    """Whether a value has the axes (B, S, width), the last of which is not broadcast."""
    return value is not None and len(value.shape or ()) == 3 and static_dim(value, 2) is not None
