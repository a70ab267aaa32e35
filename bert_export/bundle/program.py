"""The program of an engine of our own: fused operations over ragged rows, as one JSON file.

A program stands where other engines have an ONNX graph. Its operations name values, each of which
has rows (one per token, per text or per mask), a width and a number format, and tensors, which lie
in the bundle's file of weights. ``bert_export/targets/native/README.md`` states what each operation
computes and how it rounds; :mod:`bert_export.bundle.program_check` says which programs are legal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from bert_export.bundle.integrity import MALFORMED
from bert_export.bundle.schema import Record, TensorSpec
from bert_export.errors import BundleError, one_line
from bert_export.regular_files import read_regular

__all__ = [
    "PROGRAM_INPUTS",
    "PROGRAM_SCHEMAS",
    "PROGRAM_SUFFIX",
    "Activation",
    "Attention",
    "Concat",
    "Embed",
    "Gather",
    "GatherIndex",
    "Interface",
    "Linear",
    "Norm",
    "Normalize",
    "NumberFormat",
    "Operation",
    "Pool",
    "PoolMode",
    "Program",
    "ProgramCache",
    "ProgramOutput",
    "ProgramTensor",
    "ProgramValue",
    "Quantize",
    "Rows",
    "encode_program",
    "inputs_of",
    "operands",
    "read_program",
    "tensors_of",
]

PROGRAM_SCHEMAS = (1, 2)
"""Of the file; an executor refuses any other. A program with caches is of the second."""

PROGRAM_INPUTS = ("input_ids", "token_type_ids", "masked_positions", "pooling_mask")
"""Arrays that a program may name, in order; the first two always."""

PROGRAM_SUFFIX = ".json"
"""Of a program's file, by which it is told from an ONNX graph."""

_KNOWN = " or ".join(map(str, PROGRAM_SCHEMAS))
_MOST_BYTES = 1 << 26

Rows = Literal["tokens", "texts", "masks"]
"""What a value has one row for."""

NumberFormat = Literal["float32", "bfloat16", "uint8"]
"""Of a value."""

Activation = Literal["none", "gelu", "gelu_tanh", "relu", "tanh", "sigmoid", "silu"]
PoolMode = Literal["mean", "mean_sqrt_len", "weightedmean", "max"]
GatherIndex = Literal["first", "last", "first_pooled", "last_pooled", "masked_positions"]


class ProgramTensor(Record, frozen=True, kw_only=True):
    """A stored tensor, little-endian and in C order.

    Args:
        dtype: Of its elements.
        shape: One or two axes.
        offset: In bytes from the start of the file of weights; a multiple of 64.
    """

    dtype: Literal["float32", "int8"]
    shape: tuple[int, ...]
    offset: int


class ProgramValue(Record, frozen=True, kw_only=True):
    """A value (rows, width) that one operation writes.

    Args:
        rows: What it has one row for.
        width: Of a row.
        dtype: Its number format.
        scale: Of ``uint8`` alone: ``real = scale * (quantized - zero_point)``.
        zero_point: The same.
    """

    rows: Rows
    width: int
    dtype: NumberFormat
    scale: float | None = None
    zero_point: int | None = None


class _Operation(Record, frozen=True, kw_only=True, tag_field="kind"):
    """What all operations have.

    Args:
        outputs: Values that hold the result, each in its own number format.
    """

    outputs: tuple[str, ...]


class Embed(_Operation, frozen=True, kw_only=True, tag="embed"):
    """The sum of three tables' rows, normalized: rows ``tokens``."""

    word: str
    word_scale: str | None
    token_type: str
    position: str
    gamma: str
    beta: str
    epsilon: float


class Norm(_Operation, frozen=True, kw_only=True, tag="norm"):
    """Layer normalization of each row."""

    x: str
    gamma: str
    beta: str
    epsilon: float


class Linear(_Operation, frozen=True, kw_only=True, tag="linear"):
    """``activation(x @ weight + bias) + residual``."""

    x: str
    weight: str
    weight_scale: str | None
    transposed: bool
    bias: str | None
    activation: Activation
    residual: str | None


class Attention(_Operation, frozen=True, kw_only=True, tag="attention", omit_defaults=True):
    """Softmax attention within each text; the query may be one token of each.

    Args:
        cache: Place among the program's caches of the one whose keys and values come first;
            ``None`` where nothing is kept from call to call.
    """

    query: str
    key: str
    value: str
    heads: int
    scale: float
    causal: bool
    cache: int | None = None


class Gather(_Operation, frozen=True, kw_only=True, tag="gather"):
    """Some of the tokens' rows."""

    x: str
    index: GatherIndex


