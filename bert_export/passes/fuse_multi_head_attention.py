"""Write attention as the operator that ONNX Runtime's CUDA provider has fused kernels for."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from bert_export.passes.editing import attribute, insert_node, substitute
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["FuseMultiHeadAttention"]

_DOMAIN = "com.microsoft"
_MASK = 3


class _Rule:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        name = str(node.name)
        if node.domain:
            return None
        heads, scale = attribute(node, "q_num_heads", None), attribute(node, "scale", None)
        if heads is None or heads != attribute(node, "kv_num_heads", None):
            return Refusal("queries and keys are not split into the same heads", name, 1)
        if scale is None:
            return Refusal("the scale is not written down", name, 2)
        if attribute(node, "is_causal", 0) or attribute(node, "softcap", 0.0):
            return Refusal("is_causal or softcap is set", name, 3)
        if len(node.inputs) > _MASK + 1 or len(node.outputs) > 1:
            return Refusal("it keeps keys and values of earlier calls", name, 4)
        mask = node.inputs[_MASK] if len(node.inputs) > _MASK else None
        if mask is not None and mask.dtype != node.outputs[0].dtype:
            return Refusal(f"the mask is of type {mask.dtype}, and none that is added", name, 5)
        return Match(
            node, node.outputs[0], values={"mask": mask}, numbers={"heads": heads, "scale": scale}
        )

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        node, mask = match.root, match.values["mask"]
        inputs = [*node.inputs[:_MASK], *((None, None, mask) if mask is not None else ())]
        fused = insert_node(
            graph,
            node,
            "MultiHeadAttention",
            inputs,
            {"num_heads": int(match.numbers["heads"]), "scale": float(match.numbers["scale"])},
            name=f"{node.name}.multi_head",
            domain=_DOMAIN,
        )
        substitute(match.output, fused)


class FuseMultiHeadAttention(RulePass):
    """Rewrite every ``Attention`` with three-axis operands.

    Before::

        q, k, v (B, S, H), mask (B, 1, S, S) -> Attention(N heads, scale) -> y (B, S, H)

    After::

        q, k, v, mask -> com.microsoft.MultiHeadAttention(N heads, scale) -> y

    Source: ONNX Runtime's contrib operators, com.microsoft.MultiHeadAttention.
    """

    name = "fuse_multi_head_attention"
    rules = (_Rule(),)

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Rewrite, and import the operator's domain."""
        rewritten, refusals = super().apply(model)
        if rewritten:
            model.graph.opset_imports.setdefault(_DOMAIN, 1)
        return rewritten, refusals
