"""What a form is: a named way of writing one block as a graph, and what it is checked against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = [
    "CONTRIB",
    "Array",
    "Block",
    "Build",
    "Drawing",
    "Form",
    "Level",
    "Operand",
    "Problem",
    "Size",
    "Spec",
    "Workload",
    "fill",
]

Array = NDArray[Any]
Operand = ir.Value | Array | np.generic | None
Level = Literal["disabled", "basic", "extended"]

CONTRIB = "com.microsoft"
_FILL_PERIOD = 8191
_FILL_BOUND = 4.0


@dataclass(frozen=True, slots=True)
class Size:
    """The widths of a model.

    Args:
        name: As tables show it.
        hidden: H.
        heads: N.
        vocabulary: V.
    """

    name: str
    hidden: int
    heads: int
    vocabulary: int

    @property
    def head_width(self) -> int:
        """D."""
        return self.hidden // self.heads


@dataclass(frozen=True, slots=True)
class Workload:
    """How much one call works on."""

    batch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.batch}×{self.sequence}"


@dataclass(frozen=True, slots=True)
class Spec:
    """A graph input.

    Args:
        dtype: Its element type.
        axes: Numbers, letters of axes that vary, or ``H`` and ``4H``, which the size fixes.
    """

    dtype: ir.DataType
    axes: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Arrays that go in, by the name of the graph input, and those that must come out."""

    feeds: Mapping[str, Array]
    expected: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """One way of writing a block.

    Args:
        name: As tables show it; distinct among the forms of a variant.
        build: Draws it and gives the outputs.
        variant: Which of the block's problems it solves; only forms of one are compared.
        tolerance: Largest root mean square of the difference, relative to that of the reference.
        level: ONNX Runtime's optimization level of the session.
        disabled: Optimizers of ONNX Runtime that are switched off by name.
        opset: Of the standard operators.
    """

    name: str
    build: Build
    variant: str = ""
    tolerance: float = 1e-5
    level: Level = "basic"
    disabled: tuple[str, ...] = ()
    opset: int = 23


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a layer, and the forms that compete for it.

    Args:
        name: As tables and the command name it.
        what: One sentence on what it computes and what its variants are.
        inputs: The graph inputs that a form may read.
        problem: Makes the arrays for a size, a workload and a variant.
        forms: The contenders.
        workloads: Its own ones, where the command's do not apply.
    """

    name: str
    what: str
    inputs: Mapping[str, Spec]
    problem: Callable[[Size, Workload, str], Problem]
    forms: tuple[Form, ...]
    workloads: tuple[Workload, ...] = ()

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants of its forms, in their order."""
        return tuple(dict.fromkeys(form.variant for form in self.forms))


class Drawing:
    """A graph that is being drawn, for one size and any batch and sequence.

    Args:
        size: The model's widths.
        inputs: What :meth:`input` may name.
        around: The drawing in which this one is a branch; both have one set of inputs and names.
    """

    def __init__(
        self, size: Size, inputs: Mapping[str, Spec], around: Drawing | None = None
    ) -> None:
        self.size = size
        self._specs = inputs
        self.inputs: dict[str, ir.Value] = {} if around is None else around.inputs
        self.numbers: count[int] = count() if around is None else around.numbers
        self._tape = ir.tape.Tape()

    def input(self, name: str) -> ir.Value:
        """A graph input; only those asked for become inputs of the graph."""
        if name not in self.inputs:
            spec = self._specs[name]
            widths = {"H": self.size.hidden, "4H": 4 * self.size.hidden}
            shape = ir.Shape([widths.get(str(axis), axis) for axis in spec.axes])
            self.inputs[name] = ir.Value(name=name, shape=shape, type=ir.TensorType(spec.dtype))
        return self.inputs[name]

    def op(self, op_type: str, *operands: Operand, domain: str = "", **attributes: Any) -> ir.Value:
        """Draw an operator with one output; an array becomes an initializer."""
        (output,) = self.ops(op_type, *operands, outputs=1, domain=domain, **attributes)
        return output

    def ops(
        self, op_type: str, *operands: Operand, outputs: int, domain: str = "", **attributes: Any
    ) -> Sequence[ir.Value]:
        """Draw an operator with several outputs."""
        return self._tape.op_multi_out(
            op_type,
            [self._value(operand) for operand in operands],
            attributes,
            outputs=[ir.Value(name=f"{op_type}.{next(self.numbers)}") for _ in range(outputs)],
            domain=domain,
        )

    def either(
        self,
        condition: ir.Value,
        then: Callable[[Drawing], ir.Value],
        otherwise: Callable[[Drawing], ir.Value],
    ) -> ir.Value:
        """Draw an ``If`` with two branches of one output each."""
        branches: dict[str, Any] = {}
        for name, draw in (("then_branch", then), ("else_branch", otherwise)):
            branch = Drawing(self.size, self._specs, self)
            output = draw(branch)
            branches[name] = branch._graph((), (output,), name)
        return self.op("If", condition, **branches)

    def model(self, outputs: Sequence[ir.Value], *, opset: int) -> ir.Model:
        """Finish the graph; all outputs are float32 unless their type is set."""
        for output in outputs:
            output.type = output.type or ir.TensorType(ir.DataType.FLOAT)
        graph = self._graph(tuple(self.inputs.values()), outputs, "form")
        graph.opset_imports.update({"": opset, CONTRIB: 1})
        return ir.Model(graph, ir_version=10)

    def _graph(
        self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], name: str
    ) -> ir.Graph:
        return ir.Graph(
            inputs,
            outputs,
            nodes=self._tape.nodes,
            initializers=self._tape.initializers,
            name=name,
        )

    def _value(self, operand: Operand) -> ir.Value | None:
        if operand is None or isinstance(operand, ir.Value):
            return operand
        return self._tape.initializer(
            ir.tensor(np.asarray(operand), name=f"constant.{next(self.numbers)}")
        )


Build = Callable[[Drawing], Sequence[ir.Value]]


def fill(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Normal numbers within ±4, repeating with a prime period, so that large arrays are quick."""
    period = np.random.default_rng(seed).standard_normal(_FILL_PERIOD)
    return np.resize(np.clip(period, -_FILL_BOUND, _FILL_BOUND).astype(np.float32), shape)
