"""The cost of a program by stage and layer, from its file alone.

Operations are counted as :mod:`bert_export.explanation.stages` counts a graph's operators, so that
the figures of two targets compare; what a padded graph does for its masks is not there to count.
The layer of an operation is read off the norms before it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_export.bundle.program import (
    Activation,
    Attention,
    Concat,
    Embed,
    Gather,
    Linear,
    Norm,
    Normalize,
    NumberFormat,
    Operation,
    Pool,
    Program,
    ProgramValue,
    Quantize,
    operands,
    read_program,
    tensors_of,
)
from bert_export.errors import BundleError
from bert_export.explanation.cost import Cost

__all__ = ["price_program"]

_NORM, _SOFTMAX, _QUANTIZE = 7, 5, 3
"""Operations per element."""

_ACTIVATIONS: Mapping[Activation, int] = {
    "none": 0,
    "gelu": 5,
    "gelu_tanh": 9,
    "relu": 1,
    "tanh": 1,
    "sigmoid": 1,
    "silu": 2,
}
_BYTES: Mapping[NumberFormat, int] = {"float32": 4, "bfloat16": 2, "uint8": 1}
_INT8, _FLOAT = 1, 4

Place = tuple[int | None, str]


@dataclass(frozen=True, slots=True)
class _Scope:
    """A program at one shape.

    Args:
        program: The program.
        length: Tokens of a text.
        counts: How many tokens, texts and masks there are.
    """

    program: Program
    length: int
    counts: Mapping[str, int]

    def result(self, operation: Operation) -> ProgramValue:
        """What an operation writes, in one of its number formats."""
        return self.program.values[operation.outputs[0]]

    def elements(self, value: ProgramValue) -> int:
        return self.counts[value.rows] * value.width

    def stored(self, name: str) -> int:
        """Bytes of a tensor."""
        tensor = self.program.tensors[name]
        size = _INT8 if tensor.dtype == "int8" else _FLOAT
        for axis in tensor.shape:
            size *= axis
        return size


def price_program(
    path: Path, *, axes: Mapping[str, int], layers: int
) -> dict[tuple[int | None, str], Cost]:
    """Price a program; its weights are neither needed nor read.

    Args:
        path: Of the program's file.
        axes: A size for every dynamic axis of the padded interface.
        layers: Of the encoder.

    Returns:
        Costs by layer (``None`` outside the encoder) and stage.

    Raises:
        BundleError: The program cannot be read, or has fewer norms than its layers need.
    """
    program = read_program(path)
    texts = axes["batch"] * axes.get("choices", 1)
    counts = {"tokens": texts * axes["sequence"], "texts": texts, "masks": axes.get("masked", 0)}
    scope = _Scope(program, axes["sequence"], counts)
    costs: dict[Place, Cost] = {}

    def count(place: Place, cost: Cost) -> None:
        if cost != Cost():
            costs[place] = costs.get(place, Cost()) + cost

    depths: dict[str, int] = {}  # norms on the longest way to a value
    for operation in program.operations:
        depth = max((depths[name] for _, name in operands(operation)), default=0)
        normed = isinstance(operation, Embed | Norm)
        depths |= dict.fromkeys(operation.outputs, depth + normed)
        layer = (depth - 1) // 2 if 0 < depth <= 2 * layers else None
        for stage, cost in _price(scope, operation).items():
            count((layer, stage or _stage(depth, layer, normed=normed)), cost)
    deepest = max(depths.values(), default=0)
    if deepest < 1 + 2 * layers:
        raise BundleError(
            f"program {path} has too few layer norms",
            expected=f"{1 + 2 * layers} in a row, for {layers} layers",
            got=deepest,
            fix="Explain the bundle with the bert-export that made it",
        )
    return costs


def _stage(depth: int, layer: int | None, *, normed: bool) -> str:
    if depth == 0:
        return "embeddings"
    if layer is None:
        return "head"
    if normed:
        return "normalization"
    return "attention" if depth % 2 else "feed-forward"


def _price(scope: _Scope, operation: Operation) -> dict[str, Cost]:
    """The costs of an operation: its own under "", and what belongs to other stages."""
    flop, integer_op = _OPERATIONS[type(operation)](scope, operation)
    weights = _weight_bytes(scope, operation)
    written = [scope.program.values[name] for name in operation.outputs]
    moved = sum(scope.elements(value) * _BYTES[value.dtype] for value in written)
    own = Cost(flop, integer_op, weights, 0 if isinstance(operation, Quantize) else moved)
    costs = {"": own}
    if isinstance(operation, Linear) and operation.residual is not None:
        costs["normalization"] = Cost(flop=scope.elements(written[0]))
    rounded = sum(scope.elements(value) for value in written if value.dtype == "uint8")
    if rounded or isinstance(operation, Quantize):
        only = moved if isinstance(operation, Quantize) else 0
        costs["quantization"] = Cost(_QUANTIZE * rounded, 0, 0, only)
    return costs


def _weight_bytes(scope: _Scope, operation: Operation) -> int:
    """Bytes of tensors that are read; of a table the rows that are taken, positions once."""
    if not isinstance(operation, Embed):
        return sum(scope.stored(name) for _, name in tensors_of(operation))
    rows = {"word": scope.counts["tokens"], "token_type": scope.counts["tokens"]}
    rows |= {"word_scale": scope.counts["tokens"], "position": scope.length}
    return sum(
        rows[field] * scope.stored(name) // scope.program.tensors[name].shape[0]
        if field in rows
        else scope.stored(name)
        for field, name in tensors_of(operation)
    )


def _embed(scope: _Scope, operation: Embed) -> tuple[int, int]:
    scaled = operation.word_scale is not None
    return (2 + scaled + _NORM) * scope.elements(scope.result(operation)), 0


def _norm(scope: _Scope, operation: Norm) -> tuple[int, int]:
    return _NORM * scope.elements(scope.result(operation)), 0


def _linear(scope: _Scope, operation: Linear) -> tuple[int, int]:
    elements = scope.elements(scope.result(operation))
    x = scope.program.values[operation.x]
    products = 2 * x.width * elements
    after = (operation.bias is not None) + _ACTIVATIONS[operation.activation]
    if x.dtype == "uint8":
        return (after + 1) * elements, products
    return after * elements + products, 0


def _attention(scope: _Scope, operation: Attention) -> tuple[int, int]:
    value = scope.result(operation)
    scores = scope.counts[value.rows] * scope.length * operation.heads
    return scores * (4 * (value.width // operation.heads) + 1 + _SOFTMAX), 0


def _pool(scope: _Scope, operation: Pool) -> tuple[int, int]:
    summed = scope.elements(scope.program.values[operation.x])
    return (1 + (operation.mask is not None)) * summed + scope.elements(scope.result(operation)), 0


def _normalize(scope: _Scope, operation: Normalize) -> tuple[int, int]:
    return 3 * scope.elements(scope.result(operation)), 0


def _quantize(scope: _Scope, operation: Quantize) -> tuple[int, int]:
    steps = (operation.add is not None) + (operation.multiply is not None)
    return steps * scope.elements(scope.result(operation)), 0


_OPERATIONS: Mapping[type[Operation], Callable[[_Scope, Any], tuple[int, int]]] = {
    Embed: _embed,
    Norm: _norm,
    Linear: _linear,
    Attention: _attention,
    Gather: lambda *_: (0, 0),
    Pool: _pool,
    Concat: lambda *_: (0, 0),
    Normalize: _normalize,
    Quantize: _quantize,
}
"""Floating-point operations and those of integer products, by kind."""
