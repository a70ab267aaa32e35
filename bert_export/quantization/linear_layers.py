"""The linear layers that INT8 covers, grouped by the activation they share, and Q/DQ for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.bundle import LayerPlan
from bert_export.errors import QuantizationError
from bert_export.passes.editing import (
    constant,
    new_constant,
)
from bert_export.quantization.weights.number_formats import AffineParameters
from bert_export.tracing import linear_layers

__all__ = [
    "QUANTIZED_PREFIXES",
    "LinearLayer",
    "find_linear_layers",
    "group_linear_layers",
    "insert_quantize_dequantize",
    "weight_of",
]

QUANTIZED_PREFIXES = (
    *("bert.encoder.", "bert.pooler.", "cls.predictions."),
    *("encoder.encoder.", "enc_to_dec_proj", "decoder.bert.encoder.", "decoder.cls.predictions."),
)
_OUTSIDE = "outside encoder, pooler and vocabulary head"


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """A linear layer of the graph.

    Args:
        name: Name of its module.
        node: Its MatMul.
        activation: Name of the value that it reads.
    """

    name: str
    node: ir.Node
    activation: str


def find_linear_layers(
    model: ir.Model, excluded_layers: Mapping[str, str] | None = None
) -> tuple[list[LinearLayer], list[LayerPlan]]:
    """Find the linear layers that INT8 covers.

    Args:
        model: The prepared float graph.
        excluded_layers: Names of layers to leave in float, with the reason of each.

    Returns:
        The layers to quantize, and a plan entry with a reason for each that stays in float; both in
        graph order.

    Raises:
        QuantizationError: The graph has no linear layer that INT8 covers, or no layer of an
            excluded name.
    """
    unmatched = dict(excluded_layers or {})
    covered = 0
    layers: list[LinearLayer] = []
    float_layers: list[LayerPlan] = []
    for name, node in linear_layers(model.graph):
        is_covered = name.startswith(QUANTIZED_PREFIXES)
        covered += is_covered
        reason = unmatched.pop(name, None if is_covered else _OUTSIDE)
        if reason is None:
            activation = cast("ir.Value", node.inputs[0])
            layers.append(LinearLayer(name, node, str(activation.name)))
        else:
            float_layers.append(LayerPlan(layer=name, precision="fp32", reason=reason))
    if not covered:
        raise QuantizationError(
            "graph has no linear layer to quantize",
            expected=f"MatMul nodes named after modules of {', '.join(QUANTIZED_PREFIXES)}",
            got="none",
        )
    if unmatched:
        raise QuantizationError(
            f"layer {next(iter(unmatched))} cannot be left in float",
            expected="the name of a linear layer of the graph",
            got=", ".join(unmatched),
        )
    return layers, float_layers


def group_linear_layers(layers: Sequence[LinearLayer]) -> dict[str, list[LinearLayer]]:
    """The layers by the activation that they share, in graph order."""
    groups: dict[str, list[LinearLayer]] = {}
    for layer in layers:
        groups.setdefault(layer.activation, []).append(layer)
    return groups


def weight_of(layer: LinearLayer) -> NDArray[np.float32]:
    """The weight of a float linear layer, float32 (K, N)."""
    weight = constant(layer.node.inputs[1])
    assert weight is not None, "find_linear_layers saw it"
    return weight


def insert_quantize_dequantize(
    graph: ir.Graph,
    node: ir.Node,
    index: int,
    parameters: AffineParameters,
    dtype: str,
    *,
    prefix: str,
) -> ir.Value:
    """Insert QuantizeLinear and DequantizeLinear in front of a node, for one of its inputs.

    Args:
        graph: The graph of the node.
        node: The node. It still reads the float value afterwards; the caller rewires it.
        index: Index of the input.
        parameters: Scale and zero point.
        dtype: Type of the quantized values, ``uint8`` or ``int8``.
        prefix: Prefix of all new names.

    Returns:
        The dequantized value, of the input's shape and type.
    """
    value = node.inputs[index]
    assert value is not None, "the caller saw it"
    scale = new_constant(graph, f"{prefix}scale", np.float32(parameters.scale))
    zero = new_constant(graph, f"{prefix}zero_point", np.array(parameters.zero_point, dtype))
    quantized_type = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
    quantize = ir.node(
        "QuantizeLinear",
        [value, scale, zero],
        name=f"{prefix}quantize",
        outputs=[ir.Value(name=f"{prefix}quantized", shape=value.shape, type=quantized_type)],
    )
    dequantize = ir.node(
        "DequantizeLinear",
        [quantize.outputs[0], scale, zero],
        name=f"{prefix}dequantize",
        outputs=[ir.Value(name=f"{prefix}dequantized", shape=value.shape, type=value.type)],
    )
    graph.insert_before(node, [quantize, dequantize])
    return dequantize.outputs[0]
