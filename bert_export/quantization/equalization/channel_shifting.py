"""Channel shifting: subtract each channel's middle from it, and let its readers add it back.

A whole activation has one zero point, but a BERT's channels lie apart: behind a normalization one
stays between 4 and 6 at every token, another between -9 and -8. A range from -9 to 6 leaves few
quantized values to either. Subtracting the middle ``c`` of every channel changes no product::

    x -> MatMul(W) -> Add(b)    =    (x - c) -> MatMul(W) -> Add(b + c W)

What the subtraction costs depends on what computes the activation:

- An attention: nothing. The bias of the values takes it, because softmax weights sum to one.
- A normalization: nothing. Its own bias takes it. The residual branch reads the same output; it
  gets ``c`` back from the bias of the layer that is added to it.
- A ``Gather`` of some tokens: one ``Add`` over these few.

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
from bert_export.quantization.equalization.smoothquant import folds_into_values, value_projection
from bert_export.quantization.linear_layers import LinearLayer

__all__ = ["apply_channel_shifts", "can_be_shifted", "channel_middles", "is_gathered"]

_GATHERS = ("Gather", "GatherND")


def channel_middles(profile: ActivationProfile) -> NDArray[np.float32]:
    """The middle of every channel's range, float32 (C,)."""
    return 0.5 * (profile.low + profile.high)


def is_gathered(activation: ir.Value) -> bool:
    """Whether an activation is a few tokens of another one, so that an ``Add`` costs nothing."""
    return producer(activation, *_GATHERS) is not None


def can_be_shifted(activation: ir.Value, layers: Sequence[LinearLayer]) -> bool:
    """Whether the channels of an activation can be shifted at no cost, or next to none.

    Args:
        activation: What the layers read.
        layers: The quantized layers that read it.
    """
    if is_gathered(activation) or folds_into_values(activation, layers):
        return True
    norm = producer(activation, "LayerNormalization")
    has_bias = norm is not None and len(norm.inputs) > 2 and constant(norm.inputs[2]) is not None
    return has_bias and _readers_can_add_back(activation)


def _readers_can_add_back(value: ir.Value) -> bool:
    """Whether every reader of a value has a bias that can add back what is subtracted from it."""
    for use in value.uses():
        node = use.node
        if _keeps_channels(node):
            possible = use.idx == 0 and _readers_can_add_back(node.outputs[0])
        elif node.op_type == "Add" and not node.domain:  # a residual branch
            layer = linear_layer(other_input(node, value))
            possible = layer is not None and use_count(layer.output) == 1
        else:
            possible = use.idx == 0 and _is_linear(node)
        if not possible:
            return False
    return not is_output(value)


def _keeps_channels(node: ir.Node) -> bool:
    """Whether a node picks or reshapes the tokens of a value and leaves its channels alone."""
    if node.domain or node.op_type not in (*_GATHERS, "Reshape"):
        return False
    channels = static_dim(node.inputs[0], -1)
    if channels is None or static_dim(node.outputs[0], -1) != channels:
        return False
    rank = len(node.inputs[0].shape or ())  # type: ignore[union-attr]
    return node.op_type != "Gather" or attribute(node, "axis", 0) not in (-1, rank - 1)


def _is_linear(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and not node.domain and constant(node.inputs[1]) is not None


def apply_channel_shifts(
    graph: ir.Graph,
    activation: ir.Value,
    layers: Sequence[LinearLayer],
    shifts: NDArray[np.float32],
) -> ir.Value:
    """Subtract the shifts from an activation, in place; the float graph computes the same.

    A gathered activation has shifts of its own. Shift it before the activation that it is gathered
    from.

    Args:
        graph: The float graph.
        activation: What the layers read; see :func:`can_be_shifted`.
        layers: The quantized layers that read it.
        shifts: What is subtracted, float32 (C,).

    Returns:
        What the layers read now.
    """
    if is_gathered(activation):
        return _subtract_by_add(graph, activation, layers, shifts)
    projection = value_projection(activation)
    if projection is not None:
        add_to_bias(graph, projection.matmul, -shifts.astype(np.float64))
    else:
        norm = producer(activation, "LayerNormalization")
        assert norm is not None, "can_be_shifted saw it"
        add_to_constant(graph, norm, 2, -shifts)
    _add_back(graph, activation, shifts.astype(np.float64))
    return activation


def _subtract_by_add(
    graph: ir.Graph,
    activation: ir.Value,
    layers: Sequence[LinearLayer],
    shifts: NDArray[np.float32],
) -> ir.Value:
    """Subtract the shifts by an ``Add`` that only the layers read."""
    # The suffixes are those of earlier versions: the bytes of an export stay the same.
    shifted = insert_node(
        graph,
        layers[0].node,
        "Add",
        [activation, new_constant(graph, f"{activation.name}.centring", -shifts)],
        name=f"{activation.name}.centred",
        shape=activation.shape,
        dtype=activation.dtype,
    )
    for layer in layers:
        layer.node.replace_input_with(0, shifted)
    _add_back(graph, shifted, shifts.astype(np.float64))
    return shifted


def _add_back(graph: ir.Graph, value: ir.Value, shifts: NDArray[np.float64]) -> None:
    """Let every reader of a value add back what was subtracted from it."""
    for use in tuple(value.uses()):
        node = use.node
        if _keeps_channels(node):
            _add_back(graph, node.outputs[0], shifts)
        elif _is_linear(node):
            weight = constant(node.inputs[1])
            assert weight is not None, "can_be_shifted saw it"
            add_to_bias(graph, node, shifts @ weight)
        elif is_vector(other_input(node, value)):  # a bias
            add_to_constant(graph, node, 1 - use.idx, shifts)
        else:  # a residual branch: the layer that is added to it has a bias
            layer = linear_layer(other_input(node, value))
            assert layer is not None, "can_be_shifted saw it"
            add_to_bias(graph, layer.matmul, shifts)
