"""Which programs are legal: written as data, and checked before anything runs.

The C++ executor checks the same when it loads a program. What is not legal is refused with one
line that names the operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.bundle.program import (
    PROGRAM_INPUTS,
    Attention,
    Concat,
    Embed,
    Gather,
    Linear,
    Norm,
    Normalize,
    Operation,
    Pool,
    Program,
    ProgramTensor,
    ProgramValue,
    Quantize,
    inputs_of,
    tensors_of,
)
from bert_export.bundle.schema import TensorSpec
from bert_export.errors import BundleError, shown
from bert_export.tasks.interface import (
    BATCH,
    CHOICES,
    MASKED,
    MASKED_POSITIONS,
    PAST,
    SEQUENCE,
    TOTAL,
)

__all__ = ["MOST_WIDTH", "check_program"]

MOST_WIDTH = 65535
"""Of a row: sums of that many products of 8-bit numbers fit 32 bits."""

_ALIGNMENT = 64
_MOST_ELEMENTS = 1 << 31
_SIZES = {"float32": 4, "int8": 1}
_LEAST_SCALE, _MOST_SCALE = 2.0**-126, 2.0**126
"""Of bytes: a scale and its inverse have all digits of a float32."""


class _IllegalError(Exception):
    """Why a program is not legal: expected and got."""

    def __init__(self, what: str, *, expected: object, got: object) -> None:
        super().__init__(what)
        self.expected, self.got = expected, got


@dataclass(frozen=True, slots=True)
class _Scope:
    """What an operation's check may look up."""

    program: Program
    written: Mapping[str, ProgramValue]

    def value(self, name: str, *, dtypes: Sequence[str], rows: Sequence[str] = ()) -> ProgramValue:
        """A value that is written already, of one of these formats and rows."""
        if name not in self.written:
            raise _IllegalError(
                f"reads the value {shown(name)}", expected="one that is written before", got="none"
            )
        value = self.written[name]
        _one_of(f"reads the value {shown(name)}", value.dtype, dtypes)
        if rows:
            _one_of(f"reads the value {shown(name)}", value.rows, rows)
        return value

    def tensor(self, name: str, dtype: str, shape: Sequence[int | None]) -> ProgramTensor:
        """A stored tensor of this type and shape; ``None`` for any size."""
        tensor = self.program.tensors.get(name)
        if tensor is None:
            raise _IllegalError(
                f"reads the tensor {shown(name)}", expected="a stored one", got="none"
            )
        fits = len(shape) == len(tensor.shape) and all(
            size in (None, own) for size, own in zip(shape, tensor.shape, strict=True)
        )
        if tensor.dtype != dtype or not fits:
            sizes = ", ".join("any" if size is None else str(size) for size in shape)
            raise _IllegalError(
                f"reads the tensor {shown(name)}",
                expected=f"{dtype} ({sizes})",
                got=f"{tensor.dtype} {tensor.shape}",
            )
        return tensor


def check_program(program: Program, weights: Path, *, where: object = "program") -> None:
    """Refuse a program that is not legal.

    Args:
        program: As read.
        weights: The file of its tensors.
        where: What messages call it, such as its path.

    Raises:
        BundleError: It is not; names the operation or tensor and what is wrong with it.
    """
    written: dict[str, ProgramValue] = {}
    index = None
    try:
        _check_tensors(program, weights)
        for index, operation in enumerate(program.operations):  # noqa: B007 - the message names it
            written.update(_check_operation(operation, _Scope(program, written)))
        index = None
        _check_whole(program, written, weights)
    except _IllegalError as problem:
        place = (
            "it"
            if index is None
            else f"operation {index} ({type(program.operations[index]).__name__.lower()})"
        )
        raise BundleError(
            f"{where} is not legal: {place} {problem}",
            expected=problem.expected,
            got=problem.got,
            fix="Export the bundle again",
        ) from None


def _check_operation(operation: Operation, scope: _Scope) -> dict[str, ProgramValue]:
    """The values that a legal operation writes."""
    rows, width = _CHECKS[type(operation)](operation, scope)
    if not 0 < width <= MOST_WIDTH:
        raise _IllegalError("has a width", expected=f"1 to {MOST_WIDTH}", got=width)
    return dict(_results(operation, scope, rows, width))


def _one_of(what: str, got: object, choices: Sequence[object]) -> None:
    if got not in choices:
        raise _IllegalError(what, expected=" or ".join(map(str, choices)), got=got)


