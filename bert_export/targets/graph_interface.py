"""What a graph takes and gives, as a manifest says it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from bert_export.bundle import TensorSpec
from bert_export.passes.editing import attribute, constant

__all__ = ["tensor_spec"]

_RESHAPING = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def tensor_spec(value: ir.Value) -> TensorSpec:
    """Name, type, axes and bound of a graph's input or output."""
    assert value.shape is not None, "tracing declared it"
    assert value.dtype is not None, "tracing declared it"
    return TensorSpec(
        name=str(value.name),
        dtype="string" if value.dtype == ir.DataType.STRING else str(value.dtype.numpy()),
        shape=tuple(axis if isinstance(axis, int) else str(axis.value) for axis in value.shape),
        below=min(_table_rows(value), default=None) if value.is_graph_input() else None,
    )


def _table_rows(value: ir.Value) -> Iterator[int]:
    """Rows of the stored tables that values are looked up in, other shapes of them included."""
    for use in value.uses():
        node = use.node
        if node.op_type in _RESHAPING and use.idx == 0:
            yield from _table_rows(node.outputs[0])
        elif node.op_type == "Gather" and use.idx == 1 and attribute(node, "axis", 0) == 0:
            table = constant(node.inputs[0])
            if table is not None:
                yield len(table)
