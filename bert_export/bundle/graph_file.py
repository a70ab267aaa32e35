"""What a graph file says of itself: its inputs, its outputs and the files that its weights lie in.

A program says so in its own words (:mod:`bert_export.bundle.program`). An ONNX file is one protocol
buffer, a ``ModelProto``. Services have no ``onnx`` package, and need three things of it only, so
this file reads the wire format: a message is a row of fields, each a number with its wire type, and
a value. Weights lie beside the graph, so that a graph file is small and takes about a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bert_export.bundle.program import PROGRAM_SUFFIX, read_program
from bert_export.bundle.schema import TensorSpec
from bert_export.errors import BundleError, one_line
from bert_export.regular_files import read_regular

__all__ = ["GraphFile", "read_graph_file"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MOST_VARINT_BYTES = 10
_MOST_BYTES = (1 << 31) - 1
"""No protocol buffer is larger."""

_MOST_DEPTH = 32
"""Graphs inside nodes of graphs."""

# Numbers of the fields that are read, by message.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_GRAPH_INPUT, _GRAPH_OUTPUT = 11, 12
_FUNCTION_NODE = 7
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSOR = (5, 10)
_ATTRIBUTE_GRAPH = (6, 11)
_ATTRIBUTE_SPARSE = (22, 23)
_SPARSE_TENSOR = (1, 2)
_TENSOR_EXTERNAL = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_LOCATION = b"location"
"""Key under which a tensor names its weight file."""
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2
_SHAPE_AXIS = 1
_AXIS_SIZE, _AXIS_NAME = 1, 2

_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
"""numpy's names of ONNX's element types, as :class:`TensorSpec` has them."""

_NOTHING = memoryview(b"")

Value = int | memoryview
Fields = Iterator[tuple[int, Value]]


@dataclass(frozen=True, slots=True)
class GraphFile:
    """What is read of a graph file.

    Args:
        inputs: In order; axes without a name and size are called ``name.index``.
        outputs: The same.
        data_files: Where weights lie that are not in the file itself, as the file names them:
            relative to its own folder.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    data_files: frozenset[str]


def read_graph_file(path: Path) -> GraphFile:
    """Read a graph file's interface and the names of its weight files.

    Raises:
        BundleError: The file is missing, unreadable or neither an ONNX graph nor a program.
    """
    if path.suffix == PROGRAM_SUFFIX:
        program = read_program(path)
        interface = program.interface
        return GraphFile(interface.inputs, interface.outputs, frozenset((program.weights,)))
    try:
        return _graph_file(memoryview(read_regular(path, most=_MOST_BYTES)))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"graph {path} cannot be read",
            expected="a readable ONNX graph",
            got=one_line(error),
            fix="Export the bundle again",
        ) from error


def _graph_file(model: memoryview) -> GraphFile:
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    data_files: set[str] = set()
    graphs = 0
    for number, value in _fields(model):
        if number == _MODEL_GRAPH:
            graphs += 1
            graph = _message(value)
            for part, content in _fields(graph):
                if part == _GRAPH_INPUT:
                    inputs.append(_tensor_spec(_message(content)))
                elif part == _GRAPH_OUTPUT:
                    outputs.append(_tensor_spec(_message(content)))
            data_files.update(_data_files_of_graph(graph, 0))
        elif number == _MODEL_FUNCTIONS:
            for part, content in _fields(_message(value)):
                if part == _FUNCTION_NODE:
                    data_files.update(_data_files_of_node(_message(content), 0))
    if graphs != 1:
        raise ValueError(f"{graphs} graphs")
    return GraphFile(tuple(inputs), tuple(outputs), frozenset(data_files))


