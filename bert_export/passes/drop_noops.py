"""Drop operators that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import attribute, constant, is_output, producer
from bert_export.passes.graph_pass import Match, Refusal, Rule, RulePass

__all__ = ["DropNoops"]


class DropNoops(RulePass):
    """Remove operators that give their input back unchanged: readers take the input itself.

    Before::

        x -> Identity | Cast(own type) | Transpose(0, 1, ..) | Reshape(own shape)
               | Expand(ones) | Mul(1) | Div(1) | Add(0) | Sub(0) -> y
        x -> Transpose(p) -> Transpose(inverse of p) -> y

    After::

        x -> y

    Adding zero changes no number, only the sign of a zero.
    """

    name = "drop_noops"

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(_Noop(op) for op in _SOURCES)


class _Noop:
    def __init__(self, root_op: str) -> None:
        self.root_op = root_op

    def match(self, node: ir.Node) -> Match | Refusal | None:
        if node.domain:
            return None
        source = _SOURCES[self.root_op](node)
        if source is None:
            return None
        if is_output(node.outputs[0]) and (
            source.is_graph_input() or is_output(source) or source.is_initializer()
        ):
            return Refusal("an input or another output would become an output", str(node.name))
        return Match(node, node.outputs[0], values={"source": source})

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        source = match.values["source"]
        assert source is not None
        if is_output(match.output):
            name = match.output.name
            match.output.name = f"{name}.dropped"
            source.name = name
            source.shape = match.output.shape
        ir.convenience.replace_all_uses_with(match.output, source, replace_graph_outputs=True)


def _identity(node: ir.Node) -> ir.Value | None:
    return node.inputs[0]


def _cast(node: ir.Node) -> ir.Value | None:
    source = node.inputs[0]
    same = source is not None and source.dtype == ir.DataType(attribute(node, "to", 0))
    return source if same else None


def _transpose(node: ir.Node) -> ir.Value | None:
    perm = list(attribute(node, "perm", ()))
    if perm and perm == sorted(perm):
        return node.inputs[0]
    first = producer(node.inputs[0], "Transpose")
    if first is None:
        return None
    inner = list(attribute(first, "perm", ()))
    undone = len(inner) == len(perm) > 0 and all(inner[axis] == i for i, axis in enumerate(perm))
    return first.inputs[0] if undone else None


def _reshape(node: ir.Node) -> ir.Value | None:
    source, shape = node.inputs[0], constant(node.inputs[1])
    if source is None or source.shape is None or shape is None or len(shape) != len(source.shape):
        return None
    inferred_axes = 0
    for size, new_size in zip(source.shape, shape.tolist(), strict=True):
        copied = new_size == 0 and not attribute(node, "allowzero", 0)
        if new_size == -1:
            inferred_axes += 1  # a single one has its old size where all others have theirs
        elif not copied and size != new_size:
            return None
    return source if inferred_axes <= 1 else None


def _expand(node: ir.Node) -> ir.Value | None:
    shape = constant(node.inputs[1])
    source = node.inputs[0]
    rank = 0 if source is None or source.shape is None else len(source.shape)
    plain = shape is not None and len(shape) <= rank and bool((shape == 1).all())
    return source if plain else None


def _neutral(number: float, *, either: bool) -> Callable[[ir.Node], ir.Value | None]:
    def find(node: ir.Node) -> ir.Value | None:
        left, right = node.inputs
        pairs = ((left, right), (right, left)) if either else ((left, right),)
        for source, operand in pairs:
            array = constant(operand)
            if source is None or source.shape is None or array is None:
                continue
            if array.ndim <= len(source.shape) and array.size == 1 and np.all(array == number):
                return source
        return None

    return find


_SOURCES: Mapping[str, Callable[[ir.Node], ir.Value | None]] = {
    "Add": _neutral(0.0, either=True),
    "Cast": _cast,
    "Div": _neutral(1.0, either=False),
    "Expand": _expand,
    "Identity": _identity,
    "Mul": _neutral(1.0, either=True),
    "Reshape": _reshape,
    "Sub": _neutral(0.0, either=False),
    "Transpose": _transpose,
}
