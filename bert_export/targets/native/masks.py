"""Readers of shapes, masks and other values that padding needs and ragged rows do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from bert_export.passes.editing import attribute, is_output, scalar, static_dim
from bert_export.targets.native.builder import Result
from bert_export.targets.native.meanings import (
    Column,
    Counted,
    Dequantized,
    HiddenTokens,
    HiddenTokensRemoved,
    Meaning,
    Ordinals,
    Pairs,
    Positions,
    Quantized,
    Rounded,
    Size,
    Visible,
)
from bert_export.targets.native.walk import ATTENTION_MASK, NoMeaningError, Reader, Walk
from bert_export.tasks.interface import TOTAL

__all__ = ["READERS"]


def _shape(_: Walk, node: ir.Node) -> Meaning:
    """One axis of a graph input, or several sizes."""
    value = node.inputs[0]
    first, end = attribute(node, "start", 0), attribute(node, "end", None)
    if value is None or not value.is_graph_input() or value.shape is None or end != first + 1:
        return Size()
    return Size(str(getattr(value.shape[first], "value", None)))


def _range(walk: Walk, node: ir.Node) -> Meaning:
    first, step, size = scalar(node.inputs[0]), scalar(node.inputs[2]), walk.of(node.inputs[1])
    if first is None or step != 1 or not isinstance(size, Size):
        raise NoMeaningError("it does not count tokens")
    if walk.cached and size != Size(TOTAL):
        raise NoMeaningError("it does not count all tokens, those of earlier calls among them")
    return Ordinals(int(first))


def _cum_sum(walk: Walk, node: ir.Node) -> Meaning:
    plain = not attribute(node, "exclusive", 0) and not attribute(node, "reverse", 0)
    if walk.of(node.inputs[0]) != Visible(ATTENTION_MASK) or scalar(node.inputs[1]) != 1:
        raise NoMeaningError("it does not count the tokens of the attention mask")
    if not plain:
        raise NoMeaningError("it counts from the end, or leaves the token itself out")
    return Counted()


def _keep(walk: Walk, node: ir.Node) -> Meaning:
    """Another form of what is no result: the meaning stays."""
    meaning = walk.of(node.inputs[0])
    if meaning is None or isinstance(meaning, Result | Rounded | Column | Quantized | Dequantized):
        raise NoMeaningError("it changes the form of a result")
    return meaning


def _cast(walk: Walk, node: ir.Node) -> Meaning:
    """A cast to bfloat16 and back rounds a result; one of a mask or a size keeps its meaning."""
    meaning, to = walk.of(node.inputs[0]), attribute(node, "to", None)
    if isinstance(meaning, Result) and to == ir.DataType.BFLOAT16:
        return Rounded(meaning)
    if isinstance(meaning, Rounded) and to == ir.DataType.FLOAT:
        return meaning
    return _keep(walk, node)


def _squeeze(walk: Walk, node: ir.Node) -> Meaning:
    meaning = walk.of(node.inputs[0])
    if isinstance(meaning, Result):
        if meaning.rows != "texts" or static_dim(node.outputs[0], -1) != meaning.width:
            raise NoMeaningError("it changes the form of a result")
        return meaning
    if isinstance(meaning, Column):
        return meaning
    return _keep(walk, node)


def _reshape(walk: Walk, node: ir.Node) -> Meaning:
    meaning, output = walk.of(node.inputs[0]), node.outputs[0]
    if not isinstance(meaning, Result):
        return _keep(walk, node)
    if static_dim(output, -1) == meaning.width:  # (B, S, W) to (B * S, W)
        return meaning
    if meaning.width == 1 and meaning.rows == "texts" and is_output(output):  # choices
        return Column(meaning, 0)
    raise NoMeaningError("it changes the width of a result")


def _less_or_equal(walk: Walk, node: ir.Node) -> Meaning:
    keys, queries = node.inputs
    if not (
        walk.all_of(node) == [Ordinals(0), Ordinals(0, own=walk.cached)]
        and static_dim(keys, 0) == 1
        and static_dim(queries, 1) == 1
    ):
        raise NoMeaningError("it does not compare the positions of keys with those of queries")
    return Pairs()


def _equal(walk: Walk, node: ir.Node) -> Meaning:
    visible = walk.of(node.inputs[0])
    if not isinstance(visible, Visible) or visible != Visible(visible.mask):
        raise NoMeaningError("it compares something else than a mask")
    if scalar(node.inputs[1]) != 0:
        raise NoMeaningError("it does not look for the 0s of a mask")
    return HiddenTokens(visible.mask)


def _where(walk: Walk, node: ir.Node) -> Meaning:
    hidden, low, result = (walk.of(value) for value in node.inputs)
    if not isinstance(hidden, HiddenTokens) or not isinstance(result, Result):
        raise NoMeaningError("it does not remove hidden tokens from a result")
    if low is not None or scalar(node.inputs[1]) != float("-inf") or result.rows != "tokens":
        raise NoMeaningError("it does not write -inf in place of hidden tokens")
    return HiddenTokensRemoved(result, hidden.mask)


def _sub(walk: Walk, node: ir.Node) -> Meaning:
    left, visible = walk.all_of(node)
    if isinstance(left, Counted) and visible == Visible(ATTENTION_MASK):
        return Positions()
    if isinstance(visible, Size) and scalar(node.inputs[0]) == 0:
        return replace(visible, negative=not visible.negative)
    if scalar(node.inputs[0]) != 1 or not isinstance(visible, Visible):
        raise NoMeaningError("it does not invert a mask")
    return replace(visible, inverted=not visible.inverted)


READERS: Mapping[str, Reader] = {
    "Cast": _cast,
    "CumSum": _cum_sum,
    "Equal": _equal,
    "Expand": _keep,
    "LessOrEqual": _less_or_equal,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Unsqueeze": _keep,
    "Where": _where,
}
"""By operator of the standard domain."""
