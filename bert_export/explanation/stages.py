"""The cost of a graph by stage and layer.

Passes change the names of nodes, so a node's layer is read off the layer norms before it. A BERT
has one norm after the embeddings and two in every layer, so the number of norms on the way from the
inputs to a node says where the node stands::

    0           embeddings, masks
    1 + 2 l     attention of layer l
    2 + 2 l     feed-forward half of layer l
    from 1 + 2 layers on, the head
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx_ir as ir

from bert_export.errors import BundleError, InputError, one_line
from bert_export.explanation.cost import Cost
from bert_export.explanation.operators import Result, Tensor, run_operator
from bert_export.regular_files import check_regular

__all__ = ["price_stages"]

_RESIDUAL = ("Add", "Sum")
_NORM = "LayerNormalization"
_FORMATS = ("DequantizeLinear", "QuantizeLinear")
_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)
_LARGEST_READ = 64
_MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def price_stages(
    path: Path, *, axes: Mapping[str, int], layers: int
) -> dict[tuple[int | None, str], Cost]:
    """Price a graph file; its external data is neither needed nor read.

    Args:
        path: Of the graph file.
        axes: A size for every dynamic axis of the graph's inputs.
        layers: Of the encoder.

    Returns:
        Costs by layer (``None`` outside the encoder) and stage.

    Raises:
        BundleError: The graph cannot be read or priced, or has fewer norms than its layers need.
        InputError: An axis has no size.
    """
    try:
        check_regular(path)
        graph = ir.load(path).graph
    except Exception as error:  # whatever the parser raised: the file is not ONNX, or not there
        raise BundleError(
            f"graph {path} cannot be read",
            expected="an ONNX file",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="Export or copy the bundle again",
        ) from error
    try:
        return _price(path, graph, axes, layers)
    except _MALFORMED as error:  # nodes that fit together price without any of them
        raise BundleError(
            f"graph {path} has nodes that do not fit together",
            expected="a graph that an engine runs",
            got=f"{type(error).__name__}: {one_line(error)}",
            fix="Export or copy the bundle again",
        ) from error


def _price(
    path: Path, graph: ir.Graph, axes: Mapping[str, int], layers: int
) -> dict[tuple[int | None, str], Cost]:
    known = {value: _input_tensor(value, axes) for value in graph.inputs}
    norms = _count_norms(graph)
    deepest = max(norms.values(), default=0) + any(node.op_type == _NORM for node in graph)
    if deepest < 1 + 2 * layers:
        raise BundleError(
            f"graph {path} has too few layer norms",
            expected=f"{1 + 2 * layers} in a row, for {layers} layers",
            got=deepest,
            fix="Explain the bundle with the bert-export that made it",
        )
    embedding = _before_first_norm(graph, norms)
    costs: dict[tuple[int | None, str], Cost] = {}
    for node, result in _run(graph, known):
        place = _place(node, norms[node], layers, embeds=node in embedding)
        cost = Cost(result.flop, result.integer_op, result.read, result.written)
        if cost != Cost():
            costs[place] = costs.get(place, Cost()) + cost
    return costs


def _input_tensor(value: ir.Value, axes: Mapping[str, int]) -> Tensor:
    sizes = []
    for axis in value.shape or ():
        name = axis if isinstance(axis, int) else str(axis.value)
        size = name if isinstance(name, int) else axes.get(name)
        if size is None:
            raise InputError(
                f"graph input {value.name} has an axis without a size",
                expected=", ".join(axes),
                got=name,
            )
        sizes.append(size)
    return Tensor(tuple(sizes), value.dtype or ir.DataType.INT64)


def _stored_tensor(value: ir.Value) -> Tensor:
    """What is known of an initializer. Small integers are read: they are shapes and axes."""
    content = cast("ir.TensorProtocol", value.const_value)
    shape = tuple(int(size) for size in cast("Iterable[int]", content.shape))
    tensor = Tensor(shape, content.dtype, stored=True)
    inside = not isinstance(content, ir.ExternalTensor)
    if inside and content.dtype in _INTEGERS and tensor.size <= _LARGEST_READ:
        return Tensor(shape, content.dtype, stored=True, numbers=content.numpy())
    return tensor


def _run(graph: ir.Graph, known: dict[ir.Value, Tensor]) -> Iterator[tuple[ir.Node, Result]]:
    """Price node after node; ``known`` grows."""
    known |= {value: _stored_tensor(value) for value in graph.initializers.values()}
    for node in graph:
        branches = list(_branches(node))
        if branches:
            result = max(
                (_run_branch(branch, dict(known)) for branch in branches),
                key=lambda cost: cost.flop + cost.integer_op,
            )
        else:
            operands = [None if value is None else known[value] for value in node.inputs]
            result = run_operator(node, operands)
            if node.op_type == "Transpose" and operands[0] is not None and operands[0].stored:
                # Engines store it transposed; whoever reads it reads a weight.
                result = Result((replace(result.outputs[0], stored=True),), 0, 0, 0, 0)
        known |= dict(zip(node.outputs, result.outputs, strict=False))
        yield node, result


def _run_branch(graph: ir.Graph, known: dict[ir.Value, Tensor]) -> Result:
    """The cost of a graph inside a node, which sees the values around it."""
    results = [result for _, result in _run(graph, known)]
    return Result(
        tuple(known[value] for value in graph.outputs),
        flop=sum(result.flop for result in results),
        integer_op=sum(result.integer_op for result in results),
        read=sum(result.read for result in results),
        written=sum(result.written for result in results),
    )


def _branches(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()


def _operands(node: ir.Node) -> Iterator[ir.Value]:
    """A node's inputs, and what the graphs inside it read."""
    yield from (value for value in node.inputs if value is not None)
    for branch in _branches(node):
        for inner in branch:
            yield from _operands(inner)


