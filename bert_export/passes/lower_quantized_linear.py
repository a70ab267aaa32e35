"""Lower a linear layer in Q/DQ form to one integer matrix product with float output."""

from __future__ import annotations

from typing import cast

import onnx_ir as ir

from bert_export.errors import PassError

__all__ = ["lower_quantized_linear"]

_DOMAIN = "com.microsoft"


def lower_quantized_linear(model: ir.Model, *, expected: int) -> None:
    """Rewrite every quantised linear layer, in place.

    Before::

        x -> QuantizeLinear -> DequantizeLinear ─┐
        W (int8) -> DequantizeLinear ────────────┴> MatMul -> Add(bias) -> y

    After::

        x -> QuantizeLinear -> MatMulIntegerToFloat(W, scales, zero points, bias) -> y

    Args:
        model: In the form of :mod:`bert_export.quantization.quantizer`.
        expected: How many layers must be rewritten.

    Raises:
        PassError: Another number of layers matched.

    Source: ONNX Runtime's contrib operators, com.microsoft.MatMulIntegerToFloat.
    """
    graph = model.graph
    rewritten = 0
    for node in list(graph):
        parts = _match(node)
        if parts is None:
            continue
        quantize, weight, add, bias = parts
        last = node if add is None else add
        output = last.outputs[0]
        fused = ir.node(
            "MatMulIntegerToFloat",
            [
                quantize.outputs[0], weight.inputs[0], quantize.inputs[1], weight.inputs[1],
                quantize.inputs[2], None, bias,
            ],
            domain=_DOMAIN,
            name=str(weight.name).removesuffix(".dequantize"),
            outputs=[ir.Value(name=output.name, shape=output.shape, type=output.type)],
        )
        graph.insert_before(last, fused)
        ir.convenience.replace_all_uses_with(output, fused.outputs[0], replace_graph_outputs=True)
        graph.remove([last] if add is None else [last, node], safe=True)
        _remove_unused(graph, weight)
        rewritten += 1
    for node in list(graph):
        if node.op_type == "DequantizeLinear":
            _remove_unused(graph, node)
    if rewritten != expected:
        raise PassError(
            "pass lower_quantized_linear missed linear layers", expected=expected, got=rewritten
        )
    model.opset_imports.setdefault(_DOMAIN, 1)


def _match(node: ir.Node) -> tuple[ir.Node, ir.Node, ir.Node | None, ir.Value | None] | None:
    """The activation's QuantizeLinear, the weight's DequantizeLinear, the Add and its bias."""
    if node.op_type != "MatMul":
        return None
    left, right = (cast("ir.Value", value).producer() for value in node.inputs)
    if left is None or right is None:
        return None
    if left.op_type != "DequantizeLinear" or right.op_type != "DequantizeLinear":
        return None
    quantize = cast("ir.Value", left.inputs[0]).producer()
    if quantize is None or not cast("ir.Value", right.inputs[0]).is_initializer():
        return None
    uses = tuple(node.outputs[0].uses())
    if len(uses) == 1 and uses[0].node.op_type == "Add":
        add = uses[0].node
        bias = add.inputs[1 - uses[0].idx]
        if bias is not None and bias.is_initializer() and len(bias.shape or ()) == 1:
            return quantize, right, add, bias
    return quantize, right, None, None


def _remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    if not any(output.uses() or output.is_graph_output() for output in node.outputs):
        graph.remove(node, safe=True)
