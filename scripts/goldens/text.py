"""A graph as text that a person reviews and a diff compares.

One line per node. Computed values are called after their operator and counted, so that a name from
the tracer never churns; graph inputs and outputs and the tensors of the checkpoint keep theirs.
Weights are written by name, dtype and shape; what a graph is built with, such as an axis or the
factor of a mask, is written out where it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

__all__ = ["graph_text"]

_NAME_WIDTH, _TYPE_WIDTH, _WEIGHT_WIDTH = 24, 38, 58
_LARGEST_LITERAL = 8
_STANDARD = "ai.onnx"


def graph_text(model: ir.Model, title: str) -> str:
    """Write a graph.

    Args:
        model: The graph; it is not changed.
        title: The first line.

    Returns:
        Lines, each with its end; equal graphs give equal text on every machine.
    """
    return "".join(f"{line.rstrip()}\n" for line in _Writer(model.graph).lines(title))


class _Writer:
    """Names for values, and the lines that use them."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._names: dict[ir.Value, str] = {value: str(value.name) for value in graph.inputs}
        self._literals: set[ir.Value] = set()
        outputs = {value: str(value.name) for value in graph.outputs}
        self._name_nodes(graph, Counter(), outputs)
        self._name_stored()

    def lines(self, title: str) -> Iterator[str]:
        graph = self._graph
        yield f"# {title}"
        yield "opset   " + ", ".join(
            f"{domain or _STANDARD} {version}"
            for domain, version in sorted(graph.opset_imports.items())
        )
        yield ""
        for value in graph.inputs:
            yield f"input   {self._names[value]:<{_NAME_WIDTH}} {_type(value)}"
        for value in graph.outputs:
            yield f"output  {self._names[value]:<{_NAME_WIDTH}} {_type(value)}"
        yield ""
        stored = set(graph.initializers.values()) - self._literals
        for value in sorted(stored, key=lambda one: _natural(self._names[one])):
            yield f"weight  {self._names[value]:<{_WEIGHT_WIDTH}} {_type(value)}"
        yield ""
        yield from self._nodes(graph, "")

    def _name_nodes(
        self, graph: ir.Graph, counts: Counter[str], outputs: dict[ir.Value, str]
    ) -> None:
        for node in graph:
            for branch in _branches(node).values():
                self._name_nodes(branch, counts, {})
            for value in node.outputs:
                counts[node.op_type] += 1
                name = f"{node.op_type}_{counts[node.op_type]}"
                self._names[value] = outputs.get(value, name)

    def _name_stored(self) -> None:
        """Names of stored tensors; those that are called after a value follow its name."""
        renamed = {str(value.name): name for value, name in self._names.items()}
        unnamed = 0
        for value in self._graph.initializers.values():
            name = str(value.name)
            root, dot, rest = name.rpartition(".")
            literal = _literal(value)
            if literal is not None:
                self._literals.add(value)
                self._names[value] = literal
            elif dot and root in renamed:
                self._names[value] = f"{renamed[root]}.{rest}"
            elif dot:
                self._names[value] = name
            else:
                unnamed += 1
                self._names[value] = f"constant_{unnamed}"

    def _nodes(self, graph: ir.Graph, indent: str) -> Iterator[str]:
        for node in graph:
            left = ", ".join(self._names[value] for value in node.outputs)
            types = ", ".join(map(_type, node.outputs))
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            operands = ", ".join(
                "" if value is None else self._names[value] for value in node.inputs
            )
            attributes = "".join(
                f" {name}={_attribute(attribute)}"
                for name, attribute in sorted(node.attributes.items())
                if attribute.type != ir.AttributeType.GRAPH
            )
            call = f"{operator}({operands}){attributes}"
            yield f"{indent}{left:<{_NAME_WIDTH}} {types:<{_TYPE_WIDTH}} = {call}"
            for name, branch in _branches(node).items():
                yield f"{indent}  {name}:"
                yield from self._nodes(branch, f"{indent}    ")
                results = ", ".join(self._names[value] for value in branch.outputs)
                yield f"{indent}    gives {results}"


def _branches(node: ir.Node) -> dict[str, ir.Graph]:
    return {
        name: attribute.as_graph()
        for name, attribute in sorted(node.attributes.items(), reverse=True)  # then before else
        if attribute.type == ir.AttributeType.GRAPH
    }


def _type(value: ir.Value) -> str:
    dtype = "?" if value.dtype is None else str(value.dtype.numpy())
    if value.shape is None:
        return f"{dtype} (...)"
    sizes = (axis if isinstance(axis, int) else axis.value or "?" for axis in value.shape)
    return f"{dtype} ({', '.join(map(str, sizes))})"


def _literal(value: ir.Value) -> str | None:
    """A stored tensor that is part of the graph's form: a few numbers, and no weight."""
    content = value.const_value
    if content is None or content.size > _LARGEST_LITERAL:
        return None
    if "." in str(value.name) and content.dtype != ir.DataType.INT64:
        return None
    array = content.numpy()
    if array.ndim == 0:
        return _number(array[()])
    return f"[{', '.join(map(_number, array.reshape(-1)))}]"


def _number(number: Any) -> str:
    if isinstance(number, (bool, np.bool_)):
        return str(bool(number)).lower()
    if isinstance(number, (int, np.integer)):
        return str(int(number))
    return str(np.float32(number))


def _attribute(attribute: ir.Attr) -> str:
    value = attribute.value
    if attribute.name in ("to", "dtype", "output_dtype"):
        return str(ir.DataType(value).numpy())
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_number, value))}]"
    return _number(value)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which layer 10 comes after layer 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]
