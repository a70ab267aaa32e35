"""Read attention in its fused form, for the passes that write it another way."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from bert_export.passes.editing import attribute
from bert_export.passes.graph_pass import Refusal

__all__ = ["FusedAttention", "count_attention", "read_attention"]

_PARTS, _MASK, _PAST = 3, 3, 4


@dataclass(frozen=True, slots=True)
class FusedAttention:
    """A standard ``Attention`` whose operands have three axes.

    Args:
        parts: Queries, keys and values, (B, S, H) each.
        mask: What is added to the scores, ``None`` without one.
        heads: N.
        scale: Of the scores.
        past: Keys and values of earlier tokens, (B, N, P, D) each, where there is a cache.
        present: Keys and values of all tokens, (B, N, T, D) each, likewise.
    """

    parts: tuple[ir.Value | None, ...]
    mask: ir.Value | None
    heads: int
    scale: float
    past: tuple[ir.Value, ...] = ()
    present: tuple[ir.Value, ...] = ()


def read_attention(node: ir.Node) -> FusedAttention | Refusal | None:
    """What a node computes; ``None`` where it is of another domain.

    Args:
        node: With the operator ``Attention``.

    Returns:
        The parts, or why the node is not one that can be rewritten (depth 1 to 4).
    """
    if node.domain:
        return None
    name = str(node.name)
    heads, scale = attribute(node, "q_num_heads", None), attribute(node, "scale", None)
    if heads is None or heads != attribute(node, "kv_num_heads", None):
        return Refusal("queries and keys are not split into the same heads", name, 1)
    if scale is None:
        return Refusal("the scale is not written down", name, 2)
    if attribute(node, "is_causal", 0) or attribute(node, "softcap", 0.0):
        return Refusal("is_causal or softcap is set", name, 3)
    past = tuple(value for value in node.inputs[_PAST:] if value is not None)
    present = tuple(node.outputs[1:])
    if (len(past), len(present)) not in ((0, 0), (2, 2)):
        return Refusal("it keeps keys and values of earlier calls by halves", name, 4)
    mask = node.inputs[_MASK] if len(node.inputs) > _MASK else None
    return FusedAttention(tuple(node.inputs[:_PARTS]), mask, heads, scale, past, present)


def count_attention(model: ir.Model) -> int:
    """How many standard ``Attention`` nodes there are."""
    return sum(node.op_type == "Attention" and not node.domain for node in model.graph)
