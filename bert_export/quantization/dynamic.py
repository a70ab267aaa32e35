"""Dynamic INT8: every call takes the range of an activation from its own batch.

It needs no calibration, and ONNX Runtime's own tool writes it. The range spans the whole padded
batch, so the answer to a text depends on the texts beside it. This form is there for comparison,
and its plan says so. Only ONNX Runtime runs it::

    x -> DynamicQuantizeLinear ─(uint8, scale, zero point)─> MatMulIntegerToFloat(W) -> Add -> y

Source: ONNX operator DynamicQuantizeLinear (opset 11); ONNX Runtime's contrib operator
com.microsoft.MatMulIntegerToFloat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import onnx_ir as ir

from bert_export.bundle import LayerPlan
from bert_export.passes.editing import CONTRIB, new_constant, substitute_node
from bert_export.passes.graph_pass import remove_unused
from bert_export.quantization.linear_layers import LinearLayer, weight_of
from bert_export.quantization.weights.number_formats import Scheme, quantize_weight

__all__ = ["quantize_dynamically"]


def quantize_dynamically(
    model: ir.Model, groups: Mapping[str, Sequence[LinearLayer]], scheme: Scheme
) -> list[LayerPlan]:
    """Rewrite linear layers into the dynamic form, in place.

    Args:
        model: The float graph.
        groups: The layers by the activation that they share.
        scheme: Number formats of the weights. Activations are uint8: the operator has no other.

    Returns:
        One plan entry per layer.
    """
    graph = model.graph
    plan: list[LayerPlan] = []
    for name, members in groups.items():
        value = cast("ir.Value", members[0].node.inputs[0])
        quantize = ir.node(
            "DynamicQuantizeLinear",
            [value],
            name=f"{name}.quantize",
            outputs=[
                ir.Value(
                    name=f"{name}.quantized",
                    shape=value.shape,
                    type=ir.TensorType(ir.DataType.UINT8),
                ),
                ir.Value(
                    name=f"{name}.scale",
                    shape=ir.Shape([]),
                    type=ir.TensorType(ir.DataType.FLOAT),
                ),
                ir.Value(
                    name=f"{name}.zero_point",
                    shape=ir.Shape([]),
                    type=ir.TensorType(ir.DataType.UINT8),
                ),
            ],
        )
        graph.insert_before(members[0].node, quantize)
        quantized, scale, zero_point = quantize.outputs
        for layer in members:
            weight, scales = quantize_weight(weight_of(layer), largest=scheme.weight_bound)
            weight_int8 = new_constant(graph, f"{layer.name}.weight_int8", weight)
            weight_scale = new_constant(graph, f"{layer.name}.weight_scale", scales)
            substitute_node(
                graph,
                layer.node.outputs[0],
                "MatMulIntegerToFloat",
                [quantized, weight_int8, scale, weight_scale, zero_point],
                name=f"{layer.name}.linear",
                domain=CONTRIB,
            )
            plan.append(
                LayerPlan(
                    layer=layer.name, precision="int8", reason="each batch sets its own range"
                )
            )
    remove_unused(graph)
    return plan
