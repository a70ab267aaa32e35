"""Residual and layer normalization: two states (B, S, H) to one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from scripts.forms.form import (
    CONTRIB,
    Array,
    Block,
    Drawing,
    Form,
    Level,
    Operand,
    Problem,
    Size,
    Spec,
    Workload,
    fill,
)

__all__ = ["NORMALIZATION"]

_PLAIN, _BIASED = "residual", "residual and bias"
_EPSILON = 1e-12
_STATES = Spec(ir.DataType.FLOAT, ("B", "S", "H"))


def _parameters(size: Size) -> tuple[Array, Array, Array]:
    """Weight, bias, and the bias of the linear layer before."""
    weight, bias, before = (fill(size.hidden, seed=seed) for seed in (1, 2, 3))
    return 1 + weight / 10, bias / 10, before / 10


def _sum(draw: Drawing, *, biased: bool) -> ir.Value:
    x = draw.input("x")
    if biased:
        x = draw.op("Add", x, _parameters(draw.size)[2])
    return draw.op("Add", x, draw.input("residual"))


def skip(draw: Drawing, *, biased: bool) -> list[ir.Value]:
    """com.microsoft SkipLayerNormalization."""
    weight, bias, before = _parameters(draw.size)
    operands: list[Operand] = [draw.input("x"), draw.input("residual"), weight, bias]
    if biased:
        operands.append(before)
    return [draw.op("SkipLayerNormalization", *operands, domain=CONTRIB, epsilon=_EPSILON)]


def standard(draw: Drawing, *, biased: bool) -> list[ir.Value]:
    """Add, then LayerNormalization."""
    weight, bias, _ = _parameters(draw.size)
    total = _sum(draw, biased=biased)
    return [draw.op("LayerNormalization", total, weight, bias, axis=-1, epsilon=_EPSILON)]


def decomposed(draw: Drawing, *, biased: bool) -> list[ir.Value]:
    """Add, then ReduceMean twice."""
    weight, bias, _ = _parameters(draw.size)
    total = _sum(draw, biased=biased)
    last = np.array([-1])
    centred = draw.op("Sub", total, draw.op("ReduceMean", total, last))
    variance = draw.op("ReduceMean", draw.op("Pow", centred, np.float32(2)), last)
    deviation = draw.op("Sqrt", draw.op("Add", variance, np.float32(_EPSILON)))
    scaled = draw.op("Mul", draw.op("Div", centred, deviation), weight)
    return [draw.op("Add", scaled, bias)]


def _problem(size: Size, work: Workload, variant: str) -> Problem:
    shape = (work.batch, work.sequence, size.hidden)
    x, residual = fill(*shape, seed=4), fill(*shape, seed=5)
    weight, bias, before = _parameters(size)
    total = x + residual + (before if variant == _BIASED else 0)
    centred = total - total.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
    return Problem({"x": x, "residual": residual}, (centred / deviation * weight + bias,))


_TABLE: tuple[tuple[str, Callable[..., list[ir.Value]], Level, tuple[str, ...]], ...] = (
    ("SkipLayerNormalization", skip, "basic", ()),
    ("Add + LayerNormalization", standard, "basic", ()),
    ("Add + LayerNormalization; extended level", standard, "extended", ()),
    (
        "Add + LayerNormalization; extended level without SkipLayerNormFusion",
        standard,
        "extended",
        ("SkipLayerNormFusion",),
    ),
    ("Add + ReduceMean form", decomposed, "basic", ()),
    ("Add + ReduceMean form; nothing optimized", decomposed, "disabled", ()),
)

NORMALIZATION = Block(
    name="normalization",
    what=(
        "A linear layer's output and its residual (B, S, H), added and normalized; with the layer's"
        " bias where it is not in the layer."
    ),
    inputs={"x": _STATES, "residual": _STATES},
    problem=_problem,
    forms=tuple(
        Form(
            name,
            partial(draw, biased=variant == _BIASED),
            variant,
            level=level,
            disabled=disabled,
        )
        for variant in (_PLAIN, _BIASED)
        for name, draw, level, disabled in _TABLE
    ),
)
