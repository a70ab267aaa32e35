"""Fold the softmax scale into the weights that make the queries."""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import (
    Linear,
    attribute,
    constant,
    linear_layer,
    producer,
    sole_reader,
    split_scalar,
    use_count,
)
from bert_export.passes.graph_pass import Match, Refusal, Rule, RulePass

__all__ = ["FoldScale"]


class FoldScale(RulePass):
    """Scale weight and bias of the queries once, instead of every score.

    Before::

        x -> MatMul(W) -> Add(b) -> q ... -> MatMul(k) -> Div(sqrt D) -> Softmax
        x -> MatMul(W) -> Add(b) -> q -> Attention(scale = 1 / sqrt D)

    After::

        x -> MatMul(W / sqrt D) -> Add(b / sqrt D) -> q ... -> MatMul(k) -> Softmax
        x -> MatMul(W / sqrt D) -> Add(b / sqrt D) -> q -> Attention(scale = 1)

    The names of weight and bias stay. Exact where D is a power of 4, else to float32 rounding.
    """

    name = "fold_scale"

    @property
    def rules(self) -> tuple[Rule, ...]:  # type: ignore[override]
        return (_Fused(), _Decomposed())


class _Fused:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        scale = attribute(node, "scale", None)
        if scale == 1.0:
            return None
        if scale is None:
            return Refusal("the scale is not written down", str(node.name))
        layer = _query(node.inputs[0])
        if isinstance(layer, Refusal):
            return layer
        return Match(node, node.outputs[0], _parts(layer), {"scale": scale})

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _scale(match)
        match.root.attributes["scale"] = ir.AttrFloat32("scale", 1.0)


class _Decomposed:
    root_op: ClassVar[str] = "Softmax"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        value = node.inputs[0]
        add = producer(value, "Add")
        if add is not None:
            scaled = [side for side in add.inputs if producer(side, "Div", "Mul") is not None]
            value = next((side for side in scaled if _product(side) is not None), None)
        scaling = producer(value, "Div", "Mul")
        product = _product(value)
        if scaling is None or product is None:
            return None
        split = split_scalar(scaling)
        if split is None:
            return Refusal("the scale is not a constant", str(scaling.name), 1)
        layer = _query(product.inputs[0])
        if isinstance(layer, Refusal):
            return layer
        scale = 1 / split[1] if scaling.op_type == "Div" else split[1]
        return Match(
            node, scaling.outputs[0], {**_parts(layer), "scores": product.outputs[0]},
            {"scale": scale},
        )  # fmt: skip

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _scale(match)
        ir.convenience.replace_all_uses_with(match.output, cast("ir.Value", match.values["scores"]))


def _product(value: ir.Value | None) -> ir.Node | None:
    """The product behind a scaling."""
    split = split_scalar(producer(value, "Div", "Mul"))
    return None if split is None else producer(split[0], "MatMul")


def _query(value: ir.Value | None) -> Linear | Refusal:
    """The linear layer of the queries, behind the split into heads."""
    for op_type in ("Transpose", "Reshape"):
        node = producer(value, op_type)
        if node is not None and sole_reader(node.outputs[0], "Reshape", "MatMul", "Transpose"):
            value = node.inputs[0]
    layer = linear_layer(value)
    at = str(getattr(value, "name", None))
    if layer is None:
        return Refusal("the queries do not come from a linear layer", at, 1)
    if use_count(layer.output) != 1:
        return Refusal("the queries are read elsewhere too", at, 2)
    if constant(layer.weight) is None or use_count(layer.weight) != 1:
        return Refusal("the weight of the queries is shared or quantized", at, 3)
    if layer.bias is not None and use_count(layer.bias) != 1:
        return Refusal("the bias of the queries is shared", at, 4)
    return layer


def _parts(layer: Linear) -> dict[str, ir.Value | None]:
    return {"weight": layer.weight, "bias": layer.bias}


def _scale(match: Match) -> None:
    """Scale copies: the arrays may be the checkpoint's own memory."""
    for part in ("weight", "bias"):
        value = match.values[part]
        array = constant(value)
        if value is not None and array is not None:
            scaled = (array * np.float32(match.numbers["scale"])).astype(array.dtype)
            value.const_value = ir.tensor(scaled, name=value.name)