def _data_files_of_graph(graph: memoryview, depth: int) -> Iterator[str]:
    """Weight files that a graph and the graphs inside its nodes name."""
    if depth > _MOST_DEPTH:
        raise ValueError("graphs are nested too deeply")
    for number, value in _fields(graph):
        if number == _GRAPH_INITIALIZER:
            yield from _data_files_of_tensor(_message(value))
        elif number == _GRAPH_NODE:
            yield from _data_files_of_node(_message(value), depth)
        elif number == _GRAPH_SPARSE:
            yield from _data_files_of_sparse(_message(value))


def _data_files_of_node(node: memoryview, depth: int) -> Iterator[str]:
    if _LOCATION not in bytes(node):  # as in nearly all: constants are initializers
        return
    for number, attribute in _fields(node):
        if number != _NODE_ATTRIBUTE:
            continue
        for kind, value in _fields(_message(attribute)):
            if kind in _ATTRIBUTE_TENSOR:
                yield from _data_files_of_tensor(_message(value))
            elif kind in _ATTRIBUTE_GRAPH:
                yield from _data_files_of_graph(_message(value), depth + 1)
            elif kind in _ATTRIBUTE_SPARSE:
                yield from _data_files_of_sparse(_message(value))


def _data_files_of_sparse(tensor: memoryview) -> Iterator[str]:
    for number, value in _fields(tensor):
        if number in _SPARSE_TENSOR:
            yield from _data_files_of_tensor(_message(value))


def _data_files_of_tensor(tensor: memoryview) -> Iterator[str]:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL:
            entry = dict(_fields(_message(value)))
            if _message(entry.get(_ENTRY_KEY, _NOTHING)) == _LOCATION:
                yield _text(entry.get(_ENTRY_VALUE, _NOTHING))


def _tensor_spec(info: memoryview) -> TensorSpec:
    """An input or output; a ``ValueInfoProto``."""
    fields = dict(_fields(info))
    name = _text(fields.get(_VALUE_NAME, _NOTHING))
    kind = dict(_fields(_message(fields.get(_VALUE_TYPE, _NOTHING))))
    if _TYPE_TENSOR not in kind:
        raise ValueError(f"{name} is no tensor")
    tensor = dict(_fields(_message(kind[_TYPE_TENSOR])))
    element = tensor.get(_TENSOR_ELEMENT, 0)
    if not isinstance(element, int) or element not in _DTYPES:
        raise ValueError(f"{name} is of the element type {element!r}")
    shape: list[str | int] = []
    for number, axis in _fields(_message(tensor.get(_TENSOR_SHAPE, _NOTHING))):
        if number == _SHAPE_AXIS:
            shape.append(_axis(dict(_fields(_message(axis))), f"{name}.{len(shape)}"))
    return TensorSpec(name=name, dtype=_DTYPES[element], shape=tuple(shape))


def _axis(fields: dict[int, Value], default: str) -> str | int:
    """Size or name of an axis; the default where it has neither."""
    if _AXIS_NAME in fields:
        return _text(fields[_AXIS_NAME]) or default
    size = fields.get(_AXIS_SIZE)
    return size if isinstance(size, int) else default


def _fields(message: memoryview) -> Fields:
    """Number and value of every field of a message, in order: a number, or the bytes of it.

    Raises:
        ValueError: The bytes are no message.
    """
    at, end = 0, len(message)
    while at < end:
        tag = message[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(message, at - 1)
        kind = tag & 7
        if kind == _BYTES:
            if at >= end:
                raise ValueError("a field is cut off")
            size = message[at]
            at += 1
            if size >= 0x80:
                size, at = _varint(message, at - 1)
            if at + size > end:
                raise ValueError("a field is longer than the message")
            yield tag >> 3, message[at : at + size]
            at += size
        elif kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
            if at > end:
                raise ValueError("a field is longer than the message")
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first; and where the next field begins."""
    value = 0
    for index, byte in enumerate(message[at : at + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a number is cut off")


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message belongs")  # noqa: TRY004 - of the file
    return value


def _text(value: Value) -> str:
    return bytes(_message(value)).decode()
