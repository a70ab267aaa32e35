"""Readers of lookups and selections: tables' rows, tokens of a result, columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import onnx_ir as ir

from bert_export.bundle.program import Gather, GatherIndex, Rows
from bert_export.passes.editing import attribute, constant, scalar, static_dim
from bert_export.targets.native.builder import Result
from bert_export.targets.native.meanings import (
    AttentionMask,
    Column,
    EmbeddedRows,
    Ids,
    Meaning,
    OneAtIndex,
    Ordinals,
    Positions,
    Size,
    TokenIndex,
    Visible,
    Weighted,
)
from bert_export.targets.native.walk import ATTENTION_MASK, NoMeaningError, Reader, Walk
from bert_export.tasks.interface import MASKED_POSITIONS, PAST, SEQUENCE

__all__ = ["READERS"]

_TO_THE_END = 1 << 31
"""A slice that ends there or beyond ends where its value does."""


def _gather(walk: Walk, node: ir.Node) -> Meaning:
    data, index = node.inputs
    axis = attribute(node, "axis", 0)
    ids, what = walk.of(index), walk.of(data)
    array = constant(data)
    if array is not None and ids == Positions(own=True) and axis == 0 and array.ndim == 2:
        return EmbeddedRows(position=cast("ir.Value", data))
    if array is not None and isinstance(ids, Ids) and axis == 0 and array.ndim == 2:
        return _lookup(cast("ir.Value", data), ids)
    if isinstance(what, Size):
        return Size()
    position = constant(index)
    if isinstance(what, Result) and axis in (1, -2) and position is not None:
        if position.size != 1 or int(position.reshape(-1)[0]) != 0:
            raise NoMeaningError("it takes other tokens than the first")
        return _select(walk, node, what, "first")
    if isinstance(what, Result) and axis == 0 and ids == Ids(MASKED_POSITIONS):
        return _select(walk, node, what, "masked_positions")
    if isinstance(what, AttentionMask):  # one query's row
        first = position is not None and position.size == 1 and not position.any()
        if what.causal or not first or axis != 2:
            raise NoMeaningError("it takes a row out of a causal mask")
        return what
    raise NoMeaningError("it is no lookup in a table and takes no token out of a result")


def _lookup(table: ir.Value, ids: Ids) -> Meaning:
    if ids.name == "token_type_ids":
        return EmbeddedRows(token_type=table)
    if ids.name != "input_ids":
        raise NoMeaningError(f"{ids.name} look up rows of a table")
    if static_dim(table, 1) == 1:
        return EmbeddedRows(word_scale=table)
    return EmbeddedRows(word=table)


def _select(walk: Walk, node: ir.Node, result: Result, index: GatherIndex) -> Result:
    """Some tokens of a result; a result of one token per text is that already."""
    if result.rows == "texts" and index != "masked_positions":
        return result
    if result.rows != "tokens":
        raise NoMeaningError(f"it takes tokens out of rows of {result.rows}")
    rows: Rows = "masks" if index == "masked_positions" else "texts"
    name, x = node.outputs[0].name, walk.builder.as_float(result)
    return walk.builder.add(name, Gather, rows, result.width, x=x, index=index)


def _gather_tokens(walk: Walk, node: ir.Node) -> Meaning:
    """GatherND and GatherElements: the token of an index in every text."""
    if node.op_type == "GatherND" and attribute(node, "batch_dims", 0) != 1:
        raise NoMeaningError("it does not take a token out of every text")
    if node.op_type == "GatherElements" and attribute(node, "axis", 0) not in (1, -2):
        raise NoMeaningError("it does not take a token out of every text")
    what, index = walk.all_of(node)
    if not isinstance(index, TokenIndex):
        raise NoMeaningError("its index is not that of a first or last token")
    if isinstance(what, Result):
        return _select(walk, node, what, index.index)
    if isinstance(what, Visible) and _sees(what, index):
        return OneAtIndex()
    if isinstance(what, Weighted) and _sees(what.visible, index):
        return _select(walk, node, what.result, index.index)
    if isinstance(what, AttentionMask):
        if not what.causal or index.index == "last":  # the last token sees all
            return AttentionMask(causal=False)
        raise NoMeaningError("a token other than the last reads through a causal mask")
    raise NoMeaningError("what it takes a token out of is no result")


def _sees(visible: Visible, index: TokenIndex) -> bool:
    """Whether a mask is 1 at the token of an index that was looked for in the same mask."""
    pooled = index.index.endswith("_pooled")
    return visible == Visible(visible.mask, own=visible.own) and pooled == (
        visible.mask != ATTENTION_MASK
    )


def _arg_max(walk: Walk, node: ir.Node) -> Meaning:
    visible = walk.of(node.inputs[0])
    if not isinstance(visible, Visible) or visible.causal or visible.inverted:
        raise NoMeaningError("it does not look for a token of a mask")
    if walk.cached and not visible.own:
        raise NoMeaningError("it looks for a token among those of earlier calls too")
    if attribute(node, "axis", 0) not in (1, -1):
        raise NoMeaningError("it does not run over the tokens")
    last = visible.ordinal or bool(attribute(node, "select_last_index", 0))
    if visible.mask == ATTENTION_MASK:
        return TokenIndex("last" if last else "first")
    return TokenIndex("last_pooled" if last else "first_pooled")


def _slice(walk: Walk, node: ir.Node) -> Meaning:
    data, start, end, axes, *steps = node.inputs
    what = walk.of(data)
    begin, axis = scalar(start), scalar(axes)
    if isinstance(what, Size):
        return Size()
    own = _own_tokens(walk, node, what)
    if own is not None:
        return own
    if any(scalar(step) != 1 for step in steps) or begin is None or axis is None:
        raise NoMeaningError("its bounds are not constant")
    table = constant(data)
    if table is not None and table.ndim == 2:
        if begin != 0 or axis != 0 or not isinstance(walk.of(end), Size):
            raise NoMeaningError("it does not take the first rows of a table")
        return EmbeddedRows(position=cast("ir.Value", data))
    stop = scalar(end)
    rank = len(getattr(data, "shape", None) or ())
    if isinstance(what, Result) and axis in (-1, rank - 1) and stop == begin + 1:
        return Column(what, int(begin))
    raise NoMeaningError("it takes neither rows of a table nor one column of a result")


def _own_tokens(walk: Walk, node: ir.Node, what: Meaning | None) -> Meaning | None:
    """What a value of all tokens says of this call's, those behind the ones of earlier calls."""
    if not walk.cached or not isinstance(what, Visible | Ordinals | Positions) or what.own:
        return None
    data, start, end, axes, *steps = node.inputs
    first, last = walk.of(start), scalar(end)
    rank = len(getattr(data, "shape", None) or ())
    whole = last is not None and last >= _TO_THE_END and scalar(axes) in (-1, rank - 1)
    begins = first in (Size(PAST), Size(SEQUENCE, negative=True))
    if not (whole and begins and all(scalar(step) == 1 for step in steps)):
        return None
    return replace(what, own=True)


READERS: Mapping[str, Reader] = {
    "ArgMax": _arg_max,
    "Gather": _gather,
    "GatherElements": _gather_tokens,
    "GatherND": _gather_tokens,
    "Slice": _slice,
}
"""By operator of the standard domain."""
