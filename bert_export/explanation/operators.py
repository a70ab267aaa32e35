"""What one operator gives and costs: shapes and types of its results, operations, bytes.

Every operator that an exported graph may hold has a row in :data:`OPERATORS`; one without a row is
an error that names the node. Graphs compute their shapes from integers that are known without
running them; those are computed here too and cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.errors import BundleError
from bert_export.passes.editing import CONTRIB

__all__ = ["OPERATORS", "Operands", "Result", "Tensor", "run_operator"]

_LARGEST_KNOWN = 64
_SOFTMAX, _QUANTIZE, _DEQUANTIZE = 5, 3, 2
_NORM, _GELU = 6, {"none": 5, "tanh": 9}
_MASKS = (3, 5)
"""Where ``Attention`` and ``MultiHeadAttention`` have what is added to scores."""
_PAST_KEY = 4
"""Where ``Attention`` has the keys of earlier tokens, (B, N, P, D)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What is known of a value.

    Args:
        shape: One size per axis.
        dtype: Type of its elements.
        stored: Whether the graph file holds it.
        quantized: Whether its elements are INT8 values behind a ``DequantizeLinear``, which engines
            fuse with the product that reads it.
        numbers: Its elements, where they are few and known without running the graph.
    """

    shape: tuple[int, ...]
    dtype: ir.DataType
    stored: bool = False
    quantized: bool = False
    numbers: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        """How many elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return math.ceil(self.size * self.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class Result:
    """What an operator gives and costs.

    Args:
        outputs: In order.
        flop: Floating-point operations.
        integer_op: Operations of integer matrix products.
        read: Bytes of stored operands that are read.
        written: Bytes of results that are written.
    """

    outputs: tuple[Tensor, ...]
    flop: int
    integer_op: int
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Operands:
    """A node with what is known of its inputs."""

    node: ir.Node
    tensors: tuple[Tensor | None, ...]

    def __getitem__(self, index: int) -> Tensor:
        tensor = self.get(index)
        if tensor is None:
            raise _broken(self.node, f"an input at {index}", "none")
        return tensor

    def get(self, index: int) -> Tensor | None:
        """An input that may be missing."""
        return self.tensors[index] if index < len(self.tensors) else None

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute's value."""
        stored = self.node.attributes.get(name)
        return default if stored is None else stored.value

    def numbers(self, index: int) -> list[int]:
        """The elements of an input that must be known."""
        numbers = self[index].numbers
        if numbers is None:
            raise _broken(self.node, "a shape that follows from the inputs' shapes", "unknown")
        return [int(number) for number in numbers.reshape(-1)]

    def axis(self, default: int, rank: int | None = None) -> int:
        """The attribute ``axis``, counted from the front."""
        return int(self.attribute("axis", default)) % (rank or len(self[0].shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operator:
    """How the results and the cost of an operator are computed.

    Args:
        shape: Shape of the first result, or a list of shapes where there may be several.
        dtype: Type of the results: a type, the index of the input that has it, or one type for
            each.
        flop: Operations, given operands and result; counted for floats only.
        integer_op: The same for integer products.
        view: Whether the result shares the first input's memory.
        rows: Whether only the rows of a stored first input that the result holds are read.
    """

    shape: Callable[[Operands], tuple[int, ...] | list[tuple[int, ...]]]
    dtype: ir.DataType | int | Callable[[Operands], ir.DataType] | tuple[ir.DataType, ...] = 0
    flop: Callable[[Operands, Tensor], int] | None = None
    integer_op: Callable[[Operands, Tensor], int] | None = None
    view: bool = False
    rows: bool = False


def run_operator(node: ir.Node, tensors: Sequence[Tensor | None]) -> Result:
    """Price one node.

    Args:
        node: Of the graph; it holds no graph of its own.
        tensors: What is known of its inputs, ``None`` where one is left out.

    Raises:
        BundleError: The operator's cost is not known, or its operands do not fit it.
    """
    operator = OPERATORS.get((node.domain, node.op_type))
    if operator is None:
        raise _unknown(node)
    operands = Operands(node, tuple(tensors))
    try:
        shapes = operator.shape(operands)
    except (ValueError, IndexError) as error:
        raise _broken(node, "operands that fit each other", str(error)) from error
    shapes = shapes if isinstance(shapes, list) else [shapes]
    quantized = node.op_type == "DequantizeLinear"
    outputs = tuple(
        Tensor(shape, dtype, quantized=quantized)
        for shape, dtype in zip(shapes, _dtypes(operator, operands, len(shapes)), strict=True)
    )
    known = _fold(operands, outputs[0])
    if known is not None:
        return Result((replace(outputs[0], numbers=known),), 0, 0, 0, 0)
    first = outputs[0]
    arithmetic = (
        operands.get(0) or first
    ).dtype.is_floating_point() or first.dtype.is_floating_point()
    written = 0 if operator.view else sum(output.nbytes for output in outputs)
    stored = [_weight_bytes(tensor) for tensor in operands.tensors]
    if operator.rows and stored[0]:
        stored[0] = first.nbytes
    return Result(
        outputs,
        flop=operator.flop(operands, first) if operator.flop and arithmetic else 0,
        integer_op=operator.integer_op(operands, first) if operator.integer_op else 0,
        read=0 if operator.view else sum(stored),
        written=written,
    )


def _weight_bytes(tensor: Tensor | None) -> int:
    """Bytes of a stored operand; integers that shape a result are no weight."""
    weight = tensor is not None and tensor.stored and tensor.numbers is None
    return tensor.nbytes if tensor is not None and weight else 0


def _unknown(node: ir.Node) -> BundleError:
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return BundleError(
        f"graph node {node.name} has operator {name}, whose cost is not known",
        expected="an operator of bert_export.explanation.operators",
        got=name,
        fix="Explain the bundle with the bert-export that made it",
    )


def _broken(node: ir.Node, expected: str, got: str) -> BundleError:
    return BundleError(
        f"graph node {node.name} ({node.op_type}) cannot be priced",
        expected=expected,
        got=got,
        fix="Export the bundle again",
    )


def _dtypes(operator: _Operator, operands: Operands, count: int) -> tuple[ir.DataType, ...]:
    """The type of each of so many results."""
    dtype = operator.dtype
    if isinstance(dtype, tuple):
        return dtype
    if not isinstance(dtype, ir.DataType):
        dtype = operands[dtype].dtype if isinstance(dtype, int) else dtype(operands)
    return (dtype,) * count


# Shapes


def _same(operands: Operands) -> tuple[int, ...]:
    return operands[0].shape


def _broadcast(operands: Operands) -> tuple[int, ...]:
    return np.broadcast_shapes(*(tensor.shape for tensor in operands.tensors if tensor is not None))


def _product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    if left[-1] != right[-2]:
        raise ValueError(f"shapes {left} and {right}")
    return (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])


def _matmul(operands: Operands) -> tuple[int, ...]:
    return _product(operands[0].shape, operands[1].shape)


def _turned(shape: tuple[int, ...], *, turn: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if turn else shape


def _fused_matmul(operands: Operands) -> tuple[int, ...]:
    return _product(
        _turned(operands[0].shape, turn=bool(operands.attribute("transA", 0))),
        _turned(operands[1].shape, turn=bool(operands.attribute("transB", 0))),
    )


def _letters(operands: Operands) -> tuple[dict[str, int], str]:
    """Size of every letter of an equation, and the result's letters."""
    left, _, right = str(operands.attribute("equation", "")).replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for letters, tensor in zip(left.split(","), operands.tensors, strict=True):
        if tensor is not None:
            sizes |= dict(zip(letters, tensor.shape, strict=True))
    return sizes, right


def _einsum(operands: Operands) -> tuple[int, ...]:
    sizes, letters = _letters(operands)
    return tuple(sizes[letter] for letter in letters)


def _scores(operands: Operands) -> tuple[int, int, int, int, int, int]:
    """Batch, heads, queries, keys, and the widths of a query and of a value."""
    query, key, value = (operands[index].shape for index in range(3))
    if len(query) == 4:
        return (*query[:3], key[2], query[3], value[3])
    heads = int(operands.attribute("q_num_heads", operands.attribute("num_heads", 1)))
    shared = int(operands.attribute("kv_num_heads", heads))
    past = operands.get(_PAST_KEY) if operands.node.op_type == "Attention" else None
    keys = key[1] + (past.shape[2] if past is not None else 0)
    return query[0], heads, query[1], keys, query[2] // heads, value[2] // shared


def _attention(operands: Operands) -> tuple[int, ...] | list[tuple[int, ...]]:
    """The joined heads, and where there is a cache the keys and values of all tokens."""
    batch, heads, queries, keys, key_width, width = _scores(operands)
    if len(operands[0].shape) == 4:
        return batch, heads, queries, width
    joined = (batch, queries, heads * width)
    if len(operands.node.outputs) == 1:
        return joined
    return [joined, (batch, heads, keys, key_width), (batch, heads, keys, width)]


def _gather(operands: Operands) -> tuple[int, ...]:
    data, axis = operands[0].shape, operands.axis(0)
    return (*data[:axis], *operands[1].shape, *data[axis + 1 :])


def _gather_nd(operands: Operands) -> tuple[int, ...]:
    data, index = operands[0].shape, operands[1].shape
    taken = int(operands.attribute("batch_dims", 0)) + index[-1]
    return (*index[:-1], *data[taken:])


def _bounds(operands: Operands) -> dict[int, slice]:
    """The part of every axis that a Slice takes."""
    rank = len(operands[0].shape)
    starts, ends = operands.numbers(1), operands.numbers(2)
    axes = operands.numbers(3) if operands.get(3) else range(len(starts))
    steps = operands.numbers(4) if operands.get(4) else [1] * len(starts)
    return {
        axis % rank: slice(start, end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }


def _slice(operands: Operands) -> tuple[int, ...]:
    parts = _bounds(operands)
    return tuple(
        len(range(size)[parts[axis]]) if axis in parts else size
        for axis, size in enumerate(operands[0].shape)
    )


def _split(operands: Operands) -> list[tuple[int, ...]]:
    shape, axis = operands[0].shape, operands.axis(0)
    count = len(operands.node.outputs)
    whole = math.ceil(shape[axis] / count)
    sizes = (
        operands.numbers(1)
        if operands.get(1)
        else [min(whole, shape[axis] - whole * index) for index in range(count)]
    )
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _concat(operands: Operands) -> tuple[int, ...]:
    shape, axis = operands[0].shape, operands.axis(0)
    joined = sum(tensor.shape[axis] for tensor in operands.tensors if tensor is not None)
    return (*shape[:axis], joined, *shape[axis + 1 :])


def _expand(operands: Operands) -> tuple[int, ...]:
    return np.broadcast_shapes(operands[0].shape, tuple(operands.numbers(1)))


def _reshape(operands: Operands) -> tuple[int, ...]:
    shape, sizes = operands[0].shape, operands.numbers(1)
    if not operands.attribute("allowzero", 0):
        sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    known = math.prod(size for size in sizes if size != -1)
    result = tuple(operands[0].size // max(known, 1) if size == -1 else size for size in sizes)
    if math.prod(result) != operands[0].size:
        raise ValueError(f"shape {shape} and {sizes}")
    return result


def _squeeze(operands: Operands) -> tuple[int, ...]:
    shape = operands[0].shape
    if operands.get(1) is None:
        return tuple(size for size in shape if size != 1)
    dropped = {axis % len(shape) for axis in operands.numbers(1)}
    return tuple(size for axis, size in enumerate(shape) if axis not in dropped)


def _unsqueeze(operands: Operands) -> tuple[int, ...]:
    axes = operands.numbers(1)
    rank = len(operands[0].shape) + len(axes)
    added, sizes = {axis % rank for axis in axes}, iter(operands[0].shape)
    return tuple(1 if axis in added else next(sizes) for axis in range(rank))


def _transpose(operands: Operands) -> tuple[int, ...]:
    shape = operands[0].shape
    order = operands.attribute("perm", None) or reversed(range(len(shape)))
    return tuple(shape[axis] for axis in order)


def _shape_part(operands: Operands) -> tuple[int, ...]:
    return operands[0].shape[operands.attribute("start", 0) : operands.attribute("end", None)]


def _range(operands: Operands) -> tuple[int, ...]:
    start, limit, step = (operands.numbers(index)[0] for index in range(3))
    return (len(range(start, limit, step)),)


def _drop_axes(operands: Operands, axes: Sequence[int]) -> tuple[int, ...]:
    shape = operands[0].shape
    dropped = {axis % len(shape) for axis in axes}
    if operands.attribute("keepdims", 1):
        return tuple(1 if axis in dropped else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in dropped)


def _reduced(operands: Operands) -> tuple[int, ...]:
    if operands.get(1) is not None:
        axes: Sequence[int] = operands.numbers(1)
    else:
        axes = operands.attribute("axes", None) or ()
    if not axes and operands.attribute("noop_with_empty_axes", 0):
        return operands[0].shape
    return _drop_axes(operands, axes or range(len(operands[0].shape)))


def _arg(operands: Operands) -> tuple[int, ...]:
    return _drop_axes(operands, [operands.axis(0)])


# Costs


def _each(count: int) -> Callable[[Operands, Tensor], int]:
    """So many operations per element of the result."""
    return lambda _, result: count * result.size


def _each_input(count: int) -> Callable[[Operands, Tensor], int]:
    """So many operations per element of the first input."""
    return lambda operands, _: count * operands[0].size


def _multiply_add(operands: Operands, result: Tensor) -> int:
    """2 K per element of a product over K."""
    inner = operands[0].shape[-2 if operands.attribute("transA", 0) else -1]
    return 2 * inner * result.size


def _gemm_flop(operands: Operands, result: Tensor) -> int:
    return _multiply_add(operands, result) + (result.size if operands.get(2) else 0)


def _einsum_flop(operands: Operands, _: Tensor) -> int:
    return 2 * math.prod(_letters(operands)[0].values())


def _matmul_integer_op(operands: Operands, result: Tensor) -> int:
    """Operations of a product of INT8 values; its float operations are those of the scales."""
    is_int8 = operands[0].quantized and operands[1].quantized
    return _multiply_add(operands, result) if is_int8 else 0


def _matmul_flop(operands: Operands, result: Tensor) -> int:
    is_int8 = operands[0].quantized and operands[1].quantized
    return result.size if is_int8 else _multiply_add(operands, result)


def _attention_flop(operands: Operands, _: Tensor) -> int:
    """Both products; scaling, perhaps masking, and softmax of every score."""
    batch, heads, queries, keys, query_width, value_width = _scores(operands)
    masked = any(operands.get(place) is not None for place in _MASKS)
    per_score = 2 * (query_width + value_width) + 1 + _SOFTMAX + masked
    return batch * heads * queries * keys * per_score


def _norm_flop(operands: Operands, result: Tensor) -> int:
    return (_NORM + (operands.get(2) is not None)) * result.size


def _gelu_flop(operands: Operands, result: Tensor) -> int:
    form = operands.attribute("approximate", "none")
    return _GELU[form.decode() if isinstance(form, bytes) else form] * result.size


def _rescale_flop(operands: Operands, result: Tensor) -> int:
    """One product with the scales, and the bias."""
    return (1 + (operands.get(6) is not None)) * result.size


def _quantized_type(operands: Operands) -> ir.DataType:
    zero = operands.get(2)
    return ir.DataType.UINT8 if zero is None else zero.dtype


def _cast_type(operands: Operands) -> ir.DataType:
    return ir.DataType(operands.attribute("to", ir.DataType.FLOAT))


_FLOAT, _INT64, _BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL

_UNARY = _Operator(shape=_same, flop=_each(1))
_BINARY = _Operator(shape=_broadcast, flop=_each(1))
_TEST = _Operator(shape=_broadcast, dtype=_BOOL)
_REDUCE = _Operator(shape=_reduced, flop=_each_input(1))

OPERATORS: Mapping[tuple[str, str], _Operator] = {
    # embeddings and selections
    ("", "Gather"): _Operator(shape=_gather, rows=True),
    ("", "GatherElements"): _Operator(shape=lambda operands: operands[1].shape, rows=True),
    ("", "GatherND"): _Operator(shape=_gather_nd, rows=True),
    ("", "Slice"): _Operator(shape=_slice, rows=True),
    ("", "Split"): _Operator(shape=_split),
    # linear layers
    ("", "MatMul"): _Operator(shape=_matmul, flop=_matmul_flop, integer_op=_matmul_integer_op),
    ("", "Gemm"): _Operator(shape=_fused_matmul, flop=_gemm_flop),
    ("", "Einsum"): _Operator(shape=_einsum, flop=_einsum_flop),
    (CONTRIB, "FusedMatMul"): _Operator(shape=_fused_matmul, flop=_multiply_add),
    # attention
    ("", "Softmax"): _Operator(shape=_same, flop=_each(_SOFTMAX)),
    ("", "Attention"): _Operator(shape=_attention, flop=_attention_flop),
    (CONTRIB, "MultiHeadAttention"): _Operator(shape=_attention, flop=_attention_flop),
    # normalization and activations
    ("", "LayerNormalization"): _Operator(shape=_same, flop=_norm_flop),
    ("", "Gelu"): _Operator(shape=_same, flop=_gelu_flop),
    **dict.fromkeys(
        (
            ("", "Erf"),
            ("", "Relu"),
            ("", "Sigmoid"),
            ("", "Tanh"),
            ("", "Sqrt"),
            ("", "Reciprocal"),
            ("", "Clip"),
        ),
        _UNARY,
    ),
    # arithmetic
    **dict.fromkeys(
        (("", "Add"), ("", "Sum"), ("", "Sub"), ("", "Mul"), ("", "Div"), ("", "Pow")), _BINARY
    ),
    **dict.fromkeys(
        (("", "ReduceMax"), ("", "ReduceMin"), ("", "ReduceMean"), ("", "ReduceSum")), _REDUCE
    ),
    ("", "ReduceL2"): _Operator(shape=_reduced, flop=_each_input(2)),
    ("", "ArgMax"): _Operator(shape=_arg, dtype=_INT64, flop=_each_input(1)),
    # masks
    **dict.fromkeys(
        (("", "And"), ("", "Equal"), ("", "IsNaN"), ("", "LessOrEqual"), ("", "Not")), _TEST
    ),
    ("", "CumSum"): _Operator(shape=_same, flop=_each(1)),
    ("", "Range"): _Operator(shape=_range),
    ("", "Where"): _Operator(shape=_broadcast, dtype=1),
    # shapes and layouts
    ("", "Cast"): _Operator(shape=_same, dtype=_cast_type),
    ("", "Concat"): _Operator(shape=_concat),
    ("", "Expand"): _Operator(shape=_expand),
    ("", "Identity"): _Operator(shape=_same, view=True),
    ("", "Reshape"): _Operator(shape=_reshape, view=True),
    ("", "Shape"): _Operator(
        shape=lambda operands: (len(_shape_part(operands)),), dtype=_INT64, view=True
    ),
    ("", "Squeeze"): _Operator(shape=_squeeze, view=True),
    ("", "Transpose"): _Operator(shape=_transpose),
    ("", "Unsqueeze"): _Operator(shape=_unsqueeze, view=True),
    # INT8
    ("", "QuantizeLinear"): _Operator(shape=_same, dtype=_quantized_type, flop=_each(_QUANTIZE)),
    ("", "DynamicQuantizeLinear"): _Operator(
        shape=lambda operands: [operands[0].shape, (), ()],
        dtype=(ir.DataType.UINT8, _FLOAT, ir.DataType.UINT8),
        flop=_each(_QUANTIZE + 2),  # the least and the largest are found first
    ),
    ("", "DequantizeLinear"): _Operator(shape=_same, dtype=1, flop=_each(_DEQUANTIZE)),
    ("", "MatMulInteger"): _Operator(
        shape=_matmul, dtype=ir.DataType.INT32, integer_op=_multiply_add
    ),
    (CONTRIB, "MatMulIntegerToFloat"): _Operator(
        shape=_matmul, dtype=_FLOAT, flop=_rescale_flop, integer_op=_multiply_add
    ),
}
"""By domain and name."""


# Numbers that are known


def _taken(operands: Operands, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.take(arrays[0], arrays[1], axis=operands.axis(0))


def _joined(operands: Operands, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays, axis=operands.axis(0))


def _cut(operands: Operands, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    parts = _bounds(operands)
    return arrays[0][tuple(parts.get(axis, slice(None)) for axis in range(arrays[0].ndim))]


def _first(_: Operands, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0]


_FOLDS: Mapping[str, Callable[[Operands, Sequence[NDArray[Any]]], NDArray[Any]]] = {
    "Add": lambda _, arrays: np.add(*arrays),
    "Concat": _joined,
    "Div": lambda _, arrays: np.floor_divide(*arrays),
    "Equal": lambda _, arrays: np.equal(*arrays),
    "Gather": _taken,
    "Identity": _first,
    "Mul": lambda _, arrays: np.multiply(*arrays),
    "Reshape": _first,
    "Slice": _cut,
    "Squeeze": _first,
    "Sub": lambda _, arrays: np.subtract(*arrays),
    "Unsqueeze": _first,
    "Where": lambda _, arrays: np.where(*arrays),
}


def _fold(operands: Operands, result: Tensor) -> NDArray[Any] | None:
    """The elements of a result that follows from shapes and stored integers."""
    if operands.node.op_type == "Shape":
        return np.array(_shape_part(operands), np.int64)
    fold = _FOLDS.get(operands.node.op_type)
    arrays = [tensor.numbers for tensor in operands.tensors if tensor is not None]
    present = [array for array in arrays if array is not None]
    if fold is None or len(present) != len(arrays) or result.size > _LARGEST_KNOWN:
        return None
    return fold(operands, present).reshape(result.shape)
