"""Convert a float graph to FP16 or BF16, except where that would cost too much accuracy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.errors import PassError
from bert_export.passes.editing import constant
from bert_export.passes.graph_pass import GraphPass, Refusal, remove_unused

__all__ = ["FLOAT32_NODES", "LARGEST", "ConvertPrecision", "set_float32_nodes"]

FLOAT32_NODES = "bert_export.float32_nodes"
"""Key in a model's ``meta``: names of nodes whose results exceed FP16's range on real text."""

_REDUCTIONS = frozenset({"ArgMax", "ReduceL2", "ReduceMean", "ReduceSum"})
_CHEAP = frozenset(
    {
        *("Add", "Cast", "Clip", "Concat", "Div", "Expand", "Mul", "Pow", "Range", "Reciprocal"),
        *("Sqrt", "Squeeze", "Sub", "Unsqueeze"),
    }
)
"""Operators that cost little beside a product: those that stand around a pooling."""

_LOW = {
    ir.DataType.FLOAT16: np.dtype(np.float16),
    ir.DataType.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
LARGEST = {ir.DataType.FLOAT16: 65504.0, ir.DataType.BFLOAT16: 3.3895314e38}
"""The largest finite number of a type."""
_SUFFIX = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
}


def set_float32_nodes(model: ir.Model, names: Collection[str]) -> None:
    """Tell :class:`ConvertPrecision` which nodes overflow; the graph file does not hold it."""
    model.meta[FLOAT32_NODES] = frozenset(names)


class ConvertPrecision(GraphPass):
    """Convert weights and activations, and nothing else: ids stay int64, outputs stay FP32.

    Before::

        W (FP32) -> MatMul -> Add -> LayerNormalization -> ReduceSum -> Div -> y (FP32)

    After::

        W (FP16) -> MatMul -> Add -> LayerNormalization -> Cast -> ReduceSum -> Div -> y (FP32)

    What stays FP32:

    1. Sums over tokens or features (pooling, vector length) with the cheap arithmetic around them:
       the sum of 512 tokens overflows FP16 or rounds every addend, and their guards against a
       division by zero are below its smallest number.
    2. Nodes named by :func:`set_float32_nodes`, and those that read them.
    3. The statistics inside ``LayerNormalization``, whose ``stash_type`` says so, and the sums
       inside ``Softmax`` and the products, which every engine keeps in FP32 registers.
    4. In BF16 ``Einsum``, which the standard does not have in it.

    Weights are rounded to nearest. One whose numbers do not fit is an error, not infinity.

    Args:
        dtype: ``FLOAT16`` or ``BFLOAT16``.
        keep: Further operators that stay FP32, because an engine computes them worse otherwise.
    """

    name = "convert_precision"

    def __init__(self, dtype: ir.DataType, *, keep: Collection[str] = ()) -> None:
        self.dtype = dtype
        missing = ("Einsum",) if dtype == ir.DataType.BFLOAT16 else ()
        self.keep = _REDUCTIONS.union(keep, missing)

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Convert every node that does not stay FP32; each is a site.

        Raises:
            PassError: A weight does not fit the type, or a node holds a branch.
        """
        graph = model.graph
        if any(value.dtype == self.dtype for node in graph for value in node.outputs):
            return 0, ()
        float32_nodes = self.kept_nodes(model)
        types = _Types(graph, self.dtype)
        rewritten = 0
        for node in list(graph):
            if any(
                attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()
            ):
                raise PassError(
                    f"node {node.name} holds a branch",
                    expected="a graph without If",
                    got=node.op_type,
                )
            rewritten += types.convert(
                node, ir.DataType.FLOAT if node in float32_nodes else self.dtype
            )
        types.restore_outputs()
        remove_unused(graph)
        return rewritten, ()

    def kept_nodes(self, model: ir.Model) -> set[ir.Node]:
        """Nodes that stay FP32."""
        graph = model.graph
        listed = [node for node in graph if node.op_type in self.keep and not node.domain]
        sums = [node for node in listed if node.op_type in _REDUCTIONS]
        nodes = set(listed)
        nodes |= _reached(sums, lambda node: (v.producer() for v in node.inputs if v is not None))
        nodes |= _reached(sums, lambda node: (use.node for v in node.outputs for use in v.uses()))
        for node in graph:
            if node.name in model.meta.get(FLOAT32_NODES, ()):
                nodes.add(node)
                nodes.update(use.node for value in node.outputs for use in value.uses())
        return nodes


