"""The quantiser: linear layers of a float graph into explicit Q/DQ form, and the plan of it.

The form is the standard one that every engine reads: the activation goes through QuantizeLinear
and DequantizeLinear with one scale, the weight is stored in int8 behind a DequantizeLinear with
one scale per output channel. A target's recipe lowers it further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.bundle import LayerPlan
from bert_export.errors import QuantizationError
from bert_export.passes.editing import new_constant
from bert_export.passes.graph_pass import remove_unused
from bert_export.tracing import linear_layers

__all__ = [
    "SCHEMES",
    "AffineParameters",
    "LinearSite",
    "Scheme",
    "affine_parameters",
    "find_sites",
    "quantize_graph",
    "quantize_weight",
]

QUANTIZED_PREFIXES = ("bert.encoder.", "bert.pooler.")
_STEPS = 255


@dataclass(frozen=True, slots=True)
class LinearSite:
    """A linear layer of the graph: its module's name, its MatMul and its input's name."""

    layer: str
    node: ir.Node
    activation: str


@dataclass(frozen=True, slots=True)
class Scheme:
    """Number formats that suit a processor.

    Args:
        activation_type: ``uint8`` or ``int8``.
        weight_bits: Of the symmetric int8 weights; 7 keeps two products within 16 bits.
        symmetric: Whether activations have no zero point.
    """

    activation_type: str
    weight_bits: int
    symmetric: bool = False

    @property
    def lowest(self) -> int:
        """The smallest activation level."""
        return int(np.iinfo(self.activation_type).min)

    @property
    def weight_bound(self) -> int:
        """The largest weight level."""
        return int(2 ** (self.weight_bits - 1)) - 1

    def parameters(self, low: float, high: float) -> AffineParameters:
        """Scale and zero point of an activation with these bounds."""
        chosen = affine_parameters(low, high, lowest=self.lowest)
        if not self.symmetric:
            return chosen
        largest = np.iinfo(self.activation_type).max
        return AffineParameters(float(np.float32(max(-low, high) / largest)) or 1.0, 0)


SCHEMES: Mapping[str, Scheme] = {
    "x86-64-vnni": Scheme("uint8", 8),
    "x86-64": Scheme("uint8", 7),
    "arm64": Scheme("int8", 8),
}
"""By kind of processor, see :mod:`bert_export.runtime.processor`."""


@dataclass(frozen=True, slots=True)
class AffineParameters:
    """``real = scale * (quantised - zero_point)``."""

    scale: float
    zero_point: int


def find_sites(model: ir.Model) -> tuple[list[LinearSite], list[LayerPlan]]:
    """Linear layers that INT8 covers, and a plan entry with a reason for each that stays float.

    Raises:
        QuantizationError: The graph has no linear layer inside the encoder.
    """
    sites: list[LinearSite] = []
    kept: list[LayerPlan] = []
    for layer, node in linear_layers(model.graph):
        if layer.startswith(QUANTIZED_PREFIXES):
            activation = cast("ir.Value", node.inputs[0])
            sites.append(LinearSite(layer, node, str(activation.name)))
        else:
            kept.append(
                LayerPlan(layer=layer, precision="fp32", reason="outside the encoder and pooler")
            )
    if not sites:
        raise QuantizationError(
            "graph has no linear layer to quantise",
            expected="MatMul nodes named after bert.encoder or bert.pooler modules",
            got="none",
        )
    return sites, kept


def affine_parameters(low: float, high: float, *, lowest: int = 0) -> AffineParameters:
    """Scale and zero point of 256 levels for a range.

    Args:
        low: Lower bound; the range is widened to hold 0, which must stay exact.
        high: Upper bound.
        lowest: The smallest level: 0 for uint8, -128 for int8.

    Raises:
        QuantizationError: The bounds are not finite or not in order.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise QuantizationError(
            "activation range is not valid", expected="finite low <= high", got=f"{low}, {high}"
        )
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / _STEPS)) or 1.0
    return AffineParameters(scale, lowest + int(np.clip(round(-low / scale), 0, _STEPS)))


