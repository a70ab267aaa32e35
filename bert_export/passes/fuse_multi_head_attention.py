"""Write attention as the operator that ONNX Runtime's CUDA provider has fused kernels for."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from bert_export.passes.editing import CONTRIB, substitute_node
from bert_export.passes.fused_attention import read_attention
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["FuseMultiHeadAttention"]


class _Rule:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        attention = read_attention(node)
        if attention is None or isinstance(attention, Refusal):
            return attention
        mask = attention.mask
        if mask is not None and mask.dtype != node.outputs[0].dtype:
            at = str(node.name)
            return Refusal(f"the mask is of type {mask.dtype}, and none that is added", at, 5)
        return Match(
            node,
            node.outputs[0],
            values={
                "mask": mask,
                **dict(zip(("past.key", "past.value"), attention.past, strict=False)),
            },
            numbers={"heads": attention.heads, "scale": attention.scale},
        )

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        node, mask = match.root, match.values["mask"]
        past = [value for name, value in match.values.items() if name.startswith("past.")]
        further = (None, None, mask, *past) if mask is not None or past else ()
        inputs = [*node.inputs[:3], *further]
        substitute_node(
            graph,
            match.output,
            "MultiHeadAttention",
            inputs,
            {"num_heads": int(match.numbers["heads"]), "scale": float(match.numbers["scale"])},
            name=f"{node.name}.multi_head",
            domain=CONTRIB,
            further=node.outputs[1:],
        )


class FuseMultiHeadAttention(RulePass):
    """Rewrite every ``Attention`` with three-axis operands.

    Before::

        q, k, v (B, S, H), mask (B, 1, S, S) -> Attention(N heads, scale) -> y (B, S, H)

    After::

        q, k, v, mask -> com.microsoft.MultiHeadAttention(N heads, scale) -> y

    A cache stays what it is: past keys and values go in, those of all tokens come out.

    Source: ONNX Runtime's contrib operators, com.microsoft.MultiHeadAttention.
    """

    name = "fuse_multi_head_attention"
    rules = (_Rule(),)