class _Types:
    """Sets the types of nodes and values, and inserts each cast once."""

    def __init__(self, graph: ir.Graph, low: ir.DataType) -> None:
        self._graph, self._low = graph, low
        self._copies: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def convert(self, node: ir.Node, dtype: ir.DataType) -> bool:
        """Let a node read and write a float type; gives whether it wrote another one before."""
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype in _SUFFIX and value.dtype != dtype:
                node.replace_input_with(place, self._as(value, dtype, node))
        changed = False
        for output in node.outputs:
            if output.dtype in _SUFFIX and output.dtype != dtype:
                output.type = ir.TensorType(dtype)
                changed = True
        if changed and node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", int(dtype))
        return changed

    def restore_outputs(self) -> None:
        """Cast the graph's outputs back to FP32 under their own names."""
        graph = self._graph
        for place, value in enumerate(graph.outputs):
            if value.dtype != self._low:
                continue
            name = str(value.name)
            value.name = f"{name}.{_SUFFIX[self._low]}"
            output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
            graph.append(
                ir.node(
                    "Cast",
                    [value],
                    {"to": ir.DataType.FLOAT},
                    name=f"{name}.cast",
                    outputs=[output],
                )
            )
            graph.outputs[place] = output

    def _as(self, value: ir.Value, dtype: ir.DataType, reader: ir.Node) -> ir.Value:
        """A value in another type: a converted copy of a constant, or a Cast of anything else."""
        known = self._copies.get((value, dtype))
        if known is not None:
            return known
        name = f"{value.name}.{_SUFFIX[dtype]}"
        array = constant(value)
        if array is not None:
            tensor = ir.tensor(_rounded(str(value.name), array, dtype), dtype=dtype, name=name)
            copy = ir.Value(
                name=name, shape=value.shape, type=ir.TensorType(dtype), const_value=tensor
            )
            self._graph.register_initializer(copy)
        else:
            copy = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
            cast = ir.node("Cast", [value], {"to": dtype}, name=name, outputs=[copy])
            made = value.producer()
            if made is None:
                self._graph.insert_before(reader, cast)
            else:
                self._graph.insert_after(made, cast)
        self._copies[value, dtype] = copy
        return copy


def _rounded(name: str, array: NDArray[Any], dtype: ir.DataType) -> NDArray[Any]:
    """A constant rounded to nearest.

    Raises:
        PassError: A finite number became infinite.
    """
    if dtype not in _LOW:
        return array.astype(np.float32)
    with np.errstate(over="ignore"):
        rounded = array.astype(_LOW[dtype])
    if np.isfinite(array).all() and not np.isfinite(rounded.astype(np.float32)).all():
        raise PassError(
            f"constant {name} does not fit {_SUFFIX[dtype]}",
            expected=f"at most {LARGEST[dtype]:g}",
            got=f"{float(np.abs(array).max()):.3g}",
            fix="Export with --bf16 or --fp32",
        )
    return rounded


def _reached(
    start: Iterable[ir.Node], step: Callable[[ir.Node], Iterable[ir.Node | None]]
) -> set[ir.Node]:
    """Nodes that are reached through cheap arithmetic on floats, the start included."""
    reached: set[ir.Node] = set()
    pending = list(start)
    while pending:
        node = pending.pop()
        if node in reached:
            continue
        reached.add(node)
        pending.extend(
            other
            for other in step(node)
            if other is not None and (other.op_type in _CHEAP or other.op_type in _REDUCTIONS)
        )
    return reached
