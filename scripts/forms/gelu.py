"""GELU on the feed-forward layer's inner states (B, S, 4H), in both of its definitions."""

from __future__ import annotations

import math
from functools import partial

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

__all__ = ["GELU"]

_ERF, _TANH, _ERF_BIASED, _TANH_BIASED = "erf", "tanh", "erf after a bias", "tanh after a bias"
_INNER = 4
_BIAS_PERIOD = 16
_CUBIC = 0.044715
_STEPS = 100  # per unit, of the numbers that go in


def _bias(size: Size) -> Array:
    """Tenths, so that sums are hundredths, for :func:`_erf_of_root`."""
    return np.resize(np.round(fill(_BIAS_PERIOD, seed=6), 1), size.hidden * _INNER)


def _input(draw: Drawing, *, biased: bool) -> ir.Value:
    x = draw.input("x")
    return draw.op("Add", x, _bias(draw.size)) if biased else x


def gelu(draw: Drawing, *, biased: bool, approximate: str) -> list[ir.Value]:
    """ai.onnx Gelu."""
    return [draw.op("Gelu", _input(draw, biased=biased), approximate=approximate)]


def contrib(draw: Drawing, *, op_type: str, biased: bool = False) -> list[ir.Value]:
    """com.microsoft Gelu, FastGelu or BiasGelu; the last two add the bias themselves."""
    operands: list[Operand] = [draw.input("x"), *([_bias(draw.size)] if biased else [])]
    return [draw.op(op_type, *operands, domain=CONTRIB)]


def erf_chain(draw: Drawing, *, biased: bool) -> list[ir.Value]:
    """Div, Erf, Add, Mul, Mul."""
    x = _input(draw, biased=biased)
    erf = draw.op("Erf", draw.op("Div", x, np.float32(math.sqrt(2))))
    return [draw.op("Mul", draw.op("Mul", x, draw.op("Add", erf, np.float32(1))), np.float32(0.5))]


def tanh_chain(draw: Drawing, *, biased: bool) -> list[ir.Value]:
    """The approximation written out."""
    x = _input(draw, biased=biased)
    cube = draw.op("Mul", draw.op("Mul", x, draw.op("Mul", x, x)), np.float32(_CUBIC))
    inner = draw.op("Mul", draw.op("Add", x, cube), np.float32(math.sqrt(2 / math.pi)))
    factor = draw.op("Add", draw.op("Tanh", inner), np.float32(1))
    return [draw.op("Mul", draw.op("Mul", x, np.float32(0.5)), factor)]


def _erf_of_root(x: Array) -> Array:
    """``erf(x / sqrt 2)`` of hundredths, by a table: numpy has no erf."""
    steps = np.rint(x * _STEPS).astype(np.int32)
    lowest, highest = int(steps.min()), int(steps.max())
    table = [math.erf(step / _STEPS / math.sqrt(2)) for step in range(lowest, highest + 1)]
    values: Array = np.array(table, np.float32)[steps - lowest]
    return values


def _problem(size: Size, work: Workload, variant: str) -> Problem:
    x = np.round(fill(work.batch, work.sequence, size.hidden * _INNER, seed=7), 2)
    total = x + (_bias(size) if variant in (_ERF_BIASED, _TANH_BIASED) else 0)
    if variant in (_ERF, _ERF_BIASED):
        expected = total * 0.5 * (1 + _erf_of_root(total))
    else:
        inner = math.sqrt(2 / math.pi) * (total + _CUBIC * total * total * total)
        expected = total * 0.5 * (1 + np.tanh(inner))
    return Problem({"x": x}, (expected.astype(np.float32),))


GELU = Block(
    name="gelu",
    what="The inner states (B, S, 4H); with the layer's bias where it is not in the layer.",
    inputs={"x": Spec(ir.DataType.FLOAT, ("B", "S", "4H"))},
    problem=_problem,
    forms=(
        Form("Gelu", partial(gelu, biased=False, approximate="none"), _ERF),
        Form("com.microsoft Gelu", partial(contrib, op_type="Gelu"), _ERF),
        Form("Erf chain", partial(erf_chain, biased=False), _ERF),
        Form(
            "Erf chain; nothing optimized",
            partial(erf_chain, biased=False),
            _ERF,
            level="disabled",
        ),
        Form("Add + Gelu", partial(gelu, biased=True, approximate="none"), _ERF_BIASED),
        Form("BiasGelu", partial(contrib, op_type="BiasGelu", biased=True), _ERF_BIASED),
        Form("Add + Erf chain", partial(erf_chain, biased=True), _ERF_BIASED),
        Form("Gelu, tanh", partial(gelu, biased=False, approximate="tanh"), _TANH),
        Form("FastGelu", partial(contrib, op_type="FastGelu"), _TANH),
        Form("Tanh chain", partial(tanh_chain, biased=False), _TANH),
        Form("Add + Gelu, tanh", partial(gelu, biased=True, approximate="tanh"), _TANH_BIASED),
        Form(
            "FastGelu with its bias",
            partial(contrib, op_type="FastGelu", biased=True),
            _TANH_BIASED,
        ),
    ),
)