def _count_norms(graph: ir.Graph) -> dict[ir.Node, int]:
    """How many layer norms lie on the longest way from the inputs to each node.

    A node that is computed from stored tensors alone stands where its result is read.
    """
    counts: dict[ir.Node, int] = {}
    for node in graph:
        makers: list[Any] = [value.producer() for value in _operands(node)]
        counts[node] = max(
            (counts[maker] + (maker.op_type == _NORM) for maker in makers if maker in counts),
            default=0,
        )
    constant: set[ir.Value] = set(graph.initializers.values())
    for node in graph:
        if constant.issuperset(_operands(node)):
            constant |= set(node.outputs)
    for node in reversed(list(graph)):
        if constant.issuperset(node.outputs):
            readers = [use.node for output in node.outputs for use in output.uses()]
            counts[node] = min(
                (counts[reader] for reader in readers if reader in counts), default=0
            )
    return counts


def _before_first_norm(graph: ir.Graph, norms: Mapping[ir.Node, int]) -> set[ir.Node]:
    """The first norm and everything that it is computed from."""
    embedding = {node for node in graph if node.op_type == _NORM and norms[node] == 0}
    for node in reversed(list(graph)):
        if any(use.node in embedding for output in node.outputs for use in output.uses()):
            embedding.add(node)
    return embedding


def _place(node: ir.Node, norms: int, layers: int, *, embeds: bool) -> tuple[int | None, str]:
    """Layer and stage of a node."""
    layer = (norms - 1) // 2 if 0 < norms <= 2 * layers else None
    if node.op_type in _FORMATS:
        return layer, "quantization"
    if norms == 0:
        table = node.op_type == "Gather" and _is_stored(node.inputs[0])
        return None, "embeddings" if embeds or table else "mask"
    if layer is None:
        return None, "head"
    if node.op_type == _NORM or _is_residual(node):
        return layer, "normalization"
    return layer, "attention" if norms % 2 else "feed-forward"


def _is_stored(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer()


def _is_residual(node: ir.Node) -> bool:
    """Whether a node adds two computed values for a norm to read."""
    return (
        node.op_type in _RESIDUAL
        and not any(map(_is_stored, node.inputs))
        and any(use.node.op_type == _NORM for use in node.outputs[0].uses())
    )
