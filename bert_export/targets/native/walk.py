"""The walk over a graph's nodes, and what the readers of nodes ask of it."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from bert_export.bundle.program import Linear, ProgramCache
from bert_export.passes.editing import constant, use_count
from bert_export.targets.native.builder import ProgramBuilder, Result
from bert_export.targets.native.meanings import Meaning, Rounded, Size

__all__ = ["ATTENTION_MASK", "NoMeaningError", "Reader", "Walk"]

ATTENTION_MASK = "attention_mask"
"""The graph's input that tells tokens from padding."""


class NoMeaningError(Exception):
    """Why a node has no meaning; the walk says of which."""


class Walk:
    """What is known of a graph's values so far.

    Args:
        graph: That is walked.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.builder = ProgramBuilder()
        self.meanings: dict[ir.Value, Meaning] = {}
        self.caches: list[ProgramCache] = []
        self.cached = False  # whether the graph takes keys and values of earlier calls

    def of(self, value: ir.Value | None) -> Meaning | None:
        """The meaning of a value; ``None`` for a constant."""
        return None if value is None else self.meanings.get(value)

    def all_of(self, node: ir.Node) -> list[Meaning | None]:
        return [self.of(value) for value in node.inputs]

    def only_sizes(self, node: ir.Node) -> bool:
        """Whether all inputs are sizes or constants, one a size at least."""
        meanings = [self.of(value) for value in node.inputs if constant(value) is None]
        return bool(meanings) and all(isinstance(meaning, Size) for meaning in meanings)

    def result(self, value: ir.Value | None) -> Result:
        """A result of the program."""
        meaning = self.of(value)
        if not isinstance(meaning, Result):
            name = None if value is None else value.name
            raise NoMeaningError(f"its input {name} is no result of an operation")
        return meaning

    def operand(self, value: ir.Value | None) -> tuple[Result, str]:
        """A result that a product reads, and the value in the number format that it reads."""
        meaning = self.of(value)
        if isinstance(meaning, Rounded):
            return meaning.result, self.builder.as_bfloat16(meaning.result)
        result = self.result(value)
        return result, self.builder.as_float(result)

    def open_linear(self, value: ir.Value | None) -> Result | None:
        """A linear layer's result that only the node at hand reads."""
        meaning = self.of(value)
        if not isinstance(meaning, Result) or meaning.kind is not Linear or value is None:
            return None
        return meaning if use_count(value) == 1 and not meaning.values else None


Reader = Callable[[Walk, ir.Node], Meaning]
"""Gives a node's output its meaning out of those of its inputs.

Raises :class:`NoMeaningError` where it has none.
"""
