"""The quantizer: rewrites the linear layers of a float graph into explicit Q/DQ form.

Every engine reads this standard form: the activation goes through QuantizeLinear and
DequantizeLinear with one scale, and the weight is stored in int8 behind a DequantizeLinear with one
scale per output channel. A target's recipe lowers it further.
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
from bert_export.quantization.int8_calibration import CalibratedActivation, Int8Calibration
from bert_export.quantization.linear_layers import (
    LinearLayer,
    find_linear_layers,
    group_linear_layers,
    insert_quantize_dequantize,
    weight_of,
)
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.query_key import (
    find_query_key_operands,
    quantize_operand,
    query_key_pairs,
)
from bert_export.quantization.weights.bias_correction import correct_bias
from bert_export.quantization.weights.embeddings import quantize_embeddings
from bert_export.quantization.weights.gptq import QuantizedWeight
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


_TABLE_OF_HALF = (
    "encoder.embeddings.word_embeddings.weight",
    "decoder.bert.embeddings.word_embeddings.weight",
)


def quantize_graph(
    model: ir.Model,
    calibration: Int8Calibration,
    *,
    scheme: Scheme,
    excluded_layers: Mapping[str, str] | None = None,
) -> list[LayerPlan]:
    """Rewrite linear layers into Q/DQ form, in place.

    Args:
        model: A clone of the float graph that was calibrated.
        calibration: The results of calibration.
        scheme: Number formats.
        excluded_layers: Layers to leave in float besides those of the options, with the reason of
            each. The results for the others stay valid, so a search calibrates once.

    Returns:
        The plan: one entry per linear layer, first those in int8, each part in graph order; then
        one for the word embeddings, where the options ask for them.

    Raises:
        QuantizationError: The graph has nothing to quantize, or no layer of an excluded name.
    """
    graph = model.graph
    options = calibration.options
    layers, float_layers = find_linear_layers(
        model, {**options.excluded_layers, **(excluded_layers or {})}
    )
    groups = group_linear_layers(layers)
    if options.mode == "dynamic":
        dynamic = quantize_dynamically(model, groups, scheme)
        return [*dynamic, *float_layers, *_embeddings(model, options, scheme)]
    # Queries and keys are looked up by the names that calibration saw, which equalization changes.
    operands = find_query_key_operands(model) if scheme.integer_query_key else ()
    # All activations are equalized before any layer is quantized.
    apply_equalizations(graph, groups, calibration.equalizations)
    plan: dict[str, LayerPlan] = {}
    for name, members in groups.items():
        activation = calibration.activations[name]
        parameters = scheme.parameters(activation.low, activation.high)
        dequantized = insert_quantize_dequantize(
            graph, members[0].node, 0, parameters, scheme.activation_type, prefix=f"{name}."
        )
        quantized_weights = _quantize_weights(calibration, name, members, scheme)
        for layer, (quantized, scales) in zip(members, quantized_weights, strict=True):
            if options.bias_correction and activation.means is not None:
                correct_bias(graph, layer, quantized * scales, activation.means)
            _insert_weight(graph, layer, quantized, scales)
            layer.node.replace_input_with(0, dequantized)
            plan[layer.name] = _plan_entry(layer, parameters, activation, options)
    for pair in query_key_pairs(operands, {layer.name for layer in layers}):
        for operand in pair:
            magnitude = calibration.query_key_magnitudes[operand.name]
            scale = quantize_operand(graph, operand, magnitude)
            plan[operand.layer] = replace(plan[operand.layer], output_scale=scale)
    remove_unused(graph)
    int8_layers = [plan[layer.name] for layer in layers]
    return [*int8_layers, *float_layers, *_embeddings(model, options, scheme)]


def _embeddings(
    model: ir.Model, options: QuantizationOptions, scheme: Scheme
) -> tuple[LayerPlan, ...]:
    """Quantize the word embeddings, after the layers: a float decoder would share the table."""
    if not options.embeddings:
        return ()
    tables = [name for name in model.graph.initializers if name.endswith(_TABLE_OF_HALF)]
    if tables:  # the decoder's serves its vocabulary head too, and the encoder is read once
        reason = "tables of an encoder-decoder stay in float"
        return tuple(
            LayerPlan(layer=name.removesuffix(".weight"), precision="fp32", reason=reason)
            for name in tables
        )
    return (quantize_embeddings(model, scheme),)


def _quantize_weights(
    calibration: Int8Calibration, activation: str, members: Sequence[LinearLayer], scheme: Scheme
) -> list[QuantizedWeight]:
    """The weights of the layers that read an activation: by GPTQ, or without it to nearest."""
    weights, largest = [weight_of(layer) for layer in members], scheme.weight_bound
    sample = calibration.activations[activation].sample
    if sample is None:
        return [quantize_weight(weight, largest=largest) for weight in weights]
    return calibration.gptq.quantize(activation, sample, weights, largest=largest)


def _insert_weight(
    graph: ir.Graph, layer: LinearLayer, quantized: NDArray[np.int8], scales: NDArray[np.float32]
) -> None:
    """Store a layer's weight in int8, (K, N), behind a DequantizeLinear."""
    weight = cast("ir.Value", layer.node.inputs[1])
    weight_int8 = new_constant(graph, f"{layer.name}.weight_int8", quantized)
    weight_scale = new_constant(graph, f"{layer.name}.weight_scale", scales)
    dequantize = ir.node(
        "DequantizeLinear",
        [weight_int8, weight_scale],
        {"axis": 1},
        name=f"{layer.name}.dequantize",
        outputs=[ir.Value(name=f"{layer.name}.weight_dequantized", type=weight.type)],
    )
    graph.insert_before(layer.node, dequantize)
    layer.node.replace_input_with(1, dequantize.outputs[0])


def _plan_entry(
    layer: LinearLayer,
    parameters: AffineParameters,
    activation: CalibratedActivation,
    options: QuantizationOptions,
) -> LayerPlan:
    equalization = activation.equalization
    smoothquant, splitting = equalization.smoothquant, equalization.channel_splitting
    return LayerPlan(
        layer=layer.name,
        precision="int8",
        activation_scale=parameters.scale,
        activation_zero_point=parameters.zero_point,
        channel_shifted=equalization.shifts is not None,
        smoothquant=None if smoothquant is None else smoothquant.strength,
        smoothquant_folded=None if smoothquant is None else smoothquant.folded,
        split_channels=0 if splitting is None else splitting.added,
        gptq=activation.sample is not None,
        bias_corrected=options.bias_correction and activation.means is not None,
    )
