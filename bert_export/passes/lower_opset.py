"""Declare an older opset, for builders that read no newer one."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir

from bert_export.errors import PassError
from bert_export.passes.graph_pass import GraphPass, Refusal

__all__ = ["LowerOpset", "lower_as_far_as_legal"]

_QUANTIZED_OPSET = 21
"""The first whose QuantizeLinear takes FP16 and BF16."""
_QUANTIZED_OPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 10}
"""Of the file format, as released with an opset; 10 is the latest that graphs here need."""


_OLDEST = 13
"""Reductions and ``Unsqueeze`` take their axes as inputs from here on."""


def lower_as_far_as_legal(model: ir.Model) -> int:
    """Declare the lowest opset, from 13 on, that every standard node is legal in; in place.

    Branches inside nodes count too; nodes of other domains have no say.

    Returns:
        The opset.
    """
    graph = model.graph
    nodes = [node for node in ir.traversal.RecursiveGraphIterator(graph) if not node.domain]
    declared = graph.opset_imports.get("", 0)
    opset = next((each for each in range(_OLDEST, declared) if _is_legal(nodes, each)), declared)
    _declare(model, opset)
    return opset


def _is_legal(nodes: Sequence[ir.Node], opset: int) -> bool:
    try:
        for node in nodes:
            _check(node, opset)
    except PassError:
        return False
    return True


def _declare(model: ir.Model, opset: int) -> None:
    for graph in model.graphs():
        if graph.opset_imports.get("", opset) != opset:
            graph.opset_imports[""] = opset
    model.ir_version = min(model.ir_version, _IR_VERSIONS[opset])


class LowerOpset(GraphPass):
    """Lower the import of the standard operators; no node changes.

    Before::

        opset 23

    After::

        opset 20, or 21 where the graph holds QuantizeLinear or DequantizeLinear

    Every node is compared with the older version of its operator: it must exist, know all the
    node's attributes, and take as many inputs and their types. A standard operator keeps its
    meaning between versions wherever its signature stays; those of these graphs gained types only.

    Source: https://onnx.ai/onnx/operators.
    """

    name = "lower_opset"

    def __init__(self, opset: int = 20) -> None:
        self._opset = opset

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Check every node, then lower the import.

        Raises:
            PassError: A node is not legal in the older opset.
        """
        graph = model.graph
        quantized = any(node.op_type in _QUANTIZED_OPS for node in graph)
        opset = max(self._opset, _QUANTIZED_OPSET) if quantized else self._opset
        if graph.opset_imports.get("", 0) <= opset:
            return 0, ()
        for node in ir.traversal.RecursiveGraphIterator(graph):
            if not node.domain:
                _check(node, opset)
        _declare(model, opset)
        return 1, ()


def _check(node: ir.Node, opset: int) -> None:
    """Compare a node with its operator's schema at an opset."""
    name = f"{node.op_type} node {node.name}"
    try:
        schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=opset)
    except onnx.defs.SchemaError as error:
        raise PassError(
            f"{name} is not in opset {opset}", expected="an older operator", got=node.op_type
        ) from error
    unknown = [attribute for attribute in node.attributes if attribute not in schema.attributes]
    if unknown:
        raise PassError(
            f"{name} has attributes that opset {opset} does not know",
            expected=", ".join(sorted(schema.attributes)) or "none",
            got=", ".join(unknown),
        )
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        raise PassError(
            f"{name} has other inputs than in opset {opset}",
            expected=f"{schema.min_input} to {schema.max_input}",
            got=len(node.inputs),
        )
    parameters = [*schema.inputs]
    for place, value in enumerate(node.inputs):
        parameter = parameters[min(place, len(parameters) - 1)]  # the last may be variadic
        _check_type(name, opset, value, parameter)
    for value, parameter in zip(node.outputs, schema.outputs, strict=False):
        _check_type(name, opset, value, parameter)


def _check_type(
    name: str, opset: int, value: ir.Value | None, parameter: onnx.defs.OpSchema.FormalParameter
) -> None:
    if value is None or value.dtype is None:
        return
    type_name = f"tensor({value.dtype.name.lower()})"
    if type_name not in parameter.types:
        raise PassError(
            f"{name} has a tensor {value.name} whose type opset {opset} does not take",
            expected=" or ".join(sorted(parameter.types)),
            got=type_name,
        )
