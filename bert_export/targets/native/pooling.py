"""Readers of what makes one row of a text's tokens, and of a vector's length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from bert_export.bundle.program import Normalize, Pool, PoolMode
from bert_export.passes.editing import scalar
from bert_export.targets.native.builder import Result
from bert_export.targets.native.meanings import (
    Count,
    HiddenTokensRemoved,
    Length,
    Meaning,
    Summed,
    Visible,
    Weighted,
)
from bert_export.targets.native.walk import ATTENTION_MASK, NoMeaningError, Reader, Walk

__all__ = ["READERS"]

_LEAST_COUNT = 1e-9


def _div(walk: Walk, node: ir.Node) -> Meaning:
    above, below = walk.all_of(node)
    name = node.outputs[0].name
    if isinstance(above, Result) and isinstance(below, Length) and below.result is above:
        if below.least is None or above.rows != "texts":
            raise NoMeaningError("it divides by a length that may be 0")
        x = walk.builder.as_float(above)
        return walk.builder.add(
            name, Normalize, "texts", above.width, x=x, epsilon=float(below.least)
        )
    if isinstance(above, Summed) and isinstance(below, Count) and below.bounded:
        weighted = above.weighted
        if weighted.visible != below.visible or (below.root and below.visible.ordinal):
            raise NoMeaningError("it divides a sum by the size of another mask")
        mode: PoolMode = "mean_sqrt_len" if below.root else "mean"
        return _pool(
            walk,
            node,
            weighted.result,
            "weightedmean" if below.visible.ordinal else mode,
            below.visible.mask,
        )
    raise NoMeaningError("it is no mean and no normalization")


def _pool(walk: Walk, node: ir.Node, result: Result, mode: PoolMode, mask: str) -> Result:
    return walk.builder.add(
        node.outputs[0].name,
        Pool,
        "texts",
        result.width,
        x=walk.builder.as_float(result),
        mode=mode,
        mask=None if mask == ATTENTION_MASK else mask,
    )


def _reduce_sum(walk: Walk, node: ir.Node) -> Meaning:
    meaning = walk.of(node.inputs[0])
    if scalar(node.inputs[1]) != 1:
        raise NoMeaningError("it does not sum over the tokens")
    if isinstance(meaning, Weighted):
        return Summed(meaning)
    if isinstance(meaning, Visible) and not meaning.causal and not meaning.inverted:
        return Count(meaning)
    raise NoMeaningError("it sums something else than a masked result or a mask")


def _reduce_max(walk: Walk, node: ir.Node) -> Meaning:
    removed = walk.of(node.inputs[0])
    if not isinstance(removed, HiddenTokensRemoved) or scalar(node.inputs[1]) != 1:
        raise NoMeaningError("it is no largest value of each text's tokens")
    return _pool(walk, node, removed.result, "max", removed.mask)


def _reduce_l2(walk: Walk, node: ir.Node) -> Meaning:
    result = walk.result(node.inputs[0])
    if scalar(node.inputs[1]) not in (1, -1) or result.rows != "texts":
        raise NoMeaningError("it is no length of a text's vector")
    return Length(result)


def _clip(walk: Walk, node: ir.Node) -> Meaning:
    meaning, least = walk.of(node.inputs[0]), scalar(node.inputs[1])
    if any(value is not None for value in node.inputs[2:]) or least is None:
        raise NoMeaningError("it bounds from above")
    if isinstance(meaning, Length) and meaning.least is None:
        return replace(meaning, least=least)
    if isinstance(meaning, Count) and not meaning.bounded and np.isclose(least, _LEAST_COUNT):
        return replace(meaning, bounded=True)
    raise NoMeaningError("it bounds neither a length nor the size of a mask")


def _sqrt(walk: Walk, node: ir.Node) -> Meaning:
    meaning = walk.of(node.inputs[0])
    if not isinstance(meaning, Count) or not meaning.bounded or meaning.root:
        raise NoMeaningError("it is no root of the size of a mask")
    return replace(meaning, root=True)


READERS: Mapping[str, Reader] = {
    "Clip": _clip,
    "Div": _div,
    "ReduceL2": _reduce_l2,
    "ReduceMax": _reduce_max,
    "ReduceSum": _reduce_sum,
    "Sqrt": _sqrt,
}
"""By operator of the standard domain."""