def _check_tensors(program: Program, weights: Path) -> None:
    """Every tensor lies within the file, and scales are positive numbers."""
    size = weights.stat().st_size if weights.is_file() else -1
    if size < 0:
        raise _IllegalError(
            "reads no weights", expected=f"a file {weights.name} beside it", got="none"
        )
    scales = {
        name
        for operation in program.operations
        for field, name in tensors_of(operation)
        if field.endswith("_scale")
    }
    for name, tensor in program.tensors.items():
        elements = math.prod(tensor.shape)
        if not 1 <= len(tensor.shape) <= 2 or not 0 < elements < _MOST_ELEMENTS:
            raise _IllegalError(
                f"has the tensor {shown(name)}", expected="one or two axes", got=tensor.shape
            )
        end = tensor.offset + elements * _SIZES[tensor.dtype]
        if tensor.offset < 0 or tensor.offset % _ALIGNMENT or end > size:
            raise _IllegalError(
                f"has the tensor {shown(name)} outside of {weights.name}",
                expected=f"an offset that {_ALIGNMENT} divides, and an end within {size} bytes",
                got=f"{tensor.offset} to {end}",
            )
        if name in scales and tensor.dtype == "float32":
            array = np.fromfile(weights, "<f4", elements, offset=tensor.offset)
            if not (np.isfinite(array).all() and (array > 0).all()):
                raise _IllegalError(
                    f"has the tensor {shown(name)} of scales",
                    expected="finite numbers above 0",
                    got=f"{array.min()} to {array.max()}",
                )


def _results(
    operation: Operation, scope: _Scope, rows: str, width: int
) -> Iterator[tuple[str, ProgramValue]]:
    """The values that an operation writes, each checked."""
    names, formats = operation.outputs, []
    if not names:
        raise _IllegalError("writes nothing", expected="one value at least", got="none")
    for name in names:
        value = scope.program.values.get(name)
        if value is None or name in scope.written:
            raise _IllegalError(
                f"writes the value {shown(name)}",
                expected="a declared one that is written once",
                got="none" if value is None else "one that is written before",
            )
        if (value.rows, value.width) != (rows, width):
            raise _IllegalError(
                f"writes the value {shown(name)}",
                expected=f"{rows} of width {width}",
                got=f"{value.rows} of width {value.width}",
            )
        _check_format(name, value)
        _one_of(f"writes the value {shown(name)}", value.dtype, _written_formats(operation))
        formats.append(value.dtype)
        yield name, value
    if len(set(formats)) < len(formats) or (isinstance(operation, _SINGLE) and len(formats) > 1):
        raise _IllegalError("writes values", expected="each format once", got=", ".join(formats))


def _check_format(name: str, value: ProgramValue) -> None:
    quantized = value.dtype == "uint8"
    scale, zero = value.scale, value.zero_point
    if quantized:
        fits = (
            scale is not None
            and zero is not None
            and _LEAST_SCALE <= scale <= _MOST_SCALE
            and scale == float(np.float32(scale))
            and 0 <= zero <= 255
        )
    else:
        fits = scale is None and zero is None
    if not fits:
        raise _IllegalError(
            f"writes the value {shown(name)}",
            expected="a float32 scale from 2^-126 to 2^126 and a zero point of 0 to 255"
            if quantized
            else "no scale",
            got=f"{scale}, {zero}",
        )


_SINGLE = (Gather, Pool, Concat, Normalize, Quantize)


def _written_formats(operation: Operation) -> tuple[str, ...]:
    if isinstance(operation, Pool | Concat | Normalize):
        return ("float32",)
    if isinstance(operation, Quantize):
        return ("uint8", "bfloat16")
    return ("float32", "bfloat16", "uint8")


