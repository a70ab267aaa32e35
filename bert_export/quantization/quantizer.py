"""The quantiser: linear layers of a float graph into explicit Q/DQ form, and the plan of it.

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
from bert_export.quantization.bias_correction import correct_bias
from bert_export.quantization.dynamic import quantize_dynamically
from bert_export.quantization.embeddings import quantize_embeddings
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.preparation import Preparation, PreparedActivation
from bert_export.quantization.schemes import (
    SCHEMES,
    AffineParameters,
    Scheme,
    affine_parameters,
    quantize_weight,
)
from bert_export.quantization.scores import find_score_operands, quantize_operand, score_pairs
from bert_export.quantization.sites import (
    LinearSite,
    find_sites,
    group_sites,
    insert_levels,
    weight_of,
)
from bert_export.quantization.treatment import apply_treatments

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


def quantize_graph(
    model: ir.Model,
    preparation: Preparation,
    *,
    scheme: Scheme,
    float_layers: Mapping[str, str] | None = None,
) -> list[LayerPlan]:
    """Rewrite linear layers into Q/DQ form, in place.

    Args:
        model: A clone of the float graph that was prepared.
        preparation: What calibration found.
        scheme: Number formats.
        float_layers: Layers to leave in float besides those of the preparation's options, with the
            reason. What was found of the others holds as it is, so that a search calibrates once.

    Returns:
        One plan entry per linear layer of the graph, first those in int8, in graph order; then one
        for the word embeddings, where they are asked for.

    Raises:
        QuantizationError: The graph has nothing to quantise, or no layer of such a name.
    """
    graph = model.graph
    options = preparation.options
    sites, kept = find_sites(model, {**options.float_layers, **(float_layers or {})})
    groups = group_sites(sites)
    if options.mode == "dynamic":
        dynamic = quantize_dynamically(model, groups, scheme)
        return [*dynamic, *kept, *_embeddings(model, options, scheme)]
    operands = find_score_operands(model) if scheme.integer_scores else ()  # as they were observed
    apply_treatments(graph, groups, preparation.treatments)  # before any layer is quantised
    plan: dict[str, LayerPlan] = {}
    for name, members in groups.items():
        prepared = preparation.activations[name]
        means = prepared.means if options.bias_correction else None
        parameters = scheme.parameters(prepared.low, prepared.high)
        value = insert_levels(
            graph, members[0].node, 0, parameters, scheme.activation_type, prefix=f"{name}."
        )
        for site, (levels, scales) in zip(
            members, _round_weights(preparation, name, members, scheme), strict=True
        ):
            if means is not None:
                correct_bias(graph, site, levels * scales, means)
            _insert_weight(graph, site, levels, scales)
            site.node.replace_input_with(0, value)
            plan[site.layer] = _entry(site, parameters, prepared, options)
    for pair in score_pairs(operands, {site.layer for site in sites}):
        for operand in pair:
            scale = quantize_operand(graph, operand, preparation.scores[operand.name])
            plan[operand.layer] = replace(plan[operand.layer], output_scale=scale)
    remove_unused(graph)
    quantised = [plan[site.layer] for site in sites]
    return [*quantised, *kept, *_embeddings(model, options, scheme)]


def _embeddings(
    model: ir.Model, options: QuantizationOptions, scheme: Scheme
) -> tuple[LayerPlan, ...]:
    """The word embeddings, once the layers are done: a float decoder would share the table."""
    return (quantize_embeddings(model, scheme),) if options.embeddings else ()


def _round_weights(
    preparation: Preparation, activation: str, members: Sequence[LinearSite], scheme: Scheme
) -> list[tuple[NDArray[np.int8], NDArray[np.float32]]]:
    """Levels and scales of the weights that read an activation."""
    weights, largest = [weight_of(site) for site in members], scheme.weight_bound
    sample = preparation.activations[activation].sample
    if sample is None:
        return [quantize_weight(weight, largest=largest) for weight in weights]
    return preparation.rounder.round(activation, sample, weights, largest=largest)


def _insert_weight(
    graph: ir.Graph, site: LinearSite, levels: NDArray[np.int8], scales: NDArray[np.float32]
) -> None:
    """Store a layer's weight in int8, levels (K, N), behind a DequantizeLinear."""
    weight = cast("ir.Value", site.node.inputs[1])
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
    site.node.replace_input_with(1, dequantize.outputs[0])


def _entry(
    site: LinearSite,
    parameters: AffineParameters,
    prepared: PreparedActivation,
    options: QuantizationOptions,
) -> LayerPlan:
    treatment = prepared.treatment
    smoothing, splitting = treatment.smoothing, treatment.splitting
    return LayerPlan(
        layer=site.layer,
        precision="int8",
        activation_scale=parameters.scale,
        activation_zero_point=parameters.zero_point,
        centred=treatment.centres is not None,
        smoothing=None if smoothing is None else smoothing.strength,
        smoothing_folded=None if smoothing is None else smoothing.folded,
        split_units=0 if splitting is None else splitting.added,
        gptq=prepared.sample is not None,
        bias_corrected=options.bias_correction and prepared.means is not None,
    )
