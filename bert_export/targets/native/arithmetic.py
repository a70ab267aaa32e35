"""Readers of sums and products: biases, residuals, scales, masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import onnx_ir as ir

from bert_export.bundle.program import Concat
from bert_export.passes.editing import attribute, is_vector, scalar
from bert_export.targets.native.builder import Result
from bert_export.targets.native.meanings import (
    Affine,
    AttentionMask,
    EmbeddedRows,
    Gate,
    Meaning,
    OneAtIndex,
    Ordinals,
    Pairs,
    Size,
    Visible,
    Weighted,
)
from bert_export.targets.native.walk import ATTENTION_MASK, NoMeaningError, Reader, Walk

__all__ = ["READERS"]

_HIDDEN = -1e4
"""What is added to the scores of hidden keys is less than this."""


def _add(walk: Walk, node: ir.Node) -> Meaning:
    if walk.only_sizes(node):
        return Size()
    meanings = walk.all_of(node)
    left, right = meanings
    if isinstance(left, EmbeddedRows) and isinstance(right, EmbeddedRows):
        return _sum_of_rows(left, right)
    for index, meaning in enumerate(meanings):
        other = node.inputs[1 - index]
        if isinstance(meaning, Result) and is_vector(other):
            return _add_vector(walk, node, node.inputs[index], cast("ir.Value", other))
    for index, value in enumerate(node.inputs):
        layer, residual = walk.open_linear(value), meanings[1 - index]
        if layer is None or layer.fields["residual"] is not None:
            continue
        if isinstance(residual, Result) and residual is not layer:
            if (residual.rows, residual.width) != (layer.rows, layer.width):
                raise NoMeaningError("it adds a result of another shape")
            name = walk.builder.as_float(residual)
            return walk.builder.extend(layer, node.outputs[0].name, residual=name)
    raise NoMeaningError("it adds neither a bias nor a residual to a linear layer")


def _add_vector(walk: Walk, node: ir.Node, value: ir.Value | None, vector: ir.Value) -> Meaning:
    """A bias of a linear layer, or shifts before a quantization."""
    layer = walk.open_linear(value)
    if layer is not None:
        fields = layer.fields
        if (fields["bias"], fields["residual"], fields["activation"]) == (None, None, "none"):
            name = walk.builder.tensor(vector)
            return walk.builder.extend(layer, node.outputs[0].name, bias=name)
    return Affine(walk.result(value), add=vector)


def _sum_of_rows(left: EmbeddedRows, right: EmbeddedRows) -> EmbeddedRows:
    fields: dict[str, ir.Value] = {}
    for rows in (left, right):
        for name in ("word", "word_scale", "token_type", "position"):
            table = getattr(rows, name)
            if table is not None and name in fields:
                raise NoMeaningError(f"it adds rows of two tables of the kind {name}")
            if table is not None:
                fields[name] = table
    return EmbeddedRows(**fields)


def _mul(walk: Walk, node: ir.Node) -> Meaning:
    if walk.only_sizes(node):
        return Size()
    meanings = walk.all_of(node)
    for index, meaning in enumerate(meanings):
        other, value = meanings[1 - index], node.inputs[1 - index]
        product = _product_of(meaning, other, value)
        if product is not None:
            return product
    raise NoMeaningError("it is no product that a program has")


def _product_of(
    meaning: Meaning | None, other: Meaning | None, value: ir.Value | None
) -> Meaning | None:
    """A factor's meaning times the other's; ``value`` is the other's, which may be constant."""
    if isinstance(meaning, Visible):
        return _product_of_mask(meaning, other, scalar(value))
    if isinstance(meaning, EmbeddedRows) and isinstance(other, EmbeddedRows):
        parts = (meaning.word_scale, meaning.token_type, meaning.position)
        if parts == (None, None, None) and other == EmbeddedRows(word_scale=other.word_scale):
            return replace(meaning, word_scale=other.word_scale)
    if isinstance(meaning, Affine) and meaning.multiply is None and is_vector(value):
        return replace(meaning, multiply=value)
    return _product_of_result(meaning, other, value) if isinstance(meaning, Result) else None


def _product_of_mask(
    visible: Visible, other: Meaning | None, factor: float | None
) -> Meaning | None:
    """A mask times a number, pairs of tokens or ordinals."""
    if other is None and factor is not None:
        hides = visible.inverted and not visible.ordinal and visible.mask == ATTENTION_MASK
        return AttentionMask(visible.causal) if hides and factor < _HIDDEN else None
    if isinstance(other, Pairs) and visible == Visible(ATTENTION_MASK):
        return replace(visible, causal=True)
    if other == Ordinals(1) and visible == Visible(visible.mask):
        return replace(visible, ordinal=True)
    return None


def _product_of_result(
    result: Result, other: Meaning | None, value: ir.Value | None
) -> Meaning | None:
    """A result times a mask, its own sigmoid or a constant per channel."""
    if isinstance(other, OneAtIndex):
        return result
    if isinstance(other, Visible) and result.rows == "tokens" and not other.inverted:
        return None if other.causal else Weighted(result, other)
    if isinstance(other, Gate) and other.result is result:
        return result
    return Affine(result, multiply=value) if value is not None and is_vector(value) else None


def _concat(walk: Walk, node: ir.Node) -> Meaning:
    if walk.only_sizes(node):
        return Size()
    results = [walk.result(value) for value in node.inputs]
    if any(result.rows != "texts" for result in results) or attribute(node, "axis", 0) not in (
        1,
        -1,
    ):
        raise NoMeaningError("it does not join vectors of texts")
    if len(results) == 1:
        return results[0]
    return walk.builder.add(
        node.outputs[0].name,
        Concat,
        "texts",
        sum(result.width for result in results),
        x=tuple(map(walk.builder.as_float, results)),
    )


READERS: Mapping[str, Reader] = {
    "Add": _add,
    "Concat": _concat,
    "Mul": _mul,
}
"""By operator of the standard domain."""
