"""Fold three biases of every encoder layer into parameters that cost nothing."""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.editing import (
    Linear,
    add_to_constant,
    attribute,
    constant,
    is_output,
    linear_layer,
    producer,
    use_count,
)
from bert_export.passes.graph_pass import GraphPass, Match, Refusal, Rule, remove_unused

__all__ = ["FOLDED_PER_LAYER", "FoldBiases"]

FOLDED_PER_LAYER = 3
"""Of an encoder layer's six biases: of the keys, of the values, of the feed-forward output."""


class FoldBiases(GraphPass):
    """Remove the biases of three of an encoder layer's six products.

    1. Keys: their bias adds the same number to all scores of a query, which the softmax cancels.
    2. Values: their bias leaves attention as it entered, because the weights of a query sum to one.
       It moves into the bias of the layer behind attention.
    3. Feed-forward output: its bias is added to the residual, which a norm has shifted already. It
       moves into that norm's shift; the layer between them corrects its own bias for it.

    Before::

        k -> MatMul(W_k) -> Add(b_k) ─┐
        q ────────────────────────────┴> Attention -> MatMul(W_o) -> Add(b_o)
        v -> MatMul(W_v) -> Add(b_v) ─┘

        Norm(beta) ─┬> MatMul(W_1) -> Add(b_1) -> Gelu -> MatMul(W_2) -> Add(b_2) ─┐
                    └─────────────────────────────────────────────────────────> Add

    After::

        k -> MatMul(W_k) ─┐
        q ────────────────┴> Attention -> MatMul(W_o) -> Add(b_o + b_v W_o)
        v -> MatMul(W_v) ─┘

        Norm(beta + b_2) ─┬> MatMul(W_1) -> Add(b_1 - b_2 W_1) -> Gelu -> MatMul(W_2) ─┐
                          └──────────────────────────────────────────────────────> Add

    Exact to float32 rounding. The names of the biases that stay do not change.
    """

    name = "fold_biases"

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Run one rule after the other: two of them start from the same node."""
        graph = model.graph
        rewritten = 0
        refusals: list[Refusal] = []
        rules: tuple[Rule, ...] = (_Keys(), _Values(), _Residual())
        for rule in rules:
            for node in list(graph):
                answer = rule.match(node) if node.op_type == rule.root_op else None
                if isinstance(answer, Refusal):
                    refusals.append(answer)
                elif answer is not None:
                    rule.rewrite(graph, answer)
                    rewritten += 1
        if rewritten:
            remove_unused(graph)
        return rewritten, tuple(refusals)


class _Keys:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        layer = linear_layer(node.inputs[1])
        if layer is None or layer.bias is None:
            return None
        if attribute(node, "softcap", 0.0):
            return Refusal("scores are bent before the softmax", str(node.name), 1)
        if use_count(layer.output) != 1 or len(node.outputs) > 1:
            return Refusal("the keys are read elsewhere too", str(node.name), 2)
        return Match(node, layer.output, {"product": layer.matmul.outputs[0]})

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _drop_bias(match)


class _Values:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        layer = linear_layer(node.inputs[2])
        if layer is None or layer.bias is None:
            return None
        if use_count(layer.output) != 1 or len(node.outputs) > 1:
            return Refusal("the values are read elsewhere too", str(node.name), 1)
        following = _layers_behind(node.outputs[0])
        if len(following) != 1 or use_count(node.outputs[0]) != 1:
            return Refusal("attention does not feed one linear layer alone", str(node.name), 2)
        refusal = _bias_refusal(following[0])
        if refusal is not None:
            return refusal
        return Match(
            node,
            layer.output,
            {
                "product": layer.matmul.outputs[0],
                "bias": layer.bias,
                "next": following[0].output,
            },
        )

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _correct_bias(graph, match, _array(match.values["bias"]))
        _drop_bias(match)


class _Residual:
    """From the norm behind the feed-forward block, up to the norm in front of it."""

    root_op: ClassVar[str] = "LayerNormalization"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        add = producer(node.inputs[0], "Add")
        if add is None:
            return None
        for residual, value in (tuple(add.inputs), tuple(reversed(add.inputs))):
            norm, layer = producer(residual, "LayerNormalization"), linear_layer(value)
            if norm is not None and layer is not None and layer.bias is not None:
                return self._check(norm, layer)
        return None

    def _check(self, norm: ir.Node, layer: Linear) -> Match | Refusal | None:
        states = norm.outputs[0]
        following = _layers_behind(states)
        if len(following) != 1:
            return None  # attention: keys and values have no bias to correct
        name = str(layer.matmul.name)
        if use_count(states) != 2 or is_output(states):
            return Refusal("the norm before it is read elsewhere too", name, 1)
        if use_count(layer.output) != 1:
            return Refusal("the layer is read elsewhere too", name, 2)
        refusal = _bias_refusal(following[0])
        if refusal is not None:
            return refusal
        if len(norm.inputs) < 3 or constant(norm.inputs[2]) is None:
            return Refusal("the norm before it has no shift", str(norm.name), 3)
        return Match(
            layer.matmul,
            layer.output,
            {
                "product": layer.matmul.outputs[0],
                "bias": layer.bias,
                "states": states,
                "next": following[0].output,
            },
        )

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        bias = _array(match.values["bias"])
        norm = producer(match.values["states"], "LayerNormalization")
        assert norm is not None, "the match checked it"
        add_to_constant(graph, norm, 2, bias)
        _correct_bias(graph, match, -bias)
        _drop_bias(match)


def _layers_behind(value: ir.Value) -> list[Linear]:
    """The linear layers that read a value."""
    layers = []
    for use in value.uses():
        if use.idx == 0 and use.node.op_type == "MatMul":
            product = use.node.outputs[0]
            adds = [other.node for other in product.uses() if other.node.op_type == "Add"]
            layer = linear_layer(adds[0].outputs[0] if len(adds) == 1 else product)
            if layer is not None:
                layers.append(layer)
    return layers


def _bias_refusal(layer: Linear) -> Refusal | None:
    """Why a layer's bias cannot take over another layer's."""
    at = str(layer.matmul.name)
    if layer.bias is None or use_count(layer.matmul.outputs[0]) != 1:
        return Refusal("the layer behind it has no bias", at, 3)
    if constant(layer.weight) is None:
        return Refusal("the layer behind it is quantized", at, 4)
    return None


def _array(value: ir.Value | None) -> NDArray[np.float64]:
    """A constant of the match, in double precision for sums over a whole axis."""
    array = constant(value)
    assert array is not None, "the match checked it"
    return array.astype(np.float64)


def _correct_bias(graph: ir.Graph, match: Match, by: NDArray[np.float64]) -> None:
    """Add a constant to a layer's input by way of its bias."""
    layer = linear_layer(match.values["next"])
    assert layer is not None, "the match checked it"
    assert layer.add is not None, "as above"
    place = 0 if layer.add.inputs[0] is layer.bias else 1
    add_to_constant(graph, layer.add, place, by @ _array(layer.weight))


def _drop_bias(match: Match) -> None:
    product = cast("ir.Value", match.values["product"])
    ir.convenience.replace_all_uses_with(match.output, product)