class Pool(_Operation, frozen=True, kw_only=True, tag="pool"):
    """One row per text out of its tokens' rows."""

    x: str
    mode: PoolMode
    mask: Literal["pooling_mask"] | None


class Concat(_Operation, frozen=True, kw_only=True, tag="concat"):
    """Rows of several values, one behind the other."""

    x: tuple[str, ...]


class Normalize(_Operation, frozen=True, kw_only=True, tag="normalize"):
    """Rows scaled to length 1."""

    x: str
    epsilon: float


class Quantize(_Operation, frozen=True, kw_only=True, tag="quantize"):
    """``(x + add) * multiply`` in another number format."""

    x: str
    add: str | None
    multiply: str | None


Operation = Embed | Norm | Linear | Attention | Gather | Pool | Concat | Normalize | Quantize

_TENSORS = (
    *("word", "word_scale", "token_type", "position", "gamma", "beta"),
    *("weight", "weight_scale", "bias", "add", "multiply"),
)
_VALUES = ("x", "residual", "query", "key", "value")
"""Fields of operations that name tensors and values."""


class Interface(Record, frozen=True, kw_only=True):
    """What a caller of padded batches hands over and gets, as the manifest has it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class ProgramOutput(Record, frozen=True, kw_only=True):
    """A result by the name of the task's interface.

    Args:
        name: Such as ``logits``.
        value: In float32.
        column: The one column that it is, ``(rows,)``; all of them, ``(rows, width)``, when
            ``None``.
    """

    name: str
    value: str
    column: int | None


class ProgramCache(Record, frozen=True, kw_only=True):
    """Keys and values of one attention that are kept from call to call, by name in the interface.

    Args:
        past_key: Input of padded batches: keys of earlier tokens.
        past_value: Likewise, values.
        present_key: Output of padded batches: keys of all tokens.
        present_value: Likewise, values.
    """

    past_key: str
    past_value: str
    present_key: str
    present_value: str


class Program(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A program, as its file holds it.

    Args:
        schema: One of :data:`PROGRAM_SCHEMAS`.
        weights: Name of the file of weights beside it.
        interface: Of padded batches.
        inputs: Arrays that a call hands over besides the texts' lengths.
        tensors: By name.
        values: By name.
        operations: In an order in which every value is written before it is read.
        outputs: In the interface's order.
        caches: One for each attention that keeps its keys and values.
    """

    schema: int
    weights: str
    interface: Interface
    inputs: tuple[str, ...]
    tensors: dict[str, ProgramTensor]
    values: dict[str, ProgramValue]
    operations: tuple[Operation, ...]
    outputs: tuple[ProgramOutput, ...]
    caches: tuple[ProgramCache, ...] = ()


class _Schema(msgspec.Struct):
    schema: int


def read_program(path: Path) -> Program:
    """Read a program's file; whether it is legal is another question.

    Raises:
        BundleError: The file is missing, unreadable, or of another schema.
    """
    try:
        text = read_regular(path, most=_MOST_BYTES)
        schema = msgspec.json.decode(text, type=_Schema).schema
        if schema in PROGRAM_SCHEMAS:
            return msgspec.json.decode(text, type=Program)
    except (OSError, ValueError, *MALFORMED) as error:
        raise BundleError(
            f"program {path} cannot be read",
            expected=f"JSON of schema {_KNOWN}",
            got=one_line(error),
            fix="Export the bundle again",
        ) from error
    raise BundleError(
        f"program {path} has another schema",
        expected=_KNOWN,
        got=schema,
        fix="Upgrade bert-export" if schema > max(PROGRAM_SCHEMAS) else "Export the bundle again",
    )


def encode_program(program: Program) -> bytes:
    """The file of a program: two-space indents, one final newline."""
    return msgspec.json.format(msgspec.json.encode(program), indent=2) + b"\n"


def operands(operation: Operation) -> Iterator[tuple[str, str]]:
    """Field and name of every value that an operation reads."""
    for field in _VALUES:
        name = getattr(operation, field, None)
        for one in name if isinstance(name, tuple) else (name,):
            if one is not None:
                yield field, one


def inputs_of(operation: Operation) -> Iterator[str]:
    """Names of the program's inputs that an operation reads besides ids and lengths."""
    if isinstance(operation, Gather) and operation.index == "masked_positions":
        yield operation.index
    pooled = isinstance(operation, Gather) and operation.index.endswith("_pooled")
    if pooled or (isinstance(operation, Pool) and operation.mask is not None):
        yield "pooling_mask"


def tensors_of(operation: Operation) -> Iterator[tuple[str, str]]:
    """Field and name of every tensor that an operation reads."""
    for field in _TENSORS:
        name = getattr(operation, field, None)
        if name is not None:
            yield field, name
