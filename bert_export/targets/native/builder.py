"""A program while it is made: operations that still take on epilogues and number formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import onnx_ir as ir

from bert_export.bundle.program import (
    PROGRAM_INPUTS,
    Attention,
    Embed,
    Interface,
    Linear,
    Norm,
    NumberFormat,
    Operation,
    Program,
    ProgramCache,
    ProgramOutput,
    ProgramTensor,
    ProgramValue,
    Quantize,
    Rows,
    inputs_of,
)

__all__ = ["ProgramBuilder", "Result", "StoredTensor"]

_FUSING = (Embed, Norm, Linear, Attention)
"""Kinds that write their result in several number formats."""

_FORMATS: tuple[NumberFormat, ...] = ("float32", "bfloat16", "uint8")


@dataclass(eq=False, slots=True)
class Result:
    """The float result of an operation that may still change.

    Args:
        name: Of the value in float32.
        kind: The operation's class.
        fields: Of the operation.
        rows: What it has one row for.
        width: Of a row.
        values: What is written, by number format, as (name, scale, zero point).
    """

    name: str
    kind: type[Operation]
    fields: dict[str, Any]
    rows: Rows
    width: int
    values: dict[NumberFormat, tuple[str, float | None, int | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that the program reads: the initializer, and the shape in which it reads it."""

    tensor: ir.TensorProtocol
    shape: tuple[int, ...]

    @property
    def dtype(self) -> Literal["float32", "int8"]:
        """Of its elements."""
        return "int8" if self.tensor.dtype == ir.DataType.INT8 else "float32"


class ProgramBuilder:
    """Collects operations, and the tensors that they read."""

    def __init__(self) -> None:
        self.tensors: dict[str, StoredTensor] = {}
        self._results: dict[Result, None] = {}  # in the order of the program
        self._rounded: dict[Result, Result] = {}

    def tensor(self, value: ir.Value, *, flat: bool = False) -> str:
        """Read an initializer; gives the tensor's name.

        Args:
            value: Float32 or int8.
            flat: Whether it is read as one axis.
        """
        tensor = value.const_value
        assert tensor is not None, "the caller saw a constant"
        shape = tuple(map(int, tensor.shape.numpy()))
        name = str(value.name)
        self.tensors[name] = StoredTensor(tensor, (tensor.size,) if flat else shape)
        return name

    def add(
        self, name: object, kind: type[Operation], rows: Rows, width: int, **fields: Any
    ) -> Result:
        """An operation behind all that stand."""
        result = Result(str(name), kind, fields, rows, width)
        self._results[result] = None
        return result

    def extend(self, result: Result, name: object, **fields: Any) -> Result:
        """Let an operation whose result nothing read yet do more; it moves to the end."""
        assert not result.values, "nothing read it"
        result.name = str(name)
        result.fields |= fields
        del self._results[result]
        self._results[result] = None
        return result

    def as_float(self, result: Result) -> str:
        """The value in float32."""
        return result.values.setdefault("float32", (result.name, None, None))[0]

    def as_bfloat16(self, result: Result) -> str:
        """The value in bfloat16."""
        name = f"{result.name}.bfloat16"
        if not issubclass(result.kind, _FUSING):
            if result not in self._rounded:
                self._rounded[result] = self._convert(result, name)
            result = self._rounded[result]
        return result.values.setdefault("bfloat16", (name, None, None))[0]

    def as_uint8(
        self,
        result: Result,
        name: str,
        scale: float,
        zero_point: int,
        *,
        add: ir.Value | None = None,
        multiply: ir.Value | None = None,
    ) -> str:
        """The value in uint8, or that of ``(x + add) * multiply``."""
        wanted = (name, scale, zero_point)
        if add is None and multiply is None and issubclass(result.kind, _FUSING):
            present = result.values.setdefault("uint8", wanted)
            if present[1:] == wanted[1:]:
                return present[0]
        self._convert(result, name, add, multiply).values["uint8"] = wanted
        return name

    def finish(
        self,
        interface: Interface,
        outputs: tuple[ProgramOutput, ...],
        caches: tuple[ProgramCache, ...],
        tensors: Mapping[str, ProgramTensor],
        weights: str,
    ) -> Program:
        """The program.

        Args:
            interface: Of padded batches.
            outputs: Of values that were asked for in float32.
            caches: Of the attentions that have one.
            tensors: Where each of :attr:`tensors` lies.
            weights: Name of the file of weights.
        """
        values: dict[str, ProgramValue] = {}
        operations: list[Operation] = []
        for result in self._results:
            written = {fmt: result.values[fmt] for fmt in _FORMATS if fmt in result.values}
            if not written:
                continue  # nothing reads it
            names = tuple(name for name, _, _ in written.values())
            operations.append(result.kind(outputs=names, **result.fields))
            for number_format, (name, scale, zero_point) in written.items():
                values[name] = ProgramValue(
                    rows=result.rows,
                    width=result.width,
                    dtype=number_format,
                    scale=scale,
                    zero_point=zero_point,
                )
        used = set(PROGRAM_INPUTS[:2]).union(*map(inputs_of, operations))
        return Program(
            schema=2 if caches else 1,
            weights=weights,
            interface=interface,
            inputs=tuple(name for name in PROGRAM_INPUTS if name in used),
            tensors=dict(tensors),
            values=values,
            operations=tuple(operations),
            outputs=outputs,
            caches=caches,
        )

    def _convert(
        self,
        result: Result,
        name: str,
        add: ir.Value | None = None,
        multiply: ir.Value | None = None,
    ) -> Result:
        """An operation that does nothing but write a result in another number format."""
        return self.add(
            name,
            Quantize,
            result.rows,
            result.width,
            x=self.as_float(result),
            add=None if add is None else self.tensor(add, flat=True),
            multiply=None if multiply is None else self.tensor(multiply, flat=True),
        )
