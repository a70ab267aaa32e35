"""Attention: from queries, keys and values (B, S, H) to the joined heads (B, S, H)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from scripts.forms.form import (
    CONTRIB,
    Array,
    Block,
    Drawing,
    Form,
    Operand,
    Problem,
    Size,
    Spec,
    Workload,
    fill,
)

__all__ = [
    "ATTENTION",
    "MASK",
    "MASKS",
    "PADDED",
    "attend",
    "contrib",
    "merge_heads",
    "padding_masks",
    "split_heads",
    "standard",
]

_FormRow = tuple[str, Callable[..., list[ir.Value]], dict[str, Any]]

PADDED, FULL = "padded", "nothing to mask"
_OPSET, _OPSET_OF_LENGTHS = 23, 24
_LOWEST = float(np.finfo(np.float32).min)
_STATES = Spec(ir.DataType.FLOAT, ("B", "S", "H"))
MASKS = {
    "visible": Spec(ir.DataType.INT64, ("B", "S")),
    "visible_int32": Spec(ir.DataType.INT32, ("B", "S")),
    "lengths": Spec(ir.DataType.INT64, ("B",)),
    "lengths_int32": Spec(ir.DataType.INT32, ("B",)),
    "bool_row": Spec(ir.DataType.BOOL, ("B", 1, 1, "S")),
    "bool_square": Spec(ir.DataType.BOOL, ("B", 1, "S", "S")),
    "float_row": Spec(ir.DataType.FLOAT, ("B", 1, 1, "S")),
    "float_square": Spec(ir.DataType.FLOAT, ("B", 1, "S", "S")),
    "full": Spec(ir.DataType.BOOL, ()),
}


def padding_masks(work: Workload, variant: str) -> dict[str, Array]:
    """Every way of saying which tokens may be seen.

    Args:
        work: Batch and sequence.
        variant: ``padded``: texts of half the sequence to all of it, the first of three quarters.
    """
    batch, sequence = work.batch, work.sequence
    lengths = np.full(batch, sequence, np.int64)
    if variant == PADDED:
        lengths[:] = np.linspace(sequence, math.ceil(sequence / 2), batch).astype(np.int64)
        lengths[0] = math.ceil(sequence * 0.75)
    visible = (np.arange(sequence) < lengths[:, None]).astype(np.int64)  # (B, S)
    row = visible[:, None, None, :].astype(bool)  # (B, 1, 1, S)
    square = np.ascontiguousarray(np.broadcast_to(row, (batch, 1, sequence, sequence)))
    return {
        "visible": visible,
        "visible_int32": visible.astype(np.int32),
        "lengths": lengths,
        "lengths_int32": lengths.astype(np.int32),
        "bool_row": row,
        "bool_square": square,
        "float_row": np.where(row, 0, _LOWEST).astype(np.float32),
        "float_square": np.where(square, 0, _LOWEST).astype(np.float32),
        "full": np.array(visible.all()),
    }


def attend(query: Array, key: Array, value: Array, row: Array, heads: int) -> Array:
    """Scaled dot-product attention, text by text.

    Args:
        query: (B, S, H).
        key: (B, S, H).
        value: (B, S, H).
        row: Booleans (B, 1, 1, S).
        heads: N.
    """
    batch, sequence, hidden = query.shape
    result = np.empty_like(query)
    for text in range(batch):
        q, k, v = (
            states[text].reshape(sequence, heads, -1).swapaxes(0, 1)  # (N, S, D)
            for states in (query, key, value)
        )
        scores = q @ k.swapaxes(1, 2) / np.float32(math.sqrt(hidden / heads))
        scores = np.where(row[text], scores, _LOWEST)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        result[text] = (weights @ v).swapaxes(0, 1).reshape(sequence, hidden)
    return result


def split_heads(draw: Drawing, states: ir.Value) -> ir.Value:
    """From (B, S, H) to (B, N, S, D)."""
    shape = np.array([0, 0, draw.size.heads, draw.size.head_width])
    return draw.op("Transpose", draw.op("Reshape", states, shape), perm=[0, 2, 1, 3])


def merge_heads(draw: Drawing, states: ir.Value) -> ir.Value:
    """From (B, N, S, D) to (B, S, H)."""
    swapped = draw.op("Transpose", states, perm=[0, 2, 1, 3])
    return draw.op("Reshape", swapped, np.array([0, 0, draw.size.hidden]))


def _scale(draw: Drawing) -> float:
    return 1 / math.sqrt(draw.size.head_width)


def _parts(draw: Drawing, *, scaled: bool = False) -> list[ir.Value]:
    names = ("scaled_query" if scaled else "query", "key", "value")
    return [draw.input(name) for name in names]


def decomposed(draw: Drawing, *, mask: str | None, scale: str) -> list[ir.Value]:
    """MatMul and Softmax.

    Args:
        draw: Where to draw.
        mask: The float mask that is added, if any.
        scale: Where the scale goes: ``scores``, or ``weights`` of the query's layer.
    """
    query, key, value = _parts(draw, scaled=scale == "weights")
    query, value = split_heads(draw, query), split_heads(draw, value)
    shape = np.array([0, 0, draw.size.heads, draw.size.head_width])
    turned = draw.op("Transpose", draw.op("Reshape", key, shape), perm=[0, 2, 3, 1])
    scores = draw.op("MatMul", query, turned)  # (B, N, S, S)
    if scale == "scores":
        scores = draw.op("Div", scores, np.float32(1 / _scale(draw)))
    if mask is not None:
        scores = draw.op("Add", scores, draw.input(mask))
    weights = draw.op("Softmax", scores, axis=-1)
    return [merge_heads(draw, draw.op("MatMul", weights, value))]


def contrib(
    draw: Drawing, *, padding: str | None = None, bias: str | None = None
) -> list[ir.Value]:
    """com.microsoft MultiHeadAttention.

    Args:
        draw: Where to draw.
        padding: The input that goes to ``key_padding_mask``.
        bias: The input that goes to ``attention_bias``.
    """
    operands = [*_parts(draw), None, None if padding is None else draw.input(padding)]
    if bias is not None:
        operands.append(draw.input(bias))
    attributes = {"num_heads": draw.size.heads, "mask_filter_value": _LOWEST}
    return [draw.op("MultiHeadAttention", *operands, domain=CONTRIB, **attributes)]


def standard(
    draw: Drawing,
    *,
    mask: str | None = None,
    axes: int = 3,
    scaled: bool = False,
    lengths: bool = False,
    parts: list[ir.Value] | None = None,
) -> list[ir.Value]:
    """ai.onnx Attention.

    Args:
        draw: Where to draw.
        mask: The input that is its mask, if any.
        axes: 3, or 4 with the transposes around it.
        scaled: Whether the scale is in the weights of the query's layer.
        lengths: Whether ``nonpad_kv_seqlen`` says what may be seen (opset 24).
        parts: Queries, keys and values with so many axes, if they are not the inputs.
    """
    attributes: dict[str, Any] = {"scale": 1.0 if scaled else _scale(draw)}
    if axes == 3:
        heads = draw.size.heads
        attributes |= {"q_num_heads": heads, "kv_num_heads": heads}
    if parts is None:
        parts = _parts(draw, scaled=scaled)
        if axes == 4:
            parts = [split_heads(draw, states) for states in parts]
    operands: list[Operand] = [*parts, None if mask is None else draw.input(mask)]
    if lengths:
        operands += [None, None, draw.input("lengths")]
    result = draw.op("Attention", *operands, **attributes)
    return [result if axes == 3 else merge_heads(draw, result)]


def unless_full(draw: Drawing, *, mask: str) -> list[ir.Value]:
    """``If`` with a branch that knows no mask, for batches that need none."""
    return [
        draw.either(
            draw.input("full"),
            lambda branch: standard(branch)[0],
            lambda branch: standard(branch, mask=mask)[0],
        )
    ]


def _attention_problem(size: Size, work: Workload, variant: str) -> Problem:
    shape = (work.batch, work.sequence, size.hidden)
    query, key, value = (fill(*shape, seed=seed) for seed in (1, 2, 3))
    masks = padding_masks(work, variant)
    expected = attend(query, key, value, masks["bool_row"], size.heads)
    scaled = query / np.float32(math.sqrt(size.head_width))
    states = {"query": query, "scaled_query": scaled, "key": key, "value": value}
    return Problem({**states, **masks}, (expected,))


_BOOL, _FLOAT = {"mask": "bool_square"}, {"mask": "float_square"}
_ROW: dict[str, Any] = {"mask": "float_row"}

_PADDED_FORMS: tuple[_FormRow, ...] = (
    (
        "MatMul, Softmax; scaled scores; float mask (B,1,1,S)",
        decomposed,
        _ROW | {"scale": "scores"},
    ),
    (
        "MatMul, Softmax; scaled weights; float mask (B,1,1,S)",
        decomposed,
        _ROW | {"scale": "weights"},
    ),
    ("MultiHeadAttention; key padding mask (B,S)", contrib, {"padding": "visible_int32"}),
    ("MultiHeadAttention; lengths (B)", contrib, {"padding": "lengths_int32"}),
    ("MultiHeadAttention; attention bias (B,1,S,S)", contrib, {"bias": "float_square"}),
    ("Attention 3-D; bool mask (B,1,S,S)", standard, _BOOL),
    ("Attention 3-D; scaled weights; bool mask (B,1,S,S)", standard, _BOOL | {"scaled": True}),
    ("Attention 3-D; bool mask (B,1,1,S)", standard, {"mask": "bool_row"}),
    ("Attention 3-D; float mask (B,1,S,S)", standard, _FLOAT),
    ("Attention 3-D; float mask (B,1,1,S)", standard, _ROW),
    ("Attention 3-D; nonpad_kv_seqlen", standard, {"lengths": True}),
    ("Attention 4-D; bool mask (B,1,S,S)", standard, _BOOL | {"axes": 4}),
    ("Attention 4-D; nonpad_kv_seqlen", standard, {"lengths": True, "axes": 4}),
    ("If full: Attention 3-D; float mask (B,1,S,S)", unless_full, _FLOAT),
)
_FULL_FORMS: tuple[_FormRow, ...] = (
    ("MatMul, Softmax; scaled weights; no mask", decomposed, {"mask": None, "scale": "weights"}),
    ("MultiHeadAttention; no mask", contrib, {}),
    ("Attention 3-D; no mask", standard, {}),
    ("Attention 4-D; no mask", standard, {"axes": 4}),
    ("Attention 3-D; bool mask (B,1,S,S)", standard, _BOOL),
    ("Attention 3-D; nonpad_kv_seqlen", standard, {"lengths": True}),
    ("If full: Attention 3-D; float mask (B,1,S,S)", unless_full, _FLOAT),
)

ATTENTION = Block(
    name="attention",
    what=(
        "Queries, keys and values (B, S, H) to the joined heads. The mask is ready: one serves all"
        " layers. `scaled weights` is the softmax scale folded into the query's layer."
    ),
    inputs={
        **dict.fromkeys(("query", "scaled_query", "key", "value"), _STATES),
        **MASKS,
    },
    problem=_attention_problem,
    forms=tuple(
        Form(
            name,
            partial(draw, **options),
            variant,
            opset=_OPSET_OF_LENGTHS if "lengths" in options else _OPSET,
        )
        for variant, table in ((PADDED, _PADDED_FORMS), (FULL, _FULL_FORMS))
        for name, draw, options in table
    ),
)


def _typed(value: ir.Value, dtype: ir.DataType) -> list[ir.Value]:
    value.type = ir.TensorType(dtype)
    return [value]


def _bool_row(draw: Drawing) -> ir.Value:
    seen = draw.op("Cast", draw.input("visible"), to=ir.DataType.BOOL)
    return draw.op("Unsqueeze", seen, np.array([1, 2]))


def bool_square(draw: Drawing) -> list[ir.Value]:
    """Cast, then Expand by the sequence."""
    rows = draw.op("Shape", draw.input("visible"), start=1, end=2)
    target = draw.op("Concat", np.array([1, 1]), rows, np.array([1]), axis=0)
    return _typed(draw.op("Expand", _bool_row(draw), target), ir.DataType.BOOL)


def float_by_where(draw: Drawing) -> list[ir.Value]:
    """Zero or the lowest float, selected."""
    return [draw.op("Where", _bool_row(draw), np.float32(0), np.float32(_LOWEST))]


def float_by_arithmetic(draw: Drawing) -> list[ir.Value]:
    """One minus the mask, times the lowest float."""
    seen = draw.op("Cast", draw.input("visible"), to=ir.DataType.FLOAT)
    hidden = draw.op("Sub", np.float32(1), draw.op("Unsqueeze", seen, np.array([1, 2])))
    return [draw.op("Mul", hidden, np.float32(_LOWEST))]


def float_square(draw: Drawing) -> list[ir.Value]:
    """The arithmetic, then Expand by the sequence."""
    (row,) = float_by_arithmetic(draw)
    rows = draw.op("Shape", draw.input("visible"), start=1, end=2)
    target = draw.op("Concat", np.array([1, 1]), rows, np.array([1]), axis=0)
    return [draw.op("Expand", row, target)]


def lengths(draw: Drawing) -> list[ir.Value]:
    """How many tokens of each text may be seen."""
    total = draw.op("ReduceSum", draw.input("visible"), np.array([1]), keepdims=0)
    return _typed(total, ir.DataType.INT64)


def full(draw: Drawing) -> list[ir.Value]:
    """Whether every token may be seen."""
    lowest = draw.op("ReduceMin", draw.input("visible"), keepdims=0)
    return _typed(draw.op("Cast", lowest, to=ir.DataType.BOOL), ir.DataType.BOOL)


def _mask_problem(_size: Size, work: Workload, variant: str) -> Problem:
    masks = padding_masks(work, PADDED)
    return Problem({"visible": masks["visible"]}, (masks[variant],))


_MASK_FORMS: tuple[tuple[str, str, Callable[[Drawing], list[ir.Value]]], ...] = (
    ("bool_square", "Cast, Expand", bool_square),
    ("float_row", "Where", float_by_where),
    ("float_row", "Cast, Sub, Mul", float_by_arithmetic),
    ("float_square", "Cast, Sub, Mul, Expand", float_square),
    ("lengths", "ReduceSum", lengths),
    ("full", "ReduceMin, Cast", full),
)

MASK = Block(
    name="mask",
    what="From ``attention_mask`` to the mask that attention reads; once for all layers.",
    inputs=MASKS,
    problem=_mask_problem,
    forms=tuple(Form(name, draw, variant) for variant, name, draw in _MASK_FORMS),
)
