"""Centring: what a channel lies off zero is taken off it, and the layer that reads it adds it back.

One zero point serves a whole tensor, but channels of a BERT lie where they like: after a norm, one
is between 4 and 6 at every token, another between -9 and -8. Levels that reach from -9 to 6 leave
either few. With the middle ``c`` of every channel taken off, the product is what it was::

    x -> MatMul(W) -> Add(b)    =    (x - c) -> MatMul(W) -> Add(b + c W)

Where the subtraction can go decides what it costs:

- Behind an attention it is free: the bias of the values takes it, as the weights of a softmax sum
  to one.
- Behind a normalization it is free: its shift takes it. The residual that reads the same output
  gets ``c`` back from the bias of the layer that it is added to.
- Behind a ``Gather`` of some tokens it is one ``Add`` over these.

Source: Wei et al. 2023, arXiv:2304.09145 (Outlier Suppression+), channel-wise shifting.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.editing import (
    add_to_bias,
    add_to_constant,
    attribute,
    constant,
    insert_node,
    is_output,
    is_vector,
    linear_layer,
    new_constant,
    other_input,
    producer,
    static_dim,
    use_count,
)
from bert_export.quantization.calibration.activation_profile import ActivationProfile
from bert_export.quantization.equalization.smoothquant import is_for_values, values_of
from bert_export.quantization.linear_layers import LinearLayer

__all__ = ["apply_channel_shifts", "can_be_shifted", "is_gathered", "middles"]

_PICKING = ("Gather", "GatherND")


def middles(profile: ActivationProfile) -> NDArray[np.float32]:
    """The middle of every channel's range, float32 (C,)."""
    return 0.5 * (profile.low + profile.high)


def is_gathered(activation: ir.Value) -> bool:
    """Whether an activation is some tokens of another, so few that an ``Add`` costs nothing."""
    return producer(activation, *_PICKING) is not None


def can_be_shifted(activation: ir.Value, layers: Sequence[LinearLayer]) -> bool:
    """Whether the channels of an activation can be moved at no cost, or at next to none.

    Args:
        activation: What the layers read.
        layers: The quantized layers that read it.
    """
    if is_gathered(activation) or is_for_values(activation, layers):
        return True
    norm = producer(activation, "LayerNormalization")
    shifts = norm is not None and len(norm.inputs) > 2 and constant(norm.inputs[2]) is not None
    return shifts and _can_give_back(activation)


def _can_give_back(value: ir.Value) -> bool:
    """Whether all that reads a value can add back what is taken off it."""
    for use in value.uses():
        node = use.node
        if _arranges_rows(node):
            possible = use.idx == 0 and _can_give_back(node.outputs[0])
        elif node.op_type == "Add" and not node.domain:
            layer = linear_layer(other_input(node, value))
            possible = layer is not None and use_count(layer.output) == 1
        else:
            possible = use.idx == 0 and _is_product(node)
        if not possible:
            return False
    return not is_output(value)


def _arranges_rows(node: ir.Node) -> bool:
    """Whether a node picks rows of a value, or counts them otherwise, and leaves channels alone."""
    if node.domain or node.op_type not in (*_PICKING, "Reshape"):
        return False
    channels = static_dim(node.inputs[0], -1)
    if channels is None or static_dim(node.outputs[0], -1) != channels:
        return False
    rank = len(node.inputs[0].shape or ())  # type: ignore[union-attr]
    return node.op_type != "Gather" or attribute(node, "axis", 0) not in (-1, rank - 1)


def _is_product(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and not node.domain and constant(node.inputs[1]) is not None


def apply_channel_shifts(
    graph: ir.Graph,
    activation: ir.Value,
    layers: Sequence[LinearLayer],
    shifts: NDArray[np.float32],
) -> ir.Value:
    """Take the shifts off an activation, in place; in float the graph computes what it did.

    Gathered activations must have their turn before those that they are gathered from, whose
    shifts are other ones.

    Args:
        graph: The float graph.
        activation: What the layers read; see :func:`can_be_shifted`.
        layers: The quantized layers that read it.
        shifts: What is taken off, float32 (C,).

    Returns:
        What the layers read now.
    """
    if is_gathered(activation):
        return _insert(graph, activation, layers, shifts)
    values = values_of(activation)
    if values is not None:
        add_to_bias(graph, values.matmul, -shifts.astype(np.float64))
    else:
        norm = producer(activation, "LayerNormalization")
        assert norm is not None, "can_be_shifted saw it"
        add_to_constant(graph, norm, 2, -shifts)
    _give_back(graph, activation, shifts.astype(np.float64))
    return activation


def _insert(
    graph: ir.Graph,
    activation: ir.Value,
    layers: Sequence[LinearLayer],
    shifts: NDArray[np.float32],
) -> ir.Value:
    """Take the shifts off by an ``Add`` that only the layers read."""
    moved = insert_node(
        graph,
        layers[0].node,
        "Add",
        [activation, new_constant(graph, f"{activation.name}.channel_shifting", -shifts)],
        name=f"{activation.name}.channel_shifted",
        shape=activation.shape,
        dtype=activation.dtype,
    )
    for layer in layers:
        layer.node.replace_input_with(0, moved)
    _give_back(graph, moved, shifts.astype(np.float64))
    return moved


def _give_back(graph: ir.Graph, value: ir.Value, shifts: NDArray[np.float64]) -> None:
    """Let all that reads a value add back what was taken off it."""
    for use in tuple(value.uses()):
        node = use.node
        if _arranges_rows(node):
            _give_back(graph, node.outputs[0], shifts)
        elif _is_product(node):
            weight = constant(node.inputs[1])
            assert weight is not None, "can_be_shifted saw it"
            add_to_bias(graph, node, shifts @ weight)
        elif is_vector(other_input(node, value)):
            add_to_constant(graph, node, 1 - use.idx, shifts)
        else:
            layer = linear_layer(other_input(node, value))
            assert layer is not None, "can_be_shifted saw it"
            add_to_bias(graph, layer.matmul, shifts)
