"""Bound the number that a mask adds to hidden scores to FP16's range."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import new_constant, producer, scalar, split_scalar
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["HIDDEN", "BoundMasks"]

HIDDEN = -16384.0
"""Added to a hidden token's score. Its weight is exactly 0 as long as scores differ by less than
16 thousand, and a quarter of FP16's range leaves room for the score itself."""


class _Rule:
    root_op: ClassVar[str] = "Mul"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        split = split_scalar(node)
        if split is None or split[1] >= HIDDEN:
            return None
        inverted = producer(split[0], "Sub")
        if inverted is None or scalar(inverted.inputs[0]) != 1:
            return Refusal("the mask is not made of zeros and ones", str(node.name))
        return Match(node, node.outputs[0], values={"hidden": split[0]})

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        place = 1 if match.root.inputs[0] is match.values["hidden"] else 0
        bound = new_constant(graph, "attention.hidden", np.float32(HIDDEN))
        match.root.replace_input_with(place, bound)


class BoundMasks(RulePass):
    """Hide tokens by adding a number that FP16 can hold.

    Before::

        visible -> Sub(1 - .) -> Mul(-3.4e38) -> mask

    After::

        visible -> Sub(1 - .) -> Mul(-16384) -> mask

    -3.4e38 becomes minus infinity in FP16, and the softmax of a row of minus infinity is not a
    number. For every text with a visible token the answers are the same to the last bit.
    """

    name = "bound_masks"
    rules = (_Rule(),)
