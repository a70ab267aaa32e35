"""The linear layers that INT8 covers, grouped by the activation that they read."""

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

QUANTIZED_PREFIXES = ("bert.encoder.", "bert.pooler.", "cls.predictions.")
_OUTSIDE = "outside encoder, pooler and vocabulary head"


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """A linear layer of the graph: its module's name, its MatMul and its input's name."""

    name: str
    node: ir.Node
    activation: str


def find_linear_layers(
    model: ir.Model, excluded_layers: Mapping[str, str] | None = None
) -> tuple[list[LinearLayer], list[LayerPlan]]:
    """Linear layers that INT8 covers, and a plan entry with a reason for each that stays float.

    Args:
        model: The prepared float graph.
        excluded_layers: Layers to leave in float, with the reason.

    Raises:
        QuantizationError: The graph has no linear layer inside the encoder, or none of the name
            that is to stay float.
    """
    wanted = dict(excluded_layers or {})
    covered = 0
    layers: list[LinearLayer] = []
    kept: list[LayerPlan] = []
    for name, node in linear_layers(model.graph):
        inside = name.startswith(QUANTIZED_PREFIXES)
        covered += inside
        reason = wanted.pop(name, None if inside else _OUTSIDE)
        if reason is None:
            activation = cast("ir.Value", node.inputs[0])
            layers.append(LinearLayer(name, node, str(activation.name)))
        else:
            kept.append(LayerPlan(layer=name, precision="fp32", reason=reason))
    if not covered:
        raise QuantizationError(
            "graph has no linear layer to quantize",
            expected=f"MatMul nodes named after modules of {', '.join(QUANTIZED_PREFIXES)}",
            got="none",
        )
    if wanted:
        raise QuantizationError(
            f"layer {next(iter(wanted))} cannot be left in float",
            expected="the name of a linear layer of the graph",
            got=", ".join(wanted),
        )
    return layers, kept


def group_linear_layers(layers: Sequence[LinearLayer]) -> dict[str, list[LinearLayer]]:
    """Sites by the activation that they share, in graph order."""
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
    """Quantize and dequantize what a node reads, right in front of it.

    Args:
        graph: Where the node stands.
        node: The reader; it is left as it is.
        index: Of its input.
        parameters: Scale and zero point.
        dtype: Of the levels, ``uint8`` or ``int8``.
        prefix: Of the names of what is written.

    Returns:
        The dequantized value, of the input's shape and type.
    """
    value = node.inputs[index]
    assert value is not None, "the caller saw it"
    scale = new_constant(graph, f"{prefix}scale", np.float32(parameters.scale))
    zero = new_constant(graph, f"{prefix}zero_point", np.array(parameters.zero_point, dtype))
    levels = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
    quantize = ir.node(
        "QuantizeLinear",
        [value, scale, zero],
        name=f"{prefix}quantize",
        outputs=[ir.Value(name=f"{prefix}quantized", shape=value.shape, type=levels)],
    )
    dequantize = ir.node(
        "DequantizeLinear",
        [quantize.outputs[0], scale, zero],
        name=f"{prefix}dequantize",
        outputs=[ir.Value(name=f"{prefix}dequantized", shape=value.shape, type=value.type)],
    )
    graph.insert_before(node, [quantize, dequantize])
    return dequantize.outputs[0]
