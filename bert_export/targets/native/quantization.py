"""Readers of number formats, and of stored weights in another form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import attribute, constant, scalar
from bert_export.targets.native.meanings import (
    Affine,
    Dequantized,
    Meaning,
    Quantized,
    ScaledWeight,
    Transposed,
)
from bert_export.targets.native.walk import NoMeaningError, Reader, Walk

__all__ = ["READERS"]


def _quantize(walk: Walk, node: ir.Node) -> Meaning:
    x, scale, zero = node.inputs[0], scalar(node.inputs[1]), constant(node.inputs[2])
    if scale is None or zero is None or zero.size != 1 or zero.dtype != np.uint8:
        raise NoMeaningError("it does not write uint8 with one scale")
    meaning, name, zero_point = walk.of(x), str(node.outputs[0].name), int(zero.reshape(-1)[0])
    if isinstance(meaning, Affine):
        result = meaning.result
        name = walk.builder.as_uint8(
            result, name, scale, zero_point, add=meaning.add, multiply=meaning.multiply
        )
    else:
        result = walk.result(x)
        name = walk.builder.as_uint8(result, name, scale, zero_point)
    return Quantized(result, name, scale, zero_point)


def _dequantize(walk: Walk, node: ir.Node) -> Meaning:
    x, scale = node.inputs[0], node.inputs[1]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    quantized, stored = walk.of(x), constant(x)
    if isinstance(quantized, Quantized):
        found = constant(zero)
        same = found is not None and int(found.reshape(-1)[0]) == quantized.zero_point
        if scalar(scale) != quantized.scale or not same:
            raise NoMeaningError("its scale or zero point is another than that of the quantization")
        return Dequantized(quantized)
    scales = constant(scale)
    if stored is None or scales is None or stored.dtype != np.int8 or stored.ndim != 2:
        raise NoMeaningError("it reads neither a quantized result nor a stored int8 weight")
    if zero is not None or attribute(node, "axis", 1) != 1 or scales.shape != stored.shape[1:]:
        raise NoMeaningError("its weight has no scale per output channel, or a zero point")
    return ScaledWeight(cast("ir.Value", x), cast("ir.Value", scale))


def _transpose(_: Walk, node: ir.Node) -> Meaning:
    stored = constant(node.inputs[0])
    if stored is None or stored.ndim != 2 or list(attribute(node, "perm", [1, 0])) != [1, 0]:
        raise NoMeaningError("it does not transpose a stored matrix")
    return Transposed(cast("ir.Value", node.inputs[0]))


READERS: Mapping[str, Reader] = {
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
    "Transpose": _transpose,
}
"""By operator of the standard domain."""
