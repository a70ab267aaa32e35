"""Functions that read and change a graph in small steps; every pass is written with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = [
    "CONTRIB",
    "Linear",
    "add_to_bias",
    "add_to_constant",
    "attribute",
    "constant",
    "insert_node",
    "is_output",
    "is_vector",
    "linear_layer",
    "module_name",
    "new_constant",
    "other_input",
    "own_bias",
    "producer",
    "scalar",
    "set_constant",
    "sole_reader",
    "split_scalar",
    "static_dim",
    "substitute",
    "substitute_node",
    "use_count",
]

WEIGHT_SUFFIX = ".weight"

CONTRIB = "com.microsoft"
"""Domain of ONNX Runtime's contrib operators."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer in a graph: ``MatMul`` by a constant, and perhaps ``Add`` of a constant.

    Args:
        matmul: The product; float, or quantized in Q/DQ form.
        add: The addition of the bias, ``None`` without one.
        x: What comes in.
        weight: The product's second input.
        bias: (N,), ``None`` without one.
    """

    matmul: ir.Node
    add: ir.Node | None
    x: ir.Value
    weight: ir.Value
    bias: ir.Value | None

    @property
    def output(self) -> ir.Value:
        """The layer's result."""
        return (self.matmul if self.add is None else self.add).outputs[0]


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes a value, if its operator is one of these standard ones."""
    node = None if value is None else value.producer()
    return node if node is not None and not node.domain and node.op_type in op_types else None


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The array behind an initializer or a ``Constant``; ``None`` for anything else."""
    if value is None:
        return None
    if value.is_initializer() and not value.is_graph_input() and value.const_value is not None:
        return value.const_value.numpy()
    node = producer(value, "Constant")
    tensor = None if node is None else attribute(node, "value", None)
    return None if tensor is None else np.asarray(tensor.numpy())


