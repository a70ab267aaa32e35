"""Projections to queries, keys and values together with attention, for operators that do both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from scripts.forms.attention import MASKS, PADDED, attend, padding_masks, standard
from scripts.forms.form import (
    CONTRIB,
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
from scripts.forms.linear import QKV, Kind, matmul_add, merge_layers, merged
from scripts.forms.linear_int8 import quantized_input, static

__all__ = ["PROJECTED_ATTENTION"]

_FP32, _INT8 = "FP32", "INT8"
_INT8_TOLERANCE = 0.03


def _attention(draw: Drawing, *, kind: Kind) -> list[ir.Value]:
    """Projections of a kind, and Attention on three axes."""
    parts = kind(draw, draw.input("x"), QKV.make(draw.size))
    return standard(draw, mask="bool_square", parts=parts)


def one_transpose(draw: Drawing, *, kind: Kind) -> list[ir.Value]:
    """One projection, heads split by one Transpose to (3, B, N, S, D), Attention on four axes."""
    size = draw.size
    (states,) = kind(draw, draw.input("x"), [merge_layers(QKV.make(size))])
    split = draw.op("Reshape", states, np.array([0, 0, 3, size.heads, size.head_width]))
    turned = draw.op("Transpose", split, perm=[2, 0, 3, 1, 4])
    pieces = draw.ops("Split", turned, np.array([1, 1, 1]), outputs=3, axis=0)
    parts = [draw.op("Squeeze", piece, np.array([0])) for piece in pieces]
    return standard(draw, mask="bool_square", axes=4, parts=parts)


def contrib_attention(draw: Drawing) -> list[ir.Value]:
    """com.microsoft Attention."""
    layer = merge_layers(QKV.make(draw.size))
    operands: list[Operand] = [
        draw.input("x"),
        layer.weight,
        layer.bias,
        draw.input("visible_int32"),
    ]
    return [draw.op("Attention", *operands, domain=CONTRIB, num_heads=draw.size.heads)]


def bias_inside(draw: Drawing) -> list[ir.Value]:
    """MatMul three times, and MultiHeadAttention with their biases."""
    layers = QKV.make(draw.size)
    parts = [draw.op("MatMul", draw.input("x"), layer.weight) for layer in layers]
    operands: list[Operand] = [*parts, merge_layers(layers).bias, draw.input("visible_int32")]
    heads = draw.size.heads
    return [draw.op("MultiHeadAttention", *operands, domain=CONTRIB, num_heads=heads)]


def quantized_attention(draw: Drawing) -> list[ir.Value]:
    """com.microsoft QAttention."""
    layer = merge_layers(QKV.make(draw.size))
    weight, weight_scale = layer.quantized
    scale, zero = quantized_input(signed=False)
    operands: list[Operand] = [
        draw.op("QuantizeLinear", draw.input("x"), scale, zero),
        *(weight, layer.bias, scale, weight_scale, draw.input("visible_int32")),
        *(zero, np.zeros(layer.outputs, np.int8)),
    ]
    return [draw.op("QAttention", *operands, domain=CONTRIB, num_heads=draw.size.heads)]


def _problem(size: Size, work: Workload, _variant: str) -> Problem:
    x = fill(work.batch, work.sequence, size.hidden, seed=9)
    query, key, value = (layer.apply(x) for layer in QKV.make(size))
    masks = padding_masks(work, PADDED)
    expected = attend(query, key, value, masks["bool_row"], size.heads)
    return Problem({"x": x, **masks}, (expected,))


def _both(
    name: str, draw: Callable[..., list[ir.Value]], wrap: Callable[[Kind], Kind]
) -> list[Form]:
    """The form in FP32 and in INT8."""
    return [
        Form(f"MatMul + Add; {name}", partial(draw, kind=wrap(matmul_add)), _FP32),
        Form(
            f"static u8, MatMulIntegerToFloat; {name}",
            partial(draw, kind=wrap(static)),
            _INT8,
            tolerance=_INT8_TOLERANCE,
        ),
    ]


PROJECTED_ATTENTION = Block(
    name="projections and attention",
    what=(
        "States (B, S, H) to the joined heads; compares operators that take the projections' "
        "weights too."
    ),
    inputs={"x": Spec(ir.DataType.FLOAT, ("B", "S", "H")), **MASKS},
    problem=_problem,
    forms=tuple(
        sorted(
            (
                *_both("separate; Attention 3-D", _attention, lambda kind: kind),
                *_both("merged, Split; Attention 3-D", _attention, merged),
                *_both("merged, one Transpose; Attention 4-D", one_transpose, lambda kind: kind),
                Form("com.microsoft Attention", contrib_attention, _FP32),
                Form("MatMul; MultiHeadAttention with the biases", bias_inside, _FP32),
                Form("QAttention", quantized_attention, _INT8, tolerance=_INT8_TOLERANCE),
            ),
            key=lambda form: (_FP32, _INT8).index(form.variant),
        )
    ),
)
