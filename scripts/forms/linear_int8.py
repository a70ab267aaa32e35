"""Linear layers in INT8: float32 in and out, the quantization of the states included."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from scripts.forms.form import CONTRIB, Array, Drawing, Operand
from scripts.forms.linear import FOLDED, LAYERS, Layer, LinearForm, flat, linear_block, unflat

__all__ = ["INT8_BLOCKS", "quantized_input", "static"]

_RANGE = 4.0  # of the states; see fill
_OUTPUT_RANGE = 8.0
_S8_BOUND = 127
_BLOCKS = (128, 32)  # of MatMulNBits along K, the first that divides it


def quantized_input(*, signed: bool) -> tuple[Array, Array]:
    """Scale and zero point of the states."""
    if signed:
        return np.array(_RANGE / _S8_BOUND, np.float32), np.array(0, np.int8)
    return _unsigned(_RANGE)


def _unsigned(bound: float) -> tuple[Array, Array]:
    """Scale and zero point of u8, as an export has them."""
    from bert_export.quantization.quantizer import affine_parameters  # which imports torch

    found = affine_parameters(-bound, bound)
    return np.array(found.scale, np.float32), np.array(found.zero_point, np.uint8)


def static(
    draw: Drawing,
    x: ir.Value,
    layers: Sequence[Layer],
    *,
    signed: bool = False,
    add: bool = False,
    bias: bool = True,
) -> list[ir.Value]:
    """QuantizeLinear once, then MatMulIntegerToFloat.

    Args:
        draw: Where to draw.
        x: (B, S, K).
        layers: What to draw.
        signed: Whether the states become s8 instead of u8.
        add: Whether the bias is an Add of its own.
        bias: Whether there is one.
    """
    scale, zero = quantized_input(signed=signed)
    levels = draw.op("QuantizeLinear", x, scale, zero)
    return [_product(draw, levels, layer, scale, zero, add=add, bias=bias) for layer in layers]


def _product(
    draw: Drawing,
    levels: ir.Value,
    layer: Layer,
    scale: ir.Value | Array,
    zero: ir.Value | Array,
    *,
    add: bool = False,
    bias: bool = True,
) -> ir.Value:
    weight, weight_scale = layer.quantized
    operands: list[Operand] = [
        levels,
        weight,
        scale,
        weight_scale,
        zero,
        None,
        *([layer.bias] if bias and not add else []),
    ]
    product = draw.op("MatMulIntegerToFloat", *operands, domain=CONTRIB)
    return draw.op("Add", product, layer.bias) if add else product


def dynamic(draw: Drawing, x: ir.Value, layers: Sequence[Layer]) -> list[ir.Value]:
    """DynamicQuantizeLinear once, then MatMulIntegerToFloat."""
    levels, scale, zero = draw.ops("DynamicQuantizeLinear", x, outputs=3)
    return [_product(draw, levels, layer, scale, zero) for layer in layers]


def _scaled(draw: Drawing, total: ir.Value, scale: ir.Value | Array, layer: Layer) -> ir.Value:
    """From int32 sums to float32 with the bias."""
    product = draw.op("Cast", total, to=ir.DataType.FLOAT)
    return draw.op("Add", draw.op("Mul", product, scale), layer.bias)


def static_integer(draw: Drawing, x: ir.Value, layers: Sequence[Layer]) -> list[ir.Value]:
    """QuantizeLinear, MatMulInteger, Cast, Mul, Add."""
    scale, zero = quantized_input(signed=False)
    levels = draw.op("QuantizeLinear", x, scale, zero)
    outputs = []
    for layer in layers:
        weight, weight_scale = layer.quantized
        total = draw.op("MatMulInteger", levels, weight, zero)
        outputs.append(_scaled(draw, total, scale * weight_scale, layer))
    return outputs


def dynamic_integer(draw: Drawing, x: ir.Value, layers: Sequence[Layer]) -> list[ir.Value]:
    """DynamicQuantizeLinear, MatMulInteger, Cast, Mul, Mul, Add."""
    levels, scale, zero = draw.ops("DynamicQuantizeLinear", x, outputs=3)
    outputs = []
    for layer in layers:
        weight, weight_scale = layer.quantized
        total = draw.op("MatMulInteger", levels, weight, zero)
        outputs.append(_scaled(draw, total, draw.op("Mul", scale, weight_scale), layer))
    return outputs


def dynamic_matmul(draw: Drawing, x: ir.Value, layers: Sequence[Layer]) -> list[ir.Value]:
    """com.microsoft DynamicQuantizeMatMul, which quantizes for each layer anew."""
    outputs = []
    for layer in layers:
        weight, weight_scale = layer.quantized
        operands: list[Operand] = [x, weight, weight_scale, None, layer.bias]
        outputs.append(draw.op("DynamicQuantizeMatMul", *operands, domain=CONTRIB))
    return outputs


def qdq(
    draw: Drawing, x: ir.Value, layers: Sequence[Layer], *, signed: bool = False
) -> list[ir.Value]:
    """The standard Q/DQ form, which ONNX Runtime fuses above the basic level."""
    scale, zero = quantized_input(signed=signed)
    levels = draw.op("QuantizeLinear", x, scale, zero)
    states = draw.op("DequantizeLinear", levels, scale, zero)
    outputs = []
    for layer in layers:
        weight, weight_scale = layer.quantized
        stored = draw.op("DequantizeLinear", weight, weight_scale, axis=1)
        outputs.append(draw.op("Add", draw.op("MatMul", states, stored), layer.bias))
    return outputs


def quantized_output(draw: Drawing, x: ir.Value, layers: Sequence[Layer]) -> list[ir.Value]:
    """QLinearMatMul to u8, DequantizeLinear, Add."""
    scale, zero = quantized_input(signed=False)
    levels = draw.op("QuantizeLinear", x, scale, zero)
    out_scale, out_zero = _unsigned(_OUTPUT_RANGE)
    outputs = []
    for layer in layers:
        weight, weight_scale = layer.quantized
        weight_zero = np.zeros(layer.outputs, np.int8)
        operands: list[Operand] = [
            levels,
            scale,
            zero,
            weight,
            weight_scale,
            weight_zero,
            out_scale,
            out_zero,
        ]
        product = draw.op("QLinearMatMul", *operands)
        states = draw.op("DequantizeLinear", product, out_scale, out_zero)
        outputs.append(draw.op("Add", states, layer.bias))
    return outputs


def qgemm(
    draw: Drawing, x: ir.Value, layers: Sequence[Layer], *, signed: bool = False
) -> list[ir.Value]:
    """com.microsoft QGemm on rows, with the bias in int32 and float32 out."""
    scale, zero = quantized_input(signed=signed)
    levels = draw.op("QuantizeLinear", x, scale, zero)
    outputs = []
    for layer in layers:
        weight, weight_scale = layer.quantized
        bias = np.rint(layer.bias / (scale * weight_scale)).astype(np.int32)
        weight_zero = np.zeros(layer.outputs, np.int8)
        rows = flat(draw, levels, layer)
        operands: list[Operand] = [rows, scale, zero, weight, weight_scale, weight_zero, bias]
        outputs.append(unflat(draw, x, draw.op("QGemm", *operands, domain=CONTRIB), layer))
    return outputs


def n_bits(draw: Drawing, x: ir.Value, layers: Sequence[Layer], *, bits: int) -> list[ir.Value]:
    """com.microsoft MatMulNBits: weights in blocks along K, states quantized inside."""
    outputs = []
    for layer in layers:
        block = next(block for block in _BLOCKS if layer.inputs % block == 0)
        packed, scales = _pack(layer.weight, bits=bits, block=block)
        outputs.append(
            draw.op(
                "MatMulNBits",
                *(x, packed, scales, None, None, layer.bias),
                domain=CONTRIB,
                K=layer.inputs,
                N=layer.outputs,
                bits=bits,
                block_size=block,
                accuracy_level=4,
            )
        )
    return outputs


def _pack(weight: Array, *, bits: int, block: int) -> tuple[Array, Array]:
    """Levels (N, K / block, bytes) around the middle one, and scales (N, K / block)."""
    middle = 1 << (bits - 1)
    blocks = np.ascontiguousarray(weight.T).reshape(weight.shape[1], -1, block)
    scales = np.abs(blocks).max(axis=-1) / np.float32(middle - 1)
    levels = (np.rint(blocks / scales[..., None]) + middle).astype(np.uint8)
    if bits == 4:
        levels = levels[..., 0::2] | (levels[..., 1::2] << 4)
    return levels, scales.astype(np.float32)


_EIGHT, _FOUR = 0.02, 0.2  # tolerances of so many bits

_INT8 = (
    LinearForm("static u8, MatMulIntegerToFloat with bias", static, _EIGHT),
    LinearForm("static u8, MatMulIntegerToFloat + Add", partial(static, add=True), _EIGHT),
    LinearForm("static s8, MatMulIntegerToFloat with bias", partial(static, signed=True), _EIGHT),
    LinearForm("static u8, MatMulInteger + Cast + Mul + Add", static_integer, _EIGHT),
    LinearForm("dynamic u8, MatMulIntegerToFloat with bias", dynamic, _EIGHT),
    LinearForm("dynamic u8, MatMulInteger + Cast + Mul + Add", dynamic_integer, _EIGHT),
    LinearForm("DynamicQuantizeMatMul", dynamic_matmul, _EIGHT),
    LinearForm("QDQ u8; extended level", qdq, _EIGHT, "extended"),
    LinearForm("QDQ s8; extended level", partial(qdq, signed=True), _EIGHT, "extended"),
    LinearForm("static u8, QLinearMatMul + DequantizeLinear + Add", quantized_output, _EIGHT),
    LinearForm("static u8, QGemm on rows", qgemm, _EIGHT),
    LinearForm("static s8, QGemm on rows", partial(qgemm, signed=True), _EIGHT),
    LinearForm("MatMulNBits, 8 bits", partial(n_bits, bits=8), _EIGHT),
    LinearForm("MatMulNBits, 4 bits", partial(n_bits, bits=4), _FOUR),
    LinearForm(
        "static u8, MatMulIntegerToFloat", partial(static, bias=False), _EIGHT, variant=FOLDED
    ),
)

INT8_BLOCKS = tuple(linear_block("INT8", layers, _INT8) for layers in LAYERS)