def scalar(value: ir.Value | None) -> float | None:
    """The number behind a constant with one element."""
    array = constant(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """An attribute's value."""
    stored = node.attributes.get(name)
    return default if stored is None else stored.value


def other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The second operand of a node with two."""
    left, right = node.inputs
    return right if left is value else left


def split_scalar(node: ir.Node | None) -> tuple[ir.Value, float] | None:
    """The variable and the number of a node whose other operand is a constant with one element."""
    if node is None or len(node.inputs) != 2:
        return None
    for value, number in (tuple(node.inputs), tuple(reversed(node.inputs))):
        factor = scalar(number)
        if factor is not None and value is not None:
            return value, factor
    return None


def is_output(value: ir.Value) -> bool:
    """Whether a value is an output of its graph.

    The graph's own list decides: a value that a slice removed from the list still claims to be one.
    """
    graph = value.graph
    return graph is not None and any(output is value for output in graph.outputs)


def use_count(value: ir.Value) -> int:
    """How many inputs of nodes and outputs of the graph a value feeds."""
    return len(tuple(value.uses())) + is_output(value)


def sole_reader(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node that reads a value, if it is the only one and one of these operators."""
    uses = tuple(value.uses())
    if len(uses) != 1 or is_output(value):
        return None
    node = uses[0].node
    return node if not node.domain and node.op_type in op_types else None


def static_dim(value: ir.Value | None, axis: int) -> int | None:
    """The size of an axis, where it is a number."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else None


def is_vector(value: ir.Value | None) -> bool:
    """Whether a value is a constant with one axis."""
    array = constant(value)
    return array is not None and array.ndim == 1


def linear_layer(value: ir.Value | None) -> Linear | None:
    """The linear layer that makes a value."""
    add = producer(value, "Add")
    bias: ir.Value | None = None
    product = value
    if add is not None:
        left, right = add.inputs
        if is_vector(right):
            product, bias = left, right
        elif is_vector(left):
            product, bias = right, left
        else:
            return None
    matmul = producer(product, "MatMul")
    if matmul is None or matmul.inputs[0] is None or matmul.inputs[1] is None:
        return None
    weight = matmul.inputs[1]
    dequantize = producer(weight, "DequantizeLinear")
    stored = weight if dequantize is None else dequantize.inputs[0]
    if stored is None or constant(stored) is None or len(stored.shape or ()) != 2:
        return None
    return Linear(matmul, add, matmul.inputs[0], weight, bias)


def module_name(linear: Linear | None) -> str | None:
    """The module that a linear layer's weight is named after."""
    if linear is None:
        return None
    name = str(linear.weight.name)
    for suffix in (WEIGHT_SUFFIX, ".weight_dequantized"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return None


def new_constant(graph: ir.Graph, name: str, array: Any) -> ir.Value:
    """Store an array as an initializer; one of the same name and content is used again."""
    content = np.asarray(array)
    known = graph.initializers.get(name)
    if known is not None:
        present = constant(known)
        if (
            present is not None
            and present.dtype == content.dtype
            and present.shape == content.shape
            and np.array_equal(present, content)
        ):
            return known
        name = _free_name(graph, name)
    tensor = ir.tensor(content, name=name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(content.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def add_to_constant(graph: ir.Graph, node: ir.Node, index: int, by: NDArray[Any]) -> None:
    """Add to a constant that a node reads; where others read it too, the node gets a copy.

    Args:
        graph: The graph of the node.
        node: The node that reads the constant.
        index: Index of the input.
        by: What is added, of the constant's shape; the sum is taken in double precision.
    """
    value, array = node.inputs[index], constant(node.inputs[index])
    assert value is not None, "the caller saw it"
    assert array is not None, "as above"
    moved = (array.astype(np.float64) + by).astype(array.dtype)
    if use_count(value) == 1:
        value.const_value = ir.tensor(moved, name=value.name)
    else:
        name = f"{node.outputs[0].name}.bias"
        node.replace_input_with(index, new_constant(graph, name, moved))


def own_bias(graph: ir.Graph, product: ir.Node) -> ir.Value:
    """The bias that is added to a product; a bias of zeros is inserted where there is none.

    Args:
        graph: The graph of the product.
        product: A linear layer's ``MatMul`` by a constant.

    Returns:
        An initializer (N,) that nothing else reads.
    """
    output = product.outputs[0]
    add = sole_reader(output, "Add")
    for value in () if add is None else add.inputs:
        if value is not None and is_vector(value) and use_count(value) == 1:
            return value
    weight = constant(product.inputs[1])
    assert weight is not None, "a linear layer's weight is constant"
    name = f"{str(cast('ir.Value', product.inputs[1]).name).removesuffix(WEIGHT_SUFFIX)}.bias"
    bias = new_constant(graph, name, np.zeros(weight.shape[1], dtype=np.float32))
    readers = tuple(output.uses())
    added = ir.node(
        "Add",
        [output, bias],
        name=f"{product.name}.bias",
        outputs=[ir.Value(name=f"{output.name}.biased", shape=output.shape, type=output.type)],
    )
    graph.insert_after(product, added)
    for node, index in readers:
        node.replace_input_with(index, added.outputs[0])
    return bias


def add_to_bias(graph: ir.Graph, product: ir.Node, by: NDArray[np.float64]) -> None:
    """Add to the bias of a product, in place; see :func:`own_bias`.

    Args:
        graph: The graph of the product.
        product: A linear layer's ``MatMul`` by a constant.
        by: What is added, (N,); the sum is taken in double precision.
    """
    bias = own_bias(graph, product)
    offsets = constant(bias)
    assert offsets is not None, "own_bias gives a constant"
    set_constant(bias, offsets + by)


def set_constant(value: ir.Value, array: NDArray[np.floating[Any]]) -> None:
    """Let an initializer hold another array, as float32; clones of the graph keep the old one."""
    content = np.ascontiguousarray(array, dtype=np.float32)
    value.const_value = ir.tensor(content, name=value.name)
    value.shape = ir.Shape(array.shape)


def insert_node(
    graph: ir.Graph,
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    name: str,
    shape: Sequence[Any] | ir.Shape | None = None,
    dtype: ir.DataType | None = None,
    domain: str = "",
    outputs: int = 1,
) -> ir.Value:
    """Insert a node in front of another.

    Args:
        graph: The graph of both.
        before: The node in front of which the new one is inserted.
        op_type: The operator.
        inputs: Its operands.
        attributes: Its attributes.
        name: Name of the node and of its output.
        shape: Shape of the output, where it is known.
        dtype: Type of the output, where it is known.
        domain: Domain of the operator; the graph imports it.
        outputs: How many it has; name, shape and type are those of the first.

    Returns:
        The first output.
    """
    if domain:
        graph.opset_imports.setdefault(domain, 1)
    output = ir.Value(
        name=name,
        shape=shape if shape is None or isinstance(shape, ir.Shape) else ir.Shape(shape),
        type=None if dtype is None else ir.TensorType(dtype),
    )
    node = ir.node(
        op_type,
        inputs,
        dict(attributes or {}),
        domain=domain,
        name=name,
        outputs=[output, *(ir.Value(name=f"{name}.{index}") for index in range(1, outputs))],
    )
    graph.insert_before(before, node)
    return output


def substitute(old: ir.Value, new: ir.Value) -> None:
    """Let all readers of ``old`` read ``new``, which gets its name, shape and type."""
    name = old.name
    new.shape, new.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name = f"{name}.replaced"
    new.name = name


def substitute_node(
    graph: ir.Graph,
    old: ir.Value,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    name: str,
    domain: str = "",
    further: Sequence[ir.Value] = (),
) -> None:
    """Let a new node compute what a node computed so far: all readers of ``old`` read its output.

    Args:
        graph: The graph of both.
        old: What is computed; the new node is inserted in front of the node that does so.
        op_type: The operator; this and the rest as in :func:`insert_node`.
        inputs: Its operands.
        attributes: Its attributes.
        name: Name of the node.
        domain: Domain of the operator.
        further: What the second and the following outputs of the new node take the place of.
    """
    before = old.producer()
    assert before is not None, "a rewrite replaces what a node computes"
    new = insert_node(
        graph,
        before,
        op_type,
        inputs,
        attributes,
        name=name,
        domain=domain,
        outputs=1 + len(further),
    )
    made = new.producer()
    assert made is not None, "insert_node made it"
    for value, output in zip((old, *further), made.outputs, strict=True):
        substitute(value, output)


def _free_name(graph: ir.Graph, name: str) -> str:
    number = 1
    while f"{name}.{number}" in graph.initializers:
        number += 1
    return f"{name}.{number}"
