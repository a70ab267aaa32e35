"""The quantizer: linear layers of a float graph into explicit Q/DQ form, and the plan of it.

The form is the standard one that every engine reads: the activation goes through QuantizeLinear
and DequantizeLinear with one scale, the weight is stored in int8 behind a DequantizeLinear with
one scale per output channel. A target's recipe lowers it further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import onnx_ir as ir
from msgspec.structs import replace
from numpy.typing import NDArray

from bert_export.bundle import LayerPlan
from bert_export.passes.editing import new_constant
from bert_export.passes.graph_pass import remove_unused
from bert_export.quantization.dynamic import quantize_dynamically
from bert_export.quantization.equalization.equalization import apply_equalizations
from bert_export.quantization.linear_layers import (
    LinearLayer,
    find_linear_layers,
    group_linear_layers,
    insert_quantize_dequantize,
    weight_of,
)
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.preparation import Preparation, PreparedActivation
from bert_export.quantization.query_key import (
    find_query_key_operands,
    quantize_operand,
    query_key_pairs,
)
from bert_export.quantization.weights.bias_correction import correct_bias
from bert_export.quantization.weights.embeddings import quantize_embeddings
from bert_export.quantization.weights.number_formats import (
    SCHEMES,
    AffineParameters,
    Scheme,
    affine_parameters,
    quantize_weight,
)

__all__ = [
    "SCHEMES",
    "AffineParameters",
    "LinearLayer",
    "Scheme",
    "affine_parameters",
    "find_linear_layers",
    "quantize_graph",
    "quantize_weight",
]


def quantize_graph(
    model: ir.Model,
    preparation: Preparation,
    *,
    scheme: Scheme,
    excluded_layers: Mapping[str, str] | None = None,
) -> list[LayerPlan]:
    """Rewrite linear layers into Q/DQ form, in place.

    Args:
        model: A clone of the float graph that was prepared.
        preparation: What calibration found.
        scheme: Number formats.
        excluded_layers: Layers to leave in float besides those of the preparation's options, with
            the reason. What was found of the others holds as it is, so that a search calibrates
            once.

    Returns:
        One plan entry per linear layer of the graph, first those in int8, in graph order; then one
        for the word embeddings, where they are asked for.

    Raises:
        QuantizationError: The graph has nothing to quantize, or no layer of such a name.
    """
    graph = model.graph
    options = preparation.options
    layers, kept = find_linear_layers(model, {**options.excluded_layers, **(excluded_layers or {})})
    groups = group_linear_layers(layers)
    if options.mode == "dynamic":
        dynamic = quantize_dynamically(model, groups, scheme)
        return [*dynamic, *kept, *_embeddings(model, options, scheme)]
    operands = (
        find_query_key_operands(model) if scheme.integer_query_key else ()
    )  # as they were observed
    apply_equalizations(graph, groups, preparation.equalizations)  # before any layer is quantized
    plan: dict[str, LayerPlan] = {}
    for name, members in groups.items():
        prepared = preparation.activations[name]
        means = prepared.means if options.bias_correction else None
        parameters = scheme.parameters(prepared.low, prepared.high)
        value = insert_quantize_dequantize(
            graph, members[0].node, 0, parameters, scheme.activation_type, prefix=f"{name}."
        )
        for layer, (levels, scales) in zip(
            members, _round_weights(preparation, name, members, scheme), strict=True
        ):
            if means is not None:
                correct_bias(graph, layer, levels * scales, means)
            _insert_weight(graph, layer, levels, scales)
            layer.node.replace_input_with(0, value)
            plan[layer.name] = _entry(layer, parameters, prepared, options)
    for pair in query_key_pairs(operands, {layer.name for layer in layers}):
        for operand in pair:
            scale = quantize_operand(graph, operand, preparation.scores[operand.name])
            plan[operand.layer] = replace(plan[operand.layer], output_scale=scale)
    remove_unused(graph)
    quantized = [plan[layer.name] for layer in layers]
    return [*quantized, *kept, *_embeddings(model, options, scheme)]


def _embeddings(
    model: ir.Model, options: QuantizationOptions, scheme: Scheme
) -> tuple[LayerPlan, ...]:
    """The word embeddings, once the layers are done: a float decoder would share the table."""
    return (quantize_embeddings(model, scheme),) if options.embeddings else ()


def _round_weights(
    preparation: Preparation, activation: str, members: Sequence[LinearLayer], scheme: Scheme
) -> list[tuple[NDArray[np.int8], NDArray[np.float32]]]:
    """Levels and scales of the weights that read an activation."""
    weights, largest = [weight_of(layer) for layer in members], scheme.weight_bound
    sample = preparation.activations[activation].sample
    if sample is None:
        return [quantize_weight(weight, largest=largest) for weight in weights]
    return preparation.rounder.round(activation, sample, weights, largest=largest)


def _insert_weight(
    graph: ir.Graph, layer: LinearLayer, levels: NDArray[np.int8], scales: NDArray[np.float32]
) -> None:
    """Store a layer's weight in int8, levels (K, N), behind a DequantizeLinear."""
    weight = cast("ir.Value", layer.node.inputs[1])
    stored = new_constant(graph, f"{layer.name}.weight_int8", levels)
    scale = new_constant(graph, f"{layer.name}.weight_scale", scales)
    dequantize = ir.node(
        "DequantizeLinear",
        [stored, scale],
        {"axis": 1},
        name=f"{layer.name}.dequantize",
        outputs=[ir.Value(name=f"{layer.name}.weight_dequantized", type=weight.type)],
    )
    graph.insert_before(layer.node, dequantize)
    layer.node.replace_input_with(1, dequantize.outputs[0])


def _entry(
    layer: LinearLayer,
    parameters: AffineParameters,
    prepared: PreparedActivation,
    options: QuantizationOptions,
) -> LayerPlan:
    equalization = prepared.equalization
    smoothquant, channel_splitting = equalization.smoothquant, equalization.channel_splitting
    return LayerPlan(
        layer=layer.name,
        precision="int8",
        activation_scale=parameters.scale,
        activation_zero_point=parameters.zero_point,
        channel_shifted=equalization.shifts is not None,
        smoothquant=None if smoothquant is None else smoothquant.strength,
        smoothquant_folded=None if smoothquant is None else smoothquant.folded,
        split_channels=0 if channel_splitting is None else channel_splitting.added,
        gptq=prepared.sample is not None,
        bias_corrected=options.bias_correction and prepared.means is not None,
    )
