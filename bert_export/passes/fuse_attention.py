"""Fuse scaled dot-product attention into one standard ``Attention`` with three-axis operands."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import (
    attribute,
    insert_node,
    is_output,
    linear_layer,
    module_name,
    new_constant,
    producer,
    scalar,
    sole_reader,
    split_scalar,
    static_dim,
    substitute_node,
)
from bert_export.passes.graph_pass import Match, Refusal, Rule, RulePass

__all__ = ["FuseAttention", "is_relative"]

_CACHED = ("key", "value")
_HEADS_FIRST, _KEY_TRANSPOSED, _LAST_TWO = [0, 2, 1, 3], [0, 2, 3, 1], [0, 1, 3, 2]


def is_relative(model: ir.Model) -> bool:
    """Whether scores have a term for the tokens' distance, which ``Attention`` cannot compute."""
    return any(name.endswith("distance_embedding.weight") for name in model.graph.initializers)


class FuseAttention(RulePass):
    """Fuse attention, as torch writes it eagerly and as it writes ``scaled_dot_product_attention``.

    Before (eager; B batch, S sequence, H hidden, N heads, D width)::

        q (B, S, H) -> Reshape (B, S, N, D) -> Transpose (B, N, S, D) ─┐
        k (B, S, H) -> Reshape (B, S, N, D) -> Transpose (B, N, D, S) ─┴> MatMul -> Div(sqrt D)
            -> Add(mask) -> Softmax ─┐
        v (B, S, H) -> Reshape -> Transpose (B, N, S, D) ─┴> MatMul -> Transpose -> Reshape -> y

    After::

        mask (B, 1, 1, S) -> Expand (B, 1, S, S) ─┐              once for all layers
        q, k, v (B, S, H) ────────────────────┴> Attention(N heads, scale) -> y (B, S, H)

    The mask stays the additive one of the trace, so that every mask keeps its meaning; a boolean
    mask took as long or 3 % longer. (Only for a text without any visible token do the two differ:
    ONNX Runtime's ``Attention`` gives zeros, the trace the mean of all values; neither is an
    answer.) Needs opset 23.

    Keys and values of earlier tokens that are put in front of those of this call become the
    operator's own cache::

        past (B, N, P, D), k -> Concat = present (B, N, T, D) -> ...
        q, k, v, mask, past keys, past values -> Attention -> y, present keys, present values

    Source: https://onnx.ai/onnx/operators/onnx__Attention.html.
    """

    name = "fuse_attention"
    opset: ClassVar[int] = 23

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Fuse every site, unless the opset has no ``Attention``."""
        opset = model.graph.opset_imports.get("", 0)
        if opset >= self.opset:
            return super().apply(model)
        reason = f"opset {opset} has no Attention, which came with opset {self.opset}"
        sites = [node for node in model.graph if node.op_type == "Softmax"]
        return 0, tuple(Refusal(reason, str(node.name)) for node in sites)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (_Decomposed(), _FourAxes())


class _Decomposed:
    """From the softmax, up to queries, keys and mask and down to the joined heads."""

    root_op: ClassVar[str] = "Softmax"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        if (static := node.outputs[0].shape) is not None and len(static) != 4:
            return None
        if attribute(node, "axis", -1) not in (-1, 3):
            return Refusal("the softmax does not run over the keys", str(node.name))
        product = sole_reader(node.outputs[0], "MatMul")
        if product is None or product.inputs[0] is not node.outputs[0]:
            return Refusal("the weights feed something else than one product", str(node.name), 1)
        scored = _scores(node.inputs[0])
        if isinstance(scored, Refusal):
            return scored
        query, key, mask, scale = scored
        value = _split_heads(product.inputs[1])
        joined = _join_heads(product.outputs[0])
        for part, depth in ((query, 5), (key, 6), (value, 7), (joined, 8)):
            if isinstance(part, Refusal):
                return Refusal(part.reason, part.node, depth)
        assert isinstance(joined, ir.Value)
        parts = (part for part in (query, key, value) if not isinstance(part, Refusal))
        query, key, value = parts
        return _checked(node, joined, (query, key, value), mask, scale)

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _rewrite(graph, match)


class _FourAxes:
    """An ``Attention`` that torch wrote, with heads on an axis of their own."""

    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        if "q_num_heads" in node.attributes:
            return None
        if attribute(node, "is_causal", 0) or attribute(node, "softcap", 0.0):
            return Refusal("is_causal or softcap is set", str(node.name), 1)
        if len(node.inputs) > 4 or len(node.outputs) > 1:
            return Refusal("it keeps keys and values inside", str(node.name), 1)
        parts = [_split_heads(value) for value in node.inputs[:3]]
        joined = _join_heads(node.outputs[0])
        for depth, part in enumerate((*parts, joined), start=2):
            if isinstance(part, Refusal):
                return Refusal(part.reason, part.node, depth)
        width = static_dim(node.inputs[0], 3)
        scale = attribute(node, "scale", 1 / math.sqrt(width) if width else None)
        assert isinstance(joined, ir.Value)
        query, key, value = (part for part in parts if not isinstance(part, Refusal))
        mask = node.inputs[3] if len(node.inputs) == 4 else None
        return _checked(node, joined, (query, key, value), mask, scale)

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _rewrite(graph, match)


class _Heads(NamedTuple):
    """A value that is split into heads.

    Args:
        source: (B, S, H).
        heads: N.
        past: What stands in front of it, (B, N, P, D), where there is a cache.
        present: Both together, (B, N, T, D), likewise.
    """

    source: ir.Value
    heads: int
    past: ir.Value | None = None
    present: ir.Value | None = None


def _scores(
    value: ir.Value | None,
) -> tuple[_Heads | Refusal, _Heads | Refusal, ir.Value | None, float] | Refusal:
    """Queries, keys, mask and scale of what goes into the softmax."""
    mask: ir.Value | None = None
    add = producer(value, "Add")
    if add is not None:
        value, mask = add.inputs
        if not _is_score(value):
            value, mask = mask, value
    if not _is_score(value):
        where = producer(value, "Add")
        at = str(where.name if where else getattr(value, "name", None))
        return Refusal("the scores are not queries times keys", at, 2)
    scale = 1.0
    node = producer(value, "Div", "Mul")
    if node is not None:
        split = split_scalar(node)
        if split is None or (node.op_type == "Div" and scalar(node.inputs[1]) is None):
            return Refusal("the scale is not a constant", str(node.name), 3)
        value, number = split
        scale = 1.0 / number if node.op_type == "Div" else number
    product = producer(value, "MatMul")
    if product is None:
        other = None if value is None else value.producer()
        at = str(other.name if other is not None else getattr(value, "name", None))
        return Refusal("a term besides queries times keys is added before the scale", at, 4)
    left, right = product.inputs
    scaled = [split_scalar(producer(side, "Mul")) for side in (left, right)]
    if scaled[0] is not None:
        left, scale = scaled[0][0], scale * scaled[0][1]
    if scaled[1] is not None:
        right, scale = scaled[1][0], scale * scaled[1][1]
    return _split_heads(left), _split_key(right), mask, scale


def _is_score(value: ir.Value | None) -> bool:
    """Whether a value comes from a product of two variables, scaled or not."""
    node = producer(value, "Div", "Mul")
    if node is not None:
        split = split_scalar(node)
        if split is None:
            return producer(node.inputs[0], "MatMul") is not None
        value = split[0]
        if producer(value, "Add") is not None:
            return True
    return producer(value, "MatMul") is not None


def _split_heads(value: ir.Value | None, perm: list[int] | None = None) -> _Heads | Refusal:
    """The value before Reshape and Transpose into (B, N, S, D), or by another ``perm``."""
    joined = producer(value, "Concat")
    if joined is not None:
        return _split_cached(joined)
    transpose = producer(value, "Transpose")
    if transpose is None:
        return Refusal("heads are not split by Reshape and Transpose", _name(value))
    order = list(attribute(transpose, "perm", ()))
    if order != (perm or _HEADS_FIRST):
        return Refusal(f"heads are transposed by {order}", str(transpose.name))
    if is_output(transpose.outputs[0]):
        return Refusal("keys or values are given, with heads on an axis", str(transpose.name))
    reshape = producer(transpose.inputs[0], "Reshape")
    if reshape is None or reshape.inputs[0] is None:
        return Refusal("heads are not split by Reshape and Transpose", str(transpose.name))
    source, split = reshape.inputs[0], reshape.outputs[0]
    heads, width = static_dim(split, 2), static_dim(split, 3)
    hidden = static_dim(source, -1)
    if len(source.shape or ()) != 3 or heads is None or hidden != heads * (width or 0):
        return Refusal("the last axis is not split into heads of one width", str(reshape.name))
    return _Heads(source, heads)


def _split_cached(joined: ir.Node) -> _Heads | Refusal:
    """Heads behind those of earlier tokens."""
    name = str(joined.name)
    if attribute(joined, "axis", 0) not in (2, -2) or len(joined.inputs) != 2:
        return Refusal("heads are joined along another axis than the tokens", name)
    past, present = joined.inputs[0], joined.outputs[0]
    if past is None or not past.is_graph_input() or not is_output(present):
        return Refusal("earlier keys or values do not come from a call and go to the next", name)
    heads = _split_heads(joined.inputs[1])
    if isinstance(heads, Refusal) or heads.present is not None:
        return heads if isinstance(heads, Refusal) else Refusal("two caches are joined", name)
    return heads._replace(past=past, present=present)


def _split_key(value: ir.Value | None) -> _Heads | Refusal:
    """The value before the split of the keys into (B, N, D, S), with width before sequence."""
    reshape = producer(value, "Reshape")
    if reshape is not None:  # torch folds batch and heads into one axis to swap the last two
        swap = producer(reshape.inputs[0], "Transpose")
        folded = None if swap is None else producer(swap.inputs[0], "Reshape")
        if swap is None or folded is None or list(attribute(swap, "perm", ())) != [0, 2, 1]:
            return Refusal("keys are not transposed", str(reshape.name))
        return _split_heads(folded.inputs[0])
    transpose = producer(value, "Transpose")
    if transpose is not None and list(attribute(transpose, "perm", ())) == _LAST_TWO:
        return _split_heads(transpose.inputs[0])
    return _split_heads(value, _KEY_TRANSPOSED)


def _join_heads(value: ir.Value) -> ir.Value | Refusal:
    """Follow the heads to where they are one axis again."""
    transpose = sole_reader(value, "Transpose")
    if transpose is None or list(attribute(transpose, "perm", ())) != _HEADS_FIRST:
        return Refusal("heads are not joined by Transpose and Reshape", _name(value))
    reshape = sole_reader(transpose.outputs[0], "Reshape")
    if reshape is None or len(reshape.outputs[0].shape or ()) != 3:
        return Refusal("heads are not joined by Transpose and Reshape", str(transpose.name))
    return reshape.outputs[0]


def _checked(
    root: ir.Node,
    joined: ir.Value,
    parts: tuple[_Heads, _Heads, _Heads],
    mask: ir.Value | None,
    scale: float | None,
) -> Match | Refusal:
    """Check what the parts have in common, and the mask."""
    heads = {part.heads for part in parts}
    if len(heads) != 1 or scale is None:
        return Refusal("queries, keys and values have other numbers of heads", str(root.name), 9)
    if [part.past is None for part in parts] not in ([True, True, True], [True, False, False]):
        return Refusal("keys or values alone are kept from earlier calls", str(root.name), 9)
    if static_dim(joined, 2) != static_dim(parts[2].source, 2):
        return Refusal("the joined heads are not as wide as the values", str(root.name), 9)
    refusal = _mask_refusal(mask)
    if refusal is not None:
        return refusal
    values = {"mask": mask}
    for name, part in zip(("query", "key", "value"), parts, strict=True):
        values |= {name: part.source, f"past.{name}": part.past, f"present.{name}": part.present}
    return Match(
        root,
        joined,
        values=values,
        numbers={"heads": heads.pop(), "scale": scale},
    )


def _mask_refusal(mask: ir.Value | None) -> Refusal | None:
    """Why ``Attention`` cannot take a mask."""
    if mask is None:
        return None
    if len(mask.shape or ()) != 4 or static_dim(mask, 1) != 1:
        return Refusal("the mask is not of shape (B, 1, 1 or S, S)", _name(mask), 10)
    if mask.dtype not in (ir.DataType.FLOAT, ir.DataType.BOOL):
        return Refusal(f"the mask is of type {mask.dtype}", _name(mask), 11)
    return None


def _rewrite(graph: ir.Graph, match: Match) -> None:
    values, numbers = match.values, match.numbers
    query = values["query"]
    module = (module_name(linear_layer(query)) or str(match.root.name)).removesuffix(".query")
    mask = values["mask"]
    inputs = [query, values["key"], values["value"]]
    past = [values[f"past.{name}"] for name in _CACHED]
    present = [value for name in _CACHED if (value := values[f"present.{name}"]) is not None]
    if mask is not None or present:
        inputs.append(None if mask is None else _square_mask(graph, mask, match.root))
    if present:
        inputs += past
    substitute_node(
        graph,
        match.output,
        "Attention",
        inputs,
        {
            "q_num_heads": int(numbers["heads"]),
            "kv_num_heads": int(numbers["heads"]),
            "scale": float(numbers["scale"]),
        },
        name=f"{module}.attention",
        further=present,
    )


def _square_mask(graph: ir.Graph, mask: ir.Value, before: ir.Node) -> ir.Value:
    """A mask as (B, 1, S, S): ONNX Runtime refuses one row for all queries.

    Made by the first layer; the others find it.
    """
    if static_dim(mask, 2) != 1:
        return mask
    name = f"{mask.name}.square"
    for use in mask.uses():
        if use.node.op_type == "Expand" and use.node.outputs[0].name == name:
            return use.node.outputs[0]
    length = insert_node(
        graph,
        before,
        "Shape",
        [mask],
        {"start": 3, "end": 4},
        name=f"{mask.name}.length",
        shape=[1],
        dtype=ir.DataType.INT64,
    )
    ones = new_constant(graph, "ones.2", np.array([1, 1], np.int64))
    shape = insert_node(
        graph,
        before,
        "Concat",
        [ones, length, new_constant(graph, "ones.1", np.array([1], np.int64))],
        {"axis": 0},
        name=f"{mask.name}.shape",
        shape=[4],
        dtype=ir.DataType.INT64,
    )
    assert mask.shape is not None
    batch, _, _, keys = mask.shape
    return insert_node(
        graph,
        before,
        "Expand",
        [mask, shape],
        name=name,
        shape=[batch, 1, keys, keys],
        dtype=mask.dtype,
    )


def _name(value: ir.Value | None) -> str:
    """The node that makes a value, or the value's own name."""
    node = None if value is None else value.producer()
    return str(getattr(value, "name", None) if node is None else node.name)
