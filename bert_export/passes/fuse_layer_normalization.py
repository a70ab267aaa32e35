"""Fuse layer normalization, written out with means, into the standard operator."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from bert_export.passes.editing import (
    attribute,
    constant,
    other_input,
    producer,
    scalar,
    sole_reader,
    split_scalar,
    static_dim,
    substitute_node,
)
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["FuseLayerNormalization"]


class _Rule:
    root_op: ClassVar[str] = "Sqrt"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        added = split_scalar(producer(node.inputs[0], "Add"))
        variance = None if added is None else producer(added[0], "ReduceMean")
        if added is None or variance is None:
            return None
        centred = _centred(variance)
        if isinstance(centred, Refusal):
            return centred
        difference, x = centred
        quotient = sole_reader(node.outputs[0], "Div")
        if quotient is None or quotient.inputs[0] is not difference:
            return Refusal("the difference is not divided by the deviation", str(node.name), 5)
        scaled = sole_reader(quotient.outputs[0], "Mul")
        weight = None if scaled is None else other_input(scaled, quotient.outputs[0])
        if scaled is None or not _is_parameter(weight, x):
            return Refusal("the quotient is not scaled by a weight (H,)", str(quotient.name), 6)
        shifted = sole_reader(scaled.outputs[0], "Add")
        bias = None if shifted is None else other_input(shifted, scaled.outputs[0])
        if shifted is None or not _is_parameter(bias, x):
            return Refusal("no bias (H,) is added", str(scaled.name), 7)
        return Match(
            node,
            shifted.outputs[0],
            values={"x": x, "weight": weight, "bias": bias},
            numbers={"epsilon": added[1]},
        )

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        substitute_node(
            graph,
            match.output,
            "LayerNormalization",
            [match.values["x"], match.values["weight"], match.values["bias"]],
            {"axis": -1, "epsilon": match.numbers["epsilon"]},
            name=f"{match.root.name}.norm",
        )


class FuseLayerNormalization(RulePass):
    """Fuse the eight operators of a layer norm.

    Before::

        x -> ReduceMean(-1) -> Sub(x, .) = d -> Pow(2) -> ReduceMean(-1) -> Add(eps) -> Sqrt = s
        d -> Div(d, s) -> Mul(weight) -> Add(bias) -> y

    After::

        x -> LayerNormalization(weight, bias, eps) -> y

    Source: Ba 2016, "Layer Normalization", equation 4.
    """

    name = "fuse_layer_normalization"
    rules = (_Rule(),)


def _centred(variance: ir.Node) -> tuple[ir.Value, ir.Value] | Refusal:
    """``x - mean(x)`` and x, from the node that makes the variance."""
    if not _over_last(variance):
        return Refusal("the variance is not that of the last axis", str(variance.name), 1)
    centred = _squared(variance.inputs[0])
    if centred is None:
        return Refusal("the variance is not a mean of squares", str(variance.name), 2)
    difference = producer(centred, "Sub")
    x = None if difference is None else difference.inputs[0]
    mean = None if difference is None else producer(difference.inputs[1], "ReduceMean")
    if x is None or mean is None or mean.inputs[0] is not x:
        return Refusal("the mean of x is not subtracted from x", str(variance.name), 3)
    if not _over_last(mean):
        return Refusal("the mean is not that of the last axis", str(mean.name), 4)
    return centred, x


def _over_last(node: ir.Node) -> bool:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or axes.size != 1 or not attribute(node, "keepdims", 1):
        return False
    axis, value = int(axes.reshape(-1)[0]), node.inputs[0]
    rank = 0 if value is None or value.shape is None else len(value.shape)
    return axis == -1 or axis == rank - 1


def _squared(value: ir.Value | None) -> ir.Value | None:
    power = producer(value, "Pow")
    if power is not None:
        return power.inputs[0] if scalar(power.inputs[1]) == 2 else None
    product = producer(value, "Mul")
    same = product is not None and product.inputs[0] is product.inputs[1]
    return product.inputs[0] if product is not None and same else None


def _is_parameter(value: ir.Value | None, x: ir.Value) -> bool:
    array = constant(value)
    return array is not None and array.ndim == 1 and array.size == static_dim(x, -1)