def _check_positive(field: str, number: float) -> None:
    """A number that is finite and above 0 as a float32 too."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = float(np.float32(number))
    if not (math.isfinite(rounded) and rounded > 0):
        raise _IllegalError(
            f"has the {field}", expected="a finite float32 number above 0", got=number
        )


def _embed(operation: Embed, scope: _Scope) -> tuple[str, int]:
    word = scope.program.tensors.get(operation.word)
    width = word.shape[-1] if word is not None else 0
    scaled = operation.word_scale is not None
    word = scope.tensor(operation.word, "int8" if scaled else "float32", (None, width))
    if operation.word_scale is not None:
        scope.tensor(operation.word_scale, "float32", (word.shape[0],))
    scope.tensor(operation.token_type, "float32", (None, width))
    scope.tensor(operation.position, "float32", (None, width))
    _check_norm(operation, width, scope)
    return "tokens", width


def _check_norm(operation: Embed | Norm, width: int, scope: _Scope) -> None:
    scope.tensor(operation.gamma, "float32", (width,))
    scope.tensor(operation.beta, "float32", (width,))
    _check_positive("epsilon", operation.epsilon)


def _norm(operation: Norm, scope: _Scope) -> tuple[str, int]:
    x = scope.value(operation.x, dtypes=("float32",))
    _check_norm(operation, x.width, scope)
    return x.rows, x.width


def _linear(operation: Linear, scope: _Scope) -> tuple[str, int]:
    x = scope.value(operation.x, dtypes=("uint8", "float32", "bfloat16"))
    integer = x.dtype == "uint8"
    if integer != (operation.weight_scale is not None):
        raise _IllegalError(
            "has a weight_scale that does not fit its x",
            expected="one for uint8 alone",
            got=f"x in {x.dtype}",
        )
    shape = (None, x.width) if operation.transposed else (x.width, None)
    weight = scope.tensor(operation.weight, "int8" if integer else "float32", shape)
    width = weight.shape[0 if operation.transposed else 1]
    for name in (operation.weight_scale, operation.bias):
        if name is not None:
            scope.tensor(name, "float32", (width,))
    if operation.residual is not None:
        residual = scope.value(operation.residual, dtypes=("float32",), rows=(x.rows,))
        _one_of(f"adds the residual {shown(operation.residual)} of width", residual.width, (width,))
    return x.rows, width


def _attention(operation: Attention, scope: _Scope) -> tuple[str, int]:
    formats = ("float32", "bfloat16")
    query = scope.value(operation.query, dtypes=formats, rows=("tokens", "texts"))
    for name in (operation.key, operation.value):
        other = scope.value(name, dtypes=(query.dtype,), rows=("tokens",))
        _one_of(f"reads the value {shown(name)} of width", other.width, (query.width,))
    if operation.heads < 1 or query.width % operation.heads:
        raise _IllegalError(
            "has heads", expected=f"a divisor of {query.width}", got=operation.heads
        )
    _check_positive("scale", operation.scale)
    if operation.cache is not None and not 0 <= operation.cache < len(scope.program.caches):
        raise _IllegalError(
            "has the cache",
            expected=f"one of {len(scope.program.caches)} caches",
            got=operation.cache,
        )
    if operation.causal and query.rows != "tokens":
        raise _IllegalError("is causal", expected="queries of tokens", got=query.rows)
    return query.rows, query.width


def _gather(operation: Gather, scope: _Scope) -> tuple[str, int]:
    formats = ("float32", "bfloat16", "uint8")
    x = scope.value(operation.x, dtypes=formats, rows=("tokens",))
    for name in operation.outputs:
        value = scope.program.values.get(name, x)
        if (value.dtype, value.scale, value.zero_point) != (x.dtype, x.scale, x.zero_point):
            raise _IllegalError(
                f"writes the value {shown(name)}", expected=f"a copy of {operation.x}", got=value
            )
    return ("masks" if operation.index == "masked_positions" else "texts"), x.width


def _pool(operation: Pool, scope: _Scope) -> tuple[str, int]:
    return "texts", scope.value(operation.x, dtypes=("float32",), rows=("tokens",)).width


def _concat(operation: Concat, scope: _Scope) -> tuple[str, int]:
    if len(operation.x) < 2:
        raise _IllegalError("joins values", expected="two at least", got=len(operation.x))
    values = [scope.value(name, dtypes=("float32",), rows=("texts",)) for name in operation.x]
    return "texts", sum(value.width for value in values)


def _normalize(operation: Normalize, scope: _Scope) -> tuple[str, int]:
    _check_positive("epsilon", operation.epsilon)
    return "texts", scope.value(operation.x, dtypes=("float32",), rows=("texts",)).width


def _quantize(operation: Quantize, scope: _Scope) -> tuple[str, int]:
    x = scope.value(operation.x, dtypes=("float32",))
    for name in (operation.add, operation.multiply):
        if name is not None:
            scope.tensor(name, "float32", (x.width,))
    return x.rows, x.width


_CHECKS: Mapping[type, Callable[[Any, _Scope], tuple[str, int]]] = {
    Embed: _embed,
    Norm: _norm,
    Linear: _linear,
    Attention: _attention,
    Gather: _gather,
    Pool: _pool,
    Concat: _concat,
    Normalize: _normalize,
    Quantize: _quantize,
}
"""By kind: checks the operands; gives the rows and the width of the result."""


def _check_caches(program: Program) -> list[Attention]:
    """Each cache is the one of one attention: those attentions, in the order of the caches."""
    _one_of("is of the schema", program.schema, (2 if program.caches else 1,))
    users: dict[int, Attention] = {}
    for operation in program.operations:
        if not isinstance(operation, Attention) or operation.cache is None:
            continue
        if operation.cache in users:
            raise _IllegalError(
                f"has the cache {operation.cache}", expected="one attention's", got="two"
            )
        users[operation.cache] = operation
    for place in range(len(program.caches)):
        if place not in users:
            raise _IllegalError(f"has the cache {place}", expected="an attention's", got="none's")
    return [users[place] for place in range(len(program.caches))]


def _check_interface(
    program: Program, written: Mapping[str, ProgramValue], users: Sequence[Attention]
) -> None:
    """What padded batches hand over and get has the axes that a session reads and writes.

    Args:
        program: Whose inputs, outputs and caches are legal.
        written: Its values.
        users: The attention of each cache.
    """
    choices = any(
        spec.name == "input_ids" and CHOICES in spec.shape for spec in program.interface.inputs
    )
    per_text: tuple[str | int, ...] = (BATCH, CHOICES) if choices else (BATCH,)
    axes: dict[str, tuple[str | int, ...]] = {
        "tokens": (*per_text, SEQUENCE),
        "texts": per_text,
        "masks": (MASKED,),
    }
    inputs = dict.fromkeys((*program.inputs, "attention_mask"), ("int64", axes["tokens"]))
    if MASKED_POSITIONS in inputs:
        inputs[MASKED_POSITIONS] = ("int64", axes["masks"])
    outputs = []
    for output in program.outputs:
        value = written[output.value]
        width = () if output.column is not None else (value.width,)
        outputs.append((output.name, "float32", (*axes[value.rows], *width)))
    if program.caches:
        inputs["attention_mask"] = ("int64", (BATCH, TOTAL))
    for cache, user in zip(program.caches, users, strict=True):
        size = written[user.key].width // user.heads
        for past in (cache.past_key, cache.past_value):
            if past in inputs:
                raise _IllegalError(f"keeps {shown(past)}", expected="named once", got="twice")
            inputs[past] = ("float32", (BATCH, user.heads, PAST, size))
        shape = (BATCH, user.heads, TOTAL, size)
        outputs += [(name, "float32", shape) for name in (cache.present_key, cache.present_value)]
    _same_specs(
        "inputs",
        sorted((name, *spec) for name, spec in inputs.items()),
        sorted(program.interface.inputs, key=lambda spec: spec.name),
    )
    _same_specs("outputs", outputs, program.interface.outputs)
    names = [spec.name for spec in program.interface.outputs]
    if len({*names, *inputs}) < len(names) + len(inputs):
        raise _IllegalError("has an interface", expected="each name once", got=", ".join(names))


def _same_specs(
    what: str, wanted: Sequence[tuple[object, ...]], given: Sequence[TensorSpec]
) -> None:
    found = [(spec.name, spec.dtype, spec.shape) for spec in given]
    for own, other in zip_longest(wanted, found):
        if own != other:
            raise _IllegalError(
                f"has {what} of padded batches",
                expected="none" if own is None else shown(str(own), 120),
                got="none" if other is None else shown(str(other), 120),
            )


def _check_whole(program: Program, written: Mapping[str, ProgramValue], weights: Path) -> None:
    """What no operation says by itself: inputs, outputs, values and the name of the weights."""
    _one_of("names the file of weights", program.weights, (weights.name,))
    used = {*PROGRAM_INPUTS[:2]}.union(*map(inputs_of, program.operations))
    wanted = tuple(name for name in PROGRAM_INPUTS if name in used)
    _one_of("names the inputs", program.inputs, (wanted,))
    unwritten = sorted(program.values.keys() - written.keys())
    if unwritten:
        raise _IllegalError(
            f"declares the value {shown(unwritten[0])}", expected="one that is written", got="none"
        )
    users = _check_caches(program)
    if not program.outputs:
        raise _IllegalError("has outputs", expected="one at least", got="none")
    for output in program.outputs:
        value = written.get(output.value)
        if value is None or value.dtype != "float32":
            raise _IllegalError(
                f"gives {shown(output.value)} as {shown(output.name)}",
                expected="a float32 value that is written",
                got="none" if value is None else value.dtype,
            )
        if output.column is not None and not 0 <= output.column < value.width:
            raise _IllegalError(
                f"gives a column as {shown(output.name)}",
                expected=f"0 to {value.width - 1}",
                got=output.column,
            )
    _check_interface(program, written, users)
