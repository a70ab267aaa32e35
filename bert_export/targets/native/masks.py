"""Readers of shapes, masks and other values that padding needs and ragged rows do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from bert_export.passes.editing import attribute, is_output, scalar, static_dim
from bert_export.targets.native.builder import Result
from bert_export.targets.native.meanings import (
    Column,
    Dequantized,
    HiddenTokens,
    HiddenTokensRemoved,
    Meaning,
    Ordinals,
    Pairs,
    Quantized,
    Rounded,
    Size,
    Visible,
)
from bert_export.targets.native.walk import NoMeaningError, Reader, Walk

__all__ = ["READERS"]


def _range(walk: Walk, node: ir.Node) -> Meaning:
    first, step = scalar(node.inputs[0]), scalar(node.inputs[2])
    if first is None or step != 1 or not isinstance(walk.of(node.inputs[1]), Size):
        raise NoMeaningError("it does not count tokens")
    return Ordinals(int(first))


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
        walk.all_of(node) == [Ordinals(0), Ordinals(0)]
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
    visible = walk.of(node.inputs[1])
    if scalar(node.inputs[0]) != 1 or not isinstance(visible, Visible):
        raise NoMeaningError("it does not invert a mask")
    return replace(visible, inverted=not visible.inverted)


READERS: Mapping[str, Reader] = {
    "Cast": _cast,
    "Equal": _equal,
    "Expand": _keep,
    "LessOrEqual": _less_or_equal,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": lambda *_: Size(),
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Unsqueeze": _keep,
    "Where": _where,
}
"""By operator of the standard domain."""
