"""A short way to write operators: one call each, constants and loops included."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

__all__ = ["Loop", "Writer"]


class Writer:
    """Writes operators into a graph.

    Args:
        prefix: Of all names, so that none is another graph's too.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0
        self._nodes: list[list[ir.Node]] = [[]]
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self.initializers: list[ir.Value] = []

    @property
    def nodes(self) -> list[ir.Node]:
        """What was written, in order."""
        return self._nodes[0]

    def op(self, op_type: str, *inputs: ir.Value, domain: str = "", **attributes: Any) -> ir.Value:
        """Write an operator with one output."""
        (output,) = self.ops(op_type, *inputs, domain=domain, outputs=1, **attributes)
        return output

    def ops(
        self, op_type: str, *inputs: ir.Value, domain: str = "", outputs: int, **attributes: Any
    ) -> Sequence[ir.Value]:
        """Write an operator with several outputs."""
        self._count += 1
        name = f"{self._prefix}.{op_type}_{self._count}"
        node = ir.node(
            op_type, inputs, attributes or None, domain=domain, num_outputs=outputs, name=name
        )
        for index, output in enumerate(node.outputs):
            output.name = name if outputs == 1 else f"{name}.{index}"
        self._nodes[-1].append(node)
        return node.outputs

    # Constants.

    def int32(self, values: ArrayLike) -> ir.Value:
        """A constant of int32."""
        return self._constant(np.asarray(values, np.int32))

    def int64(self, values: ArrayLike) -> ir.Value:
        """A constant of int64, which shapes and axes are."""
        return self._constant(np.asarray(values, np.int64))

    def boolean(self, values: ArrayLike) -> ir.Value:
        """A constant of truth values."""
        return self._constant(np.asarray(values, np.bool_))

    def strings(self, values: Sequence[str]) -> ir.Value:
        """A constant of strings."""
        name = f"{self._prefix}.text_{len(self.initializers)}"
        tensor = ir.StringTensor(
            [value.encode() for value in values], shape=ir.Shape([len(values)]), name=name
        )
        return self._keep(tensor, name)

    def _constant(self, array: NDArray[Any]) -> ir.Value:
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{self._prefix}.constant_{len(self.initializers)}"
            self._constants[key] = self._keep(ir.tensor(array, name=name), name)
        return self._constants[key]

    def _keep(self, tensor: ir.TensorProtocol, name: str) -> ir.Value:
        value = ir.Value(
            name=name,
            shape=ir.Shape(list(tensor.numpy().shape)),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.initializers.append(value)
        return value

    # Phrases of a few operators.

    def to_int32(self, value: ir.Value) -> ir.Value:
        """The same numbers as int32."""
        return self.op("Cast", value, to=ir.DataType.INT32)

    def to_int64(self, value: ir.Value) -> ir.Value:
        """The same numbers as int64."""
        return self.op("Cast", value, to=ir.DataType.INT64)

    def length(self, value: ir.Value) -> ir.Value:
        """Size of a vector, int64 ()."""
        return self.op("Size", value)

    def range(self, count: ir.Value) -> ir.Value:
        """0, 1, ... below an int64 count, as int32."""
        return self.op("Range", self.int32(0), self.to_int32(count), self.int32(1))

    def split_shape(self, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The two axes of a matrix, int64 (1) each."""
        rows = self.op("Shape", value, start=0, end=1)
        return rows, self.op("Shape", value, start=1, end=2)

    def compress(self, value: ir.Value, kept: ir.Value) -> ir.Value:
        """The entries of a vector that are kept."""
        return self.op("Compress", value, kept, axis=0)

    def repeat(self, value: ir.Value, times: int) -> ir.Value:
        """Each entry of a vector several times in a row."""
        column = self.op("Unsqueeze", value, self.int64([1]))
        wide = self.op("Expand", column, self.int64([1, times]))
        return self.op("Reshape", wide, self.int64([-1]))

    def full_like(self, value: ir.Value, number: int) -> ir.Value:
        """One number of int32, as often as a value has entries."""
        return self.op("Expand", self.int32(number), self.op("Shape", value))

    def pairs(self, one: ir.Value, two: ir.Value) -> ir.Value:
        """Two vectors of int32 side by side, int64 (N, 2)."""
        axis = self.int64([1])
        columns = [self.op("Unsqueeze", value, axis) for value in (one, two)]
        return self.to_int64(self.op("Concat", *columns, axis=1))

    def columns(self, matrix: ir.Value, count: int) -> list[ir.Value]:
        """The columns of a matrix."""
        parts = self.ops("Split", matrix, outputs=count, axis=1, num_outputs=count)
        return [self.op("Squeeze", part, self.int64([1])) for part in parts]

    def loop(self, steps: ir.Value, state: Sequence[ir.Value]) -> Loop:
        """A loop of so many steps over values that each step replaces."""
        return Loop(self, steps, state)

    def begin_body(self) -> None:
        """What is written from here on belongs to a loop's body."""
        self._nodes.append([])

    def end_body(self) -> list[ir.Node]:
        """What was written since the body began."""
        return self._nodes.pop()

    def new_value(
        self, what: str, dtype: ir.DataType, shape: Sequence[str | None] | None
    ) -> ir.Value:
        """An input of a loop's body."""
        self._count += 1
        return ir.Value(
            name=f"{self._prefix}.{what}_{self._count}",
            type=ir.TensorType(dtype),
            shape=None if shape is None else ir.Shape(shape),
        )


class Loop:
    """A loop that is being written: ``with loop:`` around its body, which ends in :meth:`set`.

    Args:
        writer: Of the graph around it.
        steps: int64 ().
        state: int32 vectors that each step replaces.
    """

    def __init__(self, writer: Writer, steps: ir.Value, state: Sequence[ir.Value]) -> None:
        self._writer, self._steps, self._first = writer, steps, state
        self.number = writer.new_value("step", ir.DataType.INT64, ())
        self._goes_on = writer.new_value("goes_on", ir.DataType.BOOL, ())
        self.state = [writer.new_value("state", ir.DataType.INT32, [None]) for _ in state]
        self._next: tuple[ir.Value, ...] = ()
        self.results: Sequence[ir.Value] = ()

    def set(self, *values: ir.Value) -> None:
        """What the state is in the next step."""
        self._next = values

    def __enter__(self) -> Self:
        self._writer.begin_body()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        condition = self._writer.op("Identity", self._goes_on)
        nodes = self._writer.end_body()
        if kind is not None:
            return
        body = ir.Graph(
            [self.number, self._goes_on, *self.state],
            [condition, *self._next],
            nodes=nodes,
            name=f"{self.number.name}.body",
        )
        for output in body.outputs:
            output.dtype = ir.DataType.BOOL if output is condition else ir.DataType.INT32
            output.shape = ir.Shape(() if output is condition else [None])
        self.results = self._writer.ops(
            "Loop",
            self._steps,
            self._writer.boolean(True),  # noqa: FBT003 - the first condition
            *self._first,
            outputs=len(self._first),
            body=body,
        )
