"""Fold constants, and compute nothing twice."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass
from onnxscript.optimizer import fold_constants

from bert_export.passes.graph_pass import GraphPass, Refusal, count_operators, remove_unused

__all__ = ["FoldConstants"]

_LARGEST_OUTPUT = 1 << 16
"""Elements of a folded constant at most: larger ones cost more to store than to compute."""


class FoldConstants(GraphPass):
    """Fold constants and shapes, and share equal subexpressions.

    Before::

        Constant -> Mul(Constant) -> y          x -> Shape -> Gather(0) ... x -> Shape -> Gather(0)

    After::

        y (initializer)                          x -> Shape -> Gather(0)
    """

    name = "fold_constants"

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Fold; every operator that is gone afterwards is a site."""
        graph = model.graph
        before = sum(count_operators(graph).values())
        logger = logging.getLogger("onnxscript.optimizer._constant_folding")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            fold_constants(model, onnx_shape_inference=False, output_size_limit=_LARGEST_OUTPUT)
        finally:
            logger.setLevel(level)
        CommonSubexpressionEliminationPass()(model)
        remove_unused(graph)
        return before - sum(count_operators(graph).values()), ()
