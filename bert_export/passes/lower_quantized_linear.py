"""Lower a linear layer in Q/DQ form to one integer matrix product with float output."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from bert_export.passes.editing import CONTRIB, is_vector, producer, sole_reader, substitute_node
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["LowerQuantizedLinear", "count_quantized"]


class _Rule:
    root_op: ClassVar[str] = "MatMul"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        left, right = (producer(value, "DequantizeLinear") for value in node.inputs)
        if left is None or right is None:
            return None
        quantize = producer(left.inputs[0], "QuantizeLinear")
        if quantize is None:
            return Refusal("the activation is not quantized in the graph", str(left.name), 1)
        stored = right.inputs[0]
        if stored is None or not stored.is_initializer():
            return Refusal("the weight is not stored", str(right.name), 2)
        if len(right.inputs) > 2 and right.inputs[2] is not None:
            return Refusal("the weight has a zero point", str(right.name), 3)
        output, bias = node.outputs[0], None
        add = sole_reader(output, "Add")
        if add is not None:
            added = [value for value in add.inputs if value is not output and is_vector(value)]
            if added:
                output, bias = add.outputs[0], added[0]
        return Match(
            node,
            output,
            values={
                "x": quantize.outputs[0],
                "x_scale": quantize.inputs[1],
                "x_zero_point": quantize.inputs[2],
                "weight": stored,
                "weight_scale": right.inputs[1],
                "bias": bias,
            },
        )

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        values = match.values
        substitute_node(
            graph,
            match.output,
            "MatMulIntegerToFloat",
            [
                values["x"],
                values["weight"],
                values["x_scale"],
                values["weight_scale"],
                values["x_zero_point"],
                None,
                values["bias"],
            ],
            name=f"{str(values['weight'].name).removesuffix('.weight_int8')}.linear"
            if values["weight"] is not None
            else f"{match.root.name}.linear",
            domain=CONTRIB,
        )


class LowerQuantizedLinear(RulePass):
    """Rewrite every quantized linear layer.

    Before::

        x -> QuantizeLinear -> DequantizeLinear ─┐
        W (int8) -> DequantizeLinear ────────────┴> MatMul -> Add(bias) -> y

    After::

        x -> QuantizeLinear -> MatMulIntegerToFloat(W, scales, zero points, bias) -> y

    Source: ONNX Runtime's contrib operators, com.microsoft.MatMulIntegerToFloat.
    """

    name = "lower_quantized_linear"
    rules = (_Rule(),)


def count_quantized(model: ir.Model) -> int:
    """How many products take two dequantized operands."""
    return sum(
        node.op_type == "MatMul"
        and all(producer(value, "DequantizeLinear") is not None for value in node.inputs)
        for node in model.graph
    )
