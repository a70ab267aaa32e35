"""Write the addition before a norm so that ONNX Runtime's default optimizations leave it alone."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from bert_export.passes.editing import producer, substitute_node
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["KeepResiduals", "count_residuals"]


class KeepResiduals(RulePass):
    """Add residuals with ``Sum``.

    Before::

        x, residual -> Add -> LayerNormalization -> y

    After::

        x, residual -> Sum -> LayerNormalization -> y

    The numbers are the same. ONNX Runtime's extended level, which a session has by default, fuses
    ``Add`` and ``LayerNormalization`` into ``SkipLayerNormalization``: that is slower, and it moves
    what INT8 rounds. It has no such fusion for ``Sum``.
    """

    name = "keep_residuals"

    @property
    def rules(self) -> tuple[_Residual, ...]:
        return (_Residual(),)


def count_residuals(model: ir.Model) -> int:
    """How many norms read an addition."""
    return sum(
        node.op_type == "LayerNormalization" and producer(node.inputs[0], "Add") is not None
        for node in model.graph
    )


class _Residual:
    root_op: ClassVar[str] = "LayerNormalization"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        add = producer(node.inputs[0], "Add")
        return None if add is None else Match(add, add.outputs[0])

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        add = match.root
        substitute_node(graph, match.output, "Sum", list(add.inputs), name=f"{add.name}.sum")
