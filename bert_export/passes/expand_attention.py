"""Write attention out as the products, sum and softmax that engines fuse into one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import (
    insert_node,
    new_constant,
    producer,
    static_dim,
    substitute,
)
from bert_export.passes.fused_attention import read_attention
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["ExpandAttention"]

_HEADS_FIRST, _KEY_TRANSPOSED, _LAST_TWO = [0, 2, 1, 3], [0, 2, 3, 1], [0, 1, 3, 2]


class _Rule:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        attention = read_attention(node)
        if attention is None or isinstance(attention, Refusal):
            return attention
        name, heads = str(node.name), attention.heads
        widths = {static_dim(value, 2) for value in (*attention.parts, node.outputs[0])}
        width = widths.pop()
        if widths or width is None or width % heads:
            return Refusal("the last axis is not split into heads of one width", name, 5)
        mask = _unexpanded(attention.mask)
        if mask is not None and mask.dtype != ir.DataType.FLOAT:
            return Refusal(f"the mask is of type {mask.dtype}, and none that is added", name, 6)
        query, key, value = attention.parts
        cached: dict[str, ir.Value] = {}
        for part, past, present in zip(
            ("key", "value"), attention.past, attention.present, strict=False
        ):
            cached |= {f"past.{part}": past, f"present.{part}": present}
        return Match(
            node,
            node.outputs[0],
            values={"query": query, "key": key, "value": value, "mask": mask, **cached},
            numbers={"heads": heads, "width": width // heads, "scale": attention.scale},
        )

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        writer = _Writer(graph, match)
        query = writer.split("query", writer.scaled_query(), _HEADS_FIRST)
        if "past.key" in match.values:
            key = writer.join_cache("key", match)
            axes = [*list(key.shape or ())[:2], *list(key.shape or ())[:1:-1]]  # (B, N, D, T)
            key = writer.put("Transpose", [key], "key", axes, {"perm": _LAST_TWO})
            value = writer.join_cache("value", match)
        else:
            key = writer.split("key", match.values["key"], _KEY_TRANSPOSED)
            value = writer.split("value", match.values["value"], _HEADS_FIRST)
        assert query.shape is not None
        assert key.shape is not None
        shape = [*query.shape[:3], key.shape[3]]  # (B, N, S, S)
        scores = writer.put("MatMul", [query, key], "scores", shape)
        mask = match.values["mask"]
        if mask is not None:
            scores = writer.put("Add", [scores, mask], "masked", shape)
        weights = writer.put("Softmax", [scores], "weights", shape, {"axis": -1})
        heads = writer.put("MatMul", [weights, value], "heads", [*query.shape])
        substitute(match.output, writer.join(heads))


class ExpandAttention(RulePass):
    """Expand every ``Attention`` with three-axis operands.

    Before (B batch, S sequence, H hidden, N heads, D width)::

        mask (B, 1, 1, S) -> Expand (B, 1, S, S) ─┐
        q, k, v (B, S, H) ────────────────────┴> Attention(N heads, scale) -> y (B, S, H)

    After::

        q -> Mul(scale) -> Reshape (B, S, N, D) -> Transpose (B, N, S, D) ─┐
        k -> Reshape (B, S, N, D) -> Transpose (B, N, D, S) ───────────────┴> MatMul
            -> Add(mask (B, 1, 1, S)) -> Softmax ─┐
        v -> Reshape -> Transpose (B, N, S, D) ───┴> MatMul -> Transpose -> Reshape -> y

    The queries are scaled, and not the scores: that is H numbers per token instead of N S, keeps
    the scores within FP16, and is where TensorRT's fusion looks for the scale. The mask keeps one
    row for all queries; only ONNX Runtime's ``Attention`` asks for one per query.

    With a cache, heads are joined to those of earlier tokens before the product::

        past keys (B, N, P, D), k -> Reshape -> Transpose -> Concat = present keys -> Transpose

    Source: https://onnx.ai/onnx/operators/onnx__Attention.html.
    """

    name = "expand_attention"
    rules = (_Rule(),)


class _Writer:
    """Inserts the nodes of one attention in front of it, named after it."""

    def __init__(self, graph: ir.Graph, match: Match) -> None:
        self._graph, self._root = graph, match.root
        self._heads, self._width = int(match.numbers["heads"]), int(match.numbers["width"])
        self._scale, self._query = match.numbers["scale"], match.values["query"]
        self._dtype = match.output.dtype
        self._name = str(match.root.name)

    def put(
        self,
        op_type: str,
        inputs: list[ir.Value | None],
        suffix: str,
        shape: Sequence[ir.SymbolicDim | int],
        attributes: dict[str, object] | None = None,
    ) -> ir.Value:
        return insert_node(
            self._graph,
            self._root,
            op_type,
            inputs,
            attributes,
            name=f"{self._name}.{suffix}",
            shape=shape,
            dtype=self._dtype,
        )

    def scaled_query(self) -> ir.Value | None:
        """Queries (B, S, H) times the scale."""
        if self._scale == 1.0:
            return self._query
        scale = new_constant(self._graph, "attention.scale", np.float32(self._scale))
        assert self._query is not None
        return self.put("Mul", [self._query, scale], "scaled", list(self._query.shape or ()))

    def split(self, part: str, value: ir.Value | None, permutation: list[int]) -> ir.Value:
        """(B, S, H) to four axes in the order of ``permutation`` of (B, S, N, D)."""
        assert value is not None
        assert value.shape is not None
        batch, sequence, _ = value.shape
        axes = [batch, sequence, self._heads, self._width]
        name = f"heads.{self._heads}x{self._width}"
        split = new_constant(
            self._graph, name, np.array([0, 0, self._heads, self._width], np.int64)
        )
        heads = self.put("Reshape", [value, split], f"{part}.split", axes)
        shape = [axes[axis] for axis in permutation]
        return self.put("Transpose", [heads], part, shape, {"perm": permutation})

    def join_cache(self, part: str, match: Match) -> ir.Value:
        """Keys or values of all tokens (B, N, T, D), which take the place of the graph's output."""
        present = match.values[f"present.{part}"]
        assert present is not None
        heads = self.split(f"{part}.new", match.values[part], _HEADS_FIRST)
        shape = list(present.shape or ())
        joined = self.put(
            "Concat", [match.values[f"past.{part}"], heads], f"{part}.all", shape, {"axis": 2}
        )
        substitute(present, joined)
        return joined

    def join(self, value: ir.Value) -> ir.Value:
        """(B, N, S, D) to (B, S, H)."""
        hidden = self._heads * self._width
        assert value.shape is not None
        batch, heads, sequence, width = value.shape
        axes = [batch, sequence, heads, width]
        swapped = self.put("Transpose", [value], "swapped", axes, {"perm": _HEADS_FIRST})
        joined = new_constant(self._graph, f"joined.{hidden}", np.array([0, 0, hidden], np.int64))
        return self.put("Reshape", [swapped, joined], "joined", [batch, sequence, hidden])


def _unexpanded(mask: ir.Value | None) -> ir.Value | None:
    """The mask (B, 1, 1, S) behind one with a row for every query."""
    expand = producer(mask, "Expand")
    if expand is None or len(expand.inputs[0].shape or ()) != 4:  # type: ignore[union-attr]
        return mask
    return expand.inputs[0]
