"""Store equal weights once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.editing import (
    CONTRIB,
    constant,
    insert_node,
    is_output,
    producer,
    substitute,
)
from bert_export.passes.graph_pass import GraphPass, Refusal, remove_unused

__all__ = ["ShareInitializers"]

_DECODER = "decoder.weight"


class ShareInitializers(GraphPass):
    """Share equal initializers, and the word table with the decoder that is tied to it.

    Before::

        words (V, H)   -> Gather                     decoder (H, V) -> MatMul

    After::

        words (V, H) ─┬> Gather
                      └> FusedMatMul(transB=1)

    Shared weights lose their names, so this pass runs last. The product reads the table as it is
    stored, as fast as it would read a transposed copy.

    Args:
        standard: Write ``words -> Transpose -> MatMul`` instead, for engines that join the two
            and do not know the operator of ONNX Runtime.

    Source: ONNX Runtime's contrib operators, com.microsoft.FusedMatMul.
    """

    name = "share_initializers"

    def __init__(self, *, standard: bool = False) -> None:
        self.standard = standard

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Share first what is equal, then what is equal when transposed."""
        graph = model.graph
        rewritten = _share_equal(graph)
        refusals: list[Refusal] = []
        tables = dict(_tables(graph))
        for node in list(graph):
            if node.op_type != "MatMul" or node.domain:
                continue
            weight, array = node.inputs[1], constant(node.inputs[1])
            if weight is None or array is None or array.ndim != 2:
                continue
            fitting = [value for value, table in tables.items() if table.shape == array.shape[::-1]]
            if not fitting:
                continue
            table = next((v for v in fitting if np.array_equal(tables[v].T, array)), None)
            if table is None:
                if str(weight.name).endswith(_DECODER):
                    reason = "the decoder is not tied to the word table"
                    refusals.append(Refusal(reason, str(node.name)))
                continue
            write = _transposed_product if self.standard else _fused_product
            substitute(node.outputs[0], write(graph, node, table))
            rewritten += 1
        if rewritten:
            remove_unused(graph)
        return rewritten, tuple(refusals)


def _fused_product(graph: ir.Graph, node: ir.Node, table: ir.Value) -> ir.Value:
    operands, name = [node.inputs[0], table], f"{node.name}.tied"
    return insert_node(
        graph, node, "FusedMatMul", operands, {"transB": 1}, name=name, domain=CONTRIB
    )


def _transposed_product(graph: ir.Graph, node: ir.Node, table: ir.Value) -> ir.Value:
    assert table.shape is not None, "a table is stored"
    transposed = insert_node(
        graph,
        node,
        "Transpose",
        [table],
        {"perm": [1, 0]},
        name=f"{node.name}.table",
        shape=list(table.shape)[::-1],
        dtype=table.dtype,
    )
    return insert_node(
        graph, node, "MatMul", [node.inputs[0], transposed], name=f"{node.name}.tied"
    )


def _share_equal(graph: ir.Graph) -> int:
    """Let the first of several equal initializers stand for all."""
    known: dict[tuple[object, ...], ir.Value] = {}
    shared = 0
    for value in list(graph.initializers.values()):
        if value.const_value is None or is_output(value) or value.is_graph_input():
            continue
        array = value.const_value.numpy()
        digest = hashlib.blake2b(np.ascontiguousarray(array).data).digest()
        key = (value.const_value.dtype, array.shape, digest)
        first = known.setdefault(key, value)
        if first is not value:
            ir.convenience.replace_all_uses_with(value, first)
            shared += 1
    return shared


def _tables(graph: ir.Graph) -> Iterator[tuple[ir.Value, NDArray[np.float32]]]:
    """Tables that are read by rows."""
    for node in graph:
        if node.op_type == "Gather" and producer(node.inputs[0]) is None:
            array = constant(node.inputs[0])
            if node.inputs[0] is not None and array is not None and array.ndim == 2:
                yield node.inputs[0], array
