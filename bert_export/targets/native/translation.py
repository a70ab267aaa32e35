"""From the prepared, perhaps quantized graph to a program: every value of the graph is understood.

The nodes are taken in order. Each gives its output a meaning out of those of its inputs (see
:mod:`bert_export.targets.native.meanings`), by the row of its operator in :data:`_READERS`. What
computes something joins the program; a bias, an activation, a residual or a quantization joins the
operation before it. A node that no row understands is refused by its name, with the reason. Nothing
is inferred from names but those of the task's interface.

What a padded graph computes for the padding, and how it hides it, has no place in a program of
ragged rows. The masks are followed to where they are used, so that a mask that means anything else
is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from bert_export.bundle.program import (
    Interface,
    Program,
    ProgramCache,
    ProgramOutput,
    ProgramTensor,
)
from bert_export.errors import TargetError
from bert_export.passes.fuse_attention import is_relative
from bert_export.targets.native import arithmetic, layers, masks, pooling, quantization, selections
from bert_export.targets.native.builder import ProgramBuilder, Result, StoredTensor
from bert_export.targets.native.meanings import (
    Column,
    Ids,
    Meaning,
    Past,
    Present,
    Visible,
)
from bert_export.targets.native.walk import ATTENTION_MASK, NoMeaningError, Reader, Walk
from bert_export.tasks.interface import ATTENTIONS, MASKED_POSITIONS, PAST

__all__ = ["Translation", "translate"]

_IDS = ("input_ids", "token_type_ids", MASKED_POSITIONS)
_MASKS = (ATTENTION_MASK, "pooling_mask")
_OTHERWISE = "Export for another target"

_READERS: Mapping[str, Reader] = {
    **selections.READERS,
    **masks.READERS,
    **arithmetic.READERS,
    **pooling.READERS,
    **layers.READERS,
    **quantization.READERS,
}
"""By operator of the standard domain."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A program whose tensors have no place yet."""

    builder: ProgramBuilder
    outputs: tuple[ProgramOutput, ...]
    caches: tuple[ProgramCache, ...]

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """What the program reads, by name."""
        return self.builder.tensors

    def program(
        self, interface: Interface, tensors: Mapping[str, ProgramTensor], weights: str
    ) -> Program:
        """The program; see :meth:`ProgramBuilder.finish`."""
        return self.builder.finish(interface, self.outputs, self.caches, tensors, weights)


def translate(model: ir.Model) -> Translation:
    """Read a graph as a program.

    Args:
        model: Prepared, perhaps quantized; it is unchanged afterwards.

    Raises:
        TargetError: Names the node that a program cannot hold, and the reason.
    """
    if is_relative(model):
        raise TargetError(
            "graph has positions that are relative, which a program of target native cannot hold",
            expected="absolute positions",
            got="a term of the scores for the distance of tokens",
            fix=_OTHERWISE,
        )
    for value in model.graph.outputs:
        if str(value.name).partition(".")[0] == ATTENTIONS:
            raise _no_output(value, "a result of an operation", "weights inside one")
    walk = Walk(model.graph)
    for value in model.graph.inputs:
        walk.meanings[value] = _input(value)
    walk.cached = any(isinstance(meaning, Past) for meaning in walk.meanings.values())
    for node in model.graph:
        walk.meanings[node.outputs[0]] = _read(walk, node)
    results = [value for value in model.graph.outputs if not isinstance(walk.of(value), Present)]
    outputs = tuple(_output(walk, value) for value in results)
    return Translation(walk.builder, outputs, tuple(walk.caches))


def _input(value: ir.Value) -> Meaning:
    name = str(value.name)
    if PAST in (getattr(axis, "value", None) for axis in value.shape or ()):
        return Past(name)
    if name in _IDS:
        return Ids(name)
    if name in _MASKS:
        return Visible(name)
    raise TargetError(
        f"graph has the input {name}, which a program of target native cannot hold",
        expected=", ".join((*_IDS, *_MASKS)),
        got=name,
        fix=_OTHERWISE,
    )


def _read(walk: Walk, node: ir.Node) -> Meaning:
    reader = None if node.domain else _READERS.get(node.op_type)
    try:
        if reader is None:
            raise NoMeaningError("it has no operation for it")  # noqa: TRY301
        return reader(walk, node)
    except NoMeaningError as reason:
        raise TargetError(
            f"{node.op_type} node {node.name} cannot be held by a program of target native: "
            f"{reason}",
            fix=_OTHERWISE,
        ) from None


def _output(walk: Walk, value: ir.Value) -> ProgramOutput:
    meaning = walk.of(value)
    column = meaning.column if isinstance(meaning, Column) else None
    result = meaning.result if isinstance(meaning, Column) else meaning
    if not isinstance(result, Result):
        raise _no_output(value, "a result of an operation", "another value")
    axes = {"tokens": 2, "texts": 1, "masks": 1}[result.rows] + (column is None)
    shape = value.shape
    choices = column is not None and result.rows == "texts"  # (B, C) for rows of choices
    if shape is None or len(shape) not in ((axes, axes + 1) if choices else (axes,)):
        raise _no_output(value, f"{axes} axes", shape)
    return ProgramOutput(name=str(value.name), value=walk.builder.as_float(result), column=column)


def _no_output(value: ir.Value, expected: str, got: object) -> TargetError:
    return TargetError(
        f"output {value.name} cannot be held by a program of target native",
        expected=expected,
        got=got,
        fix=_OTHERWISE,
    )