def quantize_weight(
    weight: NDArray[np.float32], *, largest: int = 127
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale per output channel.

    Args:
        weight: float32 (K, N), as a MatMul's second input.
        largest: The largest level, 127 for 8 bits.

    Returns:
        int8 (K, N) and float32 scales (N,), so that ``weight`` is about ``int8 * scales``.
    """
    bound = np.abs(weight).max(axis=0)  # (N,)
    scales = np.where(bound > 0, bound / largest, 1.0).astype(np.float32)
    levels = np.rint(weight / scales)
    return np.clip(levels, -largest, largest).astype(np.int8), scales


def quantize_graph(
    model: ir.Model,
    sites: Sequence[LinearSite],
    ranges: Mapping[str, tuple[float, float]],
    *,
    scheme: Scheme,
) -> list[LayerPlan]:
    """Rewrite linear layers into Q/DQ form, in place.

    Args:
        model: The float graph.
        sites: From :func:`find_sites`.
        ranges: Bounds of every site's activation.
        scheme: Number formats.

    Returns:
        One plan entry per site, in order.
    """
    graph = model.graph
    dequantized: dict[str, tuple[ir.Value, AffineParameters]] = {}
    plan: list[LayerPlan] = []
    for site in sites:
        if site.activation not in dequantized:
            parameters = scheme.parameters(*ranges[site.activation])
            value = cast("ir.Value", site.node.inputs[0])
            dequantized[site.activation] = (
                _insert_activation(graph, value, site.node, parameters, scheme),
                parameters,
            )
        value, parameters = dequantized[site.activation]
        site.node.replace_input_with(0, value)
        site.node.replace_input_with(1, _insert_weight(graph, site, scheme))
        plan.append(
            LayerPlan(
                layer=site.layer,
                precision="int8",
                activation_scale=parameters.scale,
                activation_zero_point=parameters.zero_point,
            )
        )
    remove_unused(graph)
    return plan


def _insert_activation(
    graph: ir.Graph,
    value: ir.Value,
    before: ir.Node,
    parameters: AffineParameters,
    scheme: Scheme,
) -> ir.Value:
    """Quantise and dequantise a value in front of its first linear layer."""
    name = str(value.name)
    scale = new_constant(graph, f"{name}.scale", np.float32(parameters.scale))
    zero = new_constant(
        graph, f"{name}.zero_point", np.array(parameters.zero_point, scheme.activation_type)
    )
    levels = ir.TensorType(ir.DataType.from_numpy(np.dtype(scheme.activation_type)))
    quantize = ir.node(
        "QuantizeLinear",
        [value, scale, zero],
        name=f"{name}.quantize",
        outputs=[ir.Value(name=f"{name}.quantized", shape=value.shape, type=levels)],
    )
    dequantize = ir.node(
        "DequantizeLinear",
        [quantize.outputs[0], scale, zero],
        name=f"{name}.dequantize",
        outputs=[ir.Value(name=f"{name}.dequantized", shape=value.shape, type=value.type)],
    )
    graph.insert_before(before, [quantize, dequantize])
    return dequantize.outputs[0]


def _insert_weight(graph: ir.Graph, site: LinearSite, scheme: Scheme) -> ir.Value:
    """Store a layer's weight in int8 behind a DequantizeLinear."""
    weight = cast("ir.Value", site.node.inputs[1])
    levels, scales = quantize_weight(
        cast("ir.TensorProtocol", weight.const_value).numpy(), largest=scheme.weight_bound
    )
    stored = new_constant(graph, f"{site.layer}.weight_int8", levels)
    scale = new_constant(graph, f"{site.layer}.weight_scale", scales)
    dequantize = ir.node(
        "DequantizeLinear",
        [stored, scale],
        {"axis": 1},
        name=f"{site.layer}.dequantize",
        outputs=[ir.Value(name=f"{site.layer}.weight_dequantized", type=weight.type)],
    )
    graph.insert_before(site.node, dequantize)
    return dequantize.outputs[0]
