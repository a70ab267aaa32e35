"""Run a graph of FP16 or BF16 tensors on a processor that computes in FP32.

ONNX Runtime's CPU provider runs FP16 graphs as they are: it computes in FP32 and rounds every
result. It has no BF16. A BF16 graph is run as its FP32 twin, in which a pair of casts rounds every
value that the graph declares as BF16. Either way the tensors, scales and casts of the written file
are tested.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import constant
from bert_export.passes.open_graph import open_graph
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession

__all__ = ["float32_twin", "open_rounded"]

_BF16, _FP32 = ir.DataType.BFLOAT16, ir.DataType.FLOAT


def open_rounded(path: Path, *, threads: int | None = None) -> OnnxRuntimeSession:
    """Open a written graph, or its FP32 twin where it holds BF16.

    Args:
        path: The graph file; its weights lie beside it.
        threads: Threads inside an operator.
    """
    model = ir.load(path)
    if not any(value.dtype == _BF16 for node in model.graph for value in node.outputs):
        return OnnxRuntimeSession(path, threads=threads)
    float32_twin(model)
    return open_graph(model, threads=threads)


def float32_twin(model: ir.Model) -> int:
    """Turn every BF16 value into FP32 rounded to BF16, in place; gives how many there were.

    Before::

        x (BF16) -> MatMul(W in BF16) -> y (BF16)

    After::

        x (FP32) -> MatMul(W in FP32, same numbers) -> Cast(BF16) -> Cast(FP32) -> y (FP32)
    """
    graph = model.graph
    for value in graph.initializers.values():
        array = constant(value)
        if value.dtype == _BF16 and array is not None:
            value.const_value = ir.tensor(array.astype(np.float32), name=value.name)
            value.type = ir.TensorType(_FP32)
    rounded = 0
    for node in list(graph):
        for output in node.outputs:
            if output.dtype != _BF16:
                continue
            if node.op_type == "Cast":
                node.attributes["to"] = ir.AttrInt64("to", int(_FP32))
            output.type = ir.TensorType(_FP32)
            _round(graph, node, output)
            rounded += 1
    return rounded


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Put a pair of casts behind a value, for all its readers."""
    readers = tuple(value.uses())
    low = ir.Value(name=f"{value.name}.low", shape=value.shape, type=ir.TensorType(_BF16))
    high = ir.Value(name=f"{value.name}.rounded", shape=value.shape, type=ir.TensorType(_FP32))
    graph.insert_after(
        node,
        [
            ir.node("Cast", [value], {"to": _BF16}, name=str(low.name), outputs=[low]),
            ir.node("Cast", [low], {"to": _FP32}, name=str(high.name), outputs=[high]),
        ],
    )
    for use in readers:
        use.node.replace_input_with(use.idx, high)
