"""Linear layers: the arrays of one or several on the same states, and the forms in FP32."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
import onnx_ir as ir

from scripts.forms.form import (
    CONTRIB,
    Array,
    Block,
    Drawing,
    Form,
    Level,
    Problem,
    Size,
    Spec,
    Workload,
    fill,
)

__all__ = [
    "FOLDED",
    "FP32_BLOCKS",
    "LAYERS",
    "QKV",
    "Kind",
    "Layer",
    "Layers",
    "LinearForm",
    "flat",
    "linear_block",
    "matmul_add",
    "merge_layers",
    "merged",
    "unflat",
]

FOLDED = "bias folded elsewhere"
"""The variant of layers that have none left, see ``fold_biases``."""

VOCABULARY_ROWS = (Workload(1, 8), Workload(8, 128))


@dataclass(frozen=True)
class Layer:
    """A linear layer, ``x @ weight + bias``.

    Args:
        weight: float32 (K, N).
        bias: float32 (N,).
    """

    weight: Array
    bias: Array

    @property
    def inputs(self) -> int:
        """K."""
        return int(self.weight.shape[0])

    @property
    def outputs(self) -> int:
        """N."""
        return int(self.weight.shape[1])

    def apply(self, x: Array, *, bias: bool = True) -> Array:
        """The reference, in one product: a product per text is far slower."""
        rows = x.reshape(-1, self.inputs) @ self.weight
        if bias:
            rows += self.bias
        return rows.reshape(*x.shape[:-1], self.outputs)

    @cached_property
    def quantized(self) -> tuple[Array, Array]:
        """int8 (K, N) and one scale per output channel, as an export here has them."""
        from bert_export.quantization.quantizer import SCHEMES, quantize_weight  # imports torch
        from bert_export.runtime.processor import detect_processor

        return quantize_weight(self.weight, largest=SCHEMES[detect_processor()].weight_bound)


@dataclass(frozen=True, slots=True)
class Layers:
    """Linear layers that read the same states.

    Args:
        name: As tables show it.
        inputs: K.
        outputs: N of each.
        axes: Of the input, for the graph.
    """

    name: str
    inputs: Callable[[Size], int]
    outputs: Callable[[Size], tuple[int, ...]]
    axes: tuple[str, ...] = ("B", "S", "H")

    def make(self, size: Size) -> tuple[Layer, ...]:
        """The arrays, the same at every call."""
        return _make_layers(self.inputs(size), self.outputs(size))


@lru_cache(maxsize=2)
def _make_layers(inputs: int, outputs: tuple[int, ...]) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            fill(inputs, width, seed=10 + index) / np.float32(math.sqrt(inputs)),
            fill(width, seed=20 + index),
        )
        for index, width in enumerate(outputs)
    )


Kind = Callable[[Drawing, ir.Value, Sequence[Layer]], list[ir.Value]]
"""Draws layers on the same states, one output each."""


@dataclass(frozen=True, slots=True)
class LinearForm:
    """A form before it is known which layers it is for; the fields are those of :class:`Form`."""

    name: str
    kind: Kind
    tolerance: float = 1e-5
    level: Level = "basic"
    variant: str = ""


def matmul_add(draw: Drawing, x: ir.Value, layers: Sequence[Layer]) -> list[ir.Value]:
    """MatMul, then Add."""
    return [draw.op("Add", draw.op("MatMul", x, layer.weight), layer.bias) for layer in layers]


def matmul(draw: Drawing, x: ir.Value, layers: Sequence[Layer]) -> list[ir.Value]:
    """MatMul alone."""
    return [draw.op("MatMul", x, layer.weight) for layer in layers]


def flat(draw: Drawing, x: ir.Value, layer: Layer) -> ir.Value:
    """From (B, S, K) to rows (B * S, K)."""
    return draw.op("Reshape", x, np.array([-1, layer.inputs]))


def unflat(draw: Drawing, x: ir.Value, rows: ir.Value, layer: Layer) -> ir.Value:
    """From rows (B * S, N) to (B, S, N), with B and S as ``x`` has them."""
    axes = draw.op("Shape", x, start=0, end=2)
    shape = draw.op("Concat", axes, np.array([layer.outputs]), axis=0)
    return draw.op("Reshape", rows, shape)


def gemm(
    draw: Drawing,
    x: ir.Value,
    layers: Sequence[Layer],
    *,
    op_type: str = "Gemm",
    turned: bool = False,
) -> list[ir.Value]:
    """Gemm, or FusedGemm, on rows.

    Args:
        draw: Where to draw.
        x: (B, S, K).
        layers: What to draw.
        op_type: The operator.
        turned: Whether weights are stored as (N, K), as a decoder tied to the embeddings has them.
    """
    outputs = []
    for layer in layers:
        weight = np.ascontiguousarray(layer.weight.T) if turned else layer.weight
        rows = draw.op(
            op_type,
            flat(draw, x, layer),
            weight,
            layer.bias,
            domain="" if op_type == "Gemm" else CONTRIB,
            transB=int(turned),
        )
        outputs.append(unflat(draw, x, rows, layer))
    return outputs


def fused_matmul(
    draw: Drawing, x: ir.Value, layers: Sequence[Layer], *, turned: bool = False
) -> list[ir.Value]:
    """com.microsoft FusedMatMul, then Add; ``turned`` as in :func:`gemm`."""
    outputs = []
    for layer in layers:
        weight = np.ascontiguousarray(layer.weight.T) if turned else layer.weight
        product = draw.op("FusedMatMul", x, weight, domain=CONTRIB, transB=int(turned))
        outputs.append(draw.op("Add", product, layer.bias))
    return outputs


def merged(kind: Kind) -> Kind:
    """One layer for all of them, and Split."""

    def draw_merged(draw: Drawing, x: ir.Value, layers: Sequence[Layer]) -> list[ir.Value]:
        (together,) = kind(draw, x, [merge_layers(layers)])
        sizes = np.array([layer.outputs for layer in layers])
        return list(draw.ops("Split", together, sizes, outputs=len(layers), axis=-1))

    return draw_merged


def merge_layers(layers: Sequence[Layer]) -> Layer:
    """Layers side by side."""
    return Layer(
        np.concatenate([layer.weight for layer in layers], axis=1),
        np.concatenate([layer.bias for layer in layers]),
    )


_Widths = tuple[Callable[[Size], int], Callable[[Size], tuple[int, ...]]]


def _times_hidden(*multiples: int, inputs: int = 1) -> _Widths:
    """Widths as multiples of the hidden size."""
    return (
        lambda size: inputs * size.hidden,
        lambda size: tuple(multiple * size.hidden for multiple in multiples),
    )


QKV = Layers("H to Q, K, V", *_times_hidden(1, 1, 1))
VOCABULARY = Layers("H to vocabulary", lambda size: size.hidden, lambda size: (size.vocabulary,))
LAYERS = (
    Layers("H to H", *_times_hidden(1)),
    Layers("H to 4H", *_times_hidden(4)),
    Layers("4H to H", *_times_hidden(1, inputs=4), ("B", "S", "4H")),
    QKV,
    VOCABULARY,
)


def linear_block(precision: str, layers: Layers, table: Sequence[LinearForm]) -> Block:
    """The block of these layers; where there are several, each form is there merged too."""
    forms = []
    for row in table:
        kinds = {row.name: row.kind}
        if layers is QKV:
            kinds = {f"{row.name}; separate": row.kind, f"{row.name}; merged": merged(row.kind)}
        forms += [
            Form(
                name,
                partial(_draw, layers=layers, kind=kind),
                row.variant,
                tolerance=row.tolerance,
                level=row.level,
            )
            for name, kind in kinds.items()
        ]
    return Block(
        name=f"linear {precision}, {layers.name}",
        what=(
            f"States (B, S, K) in float32 to float32 with the bias, or `{FOLDED}`"
            + (", quantizing the states included." if precision == "INT8" else ".")
        ),
        inputs={"x": Spec(ir.DataType.FLOAT, layers.axes)},
        problem=partial(_problem, layers=layers),
        forms=tuple(forms),
        workloads=VOCABULARY_ROWS if layers is VOCABULARY else (),
    )


def _draw(draw: Drawing, *, layers: Layers, kind: Kind) -> list[ir.Value]:
    return kind(draw, draw.input("x"), layers.make(draw.size))


def _problem(size: Size, work: Workload, variant: str, *, layers: Layers) -> Problem:
    x = fill(work.batch, work.sequence, layers.inputs(size), seed=8)
    expected = tuple(layer.apply(x, bias=variant != FOLDED) for layer in layers.make(size))
    return Problem({"x": x}, expected)


_FP32 = (
    LinearForm("MatMul + Add", matmul_add),
    LinearForm("Gemm on rows", gemm),
    LinearForm("Gemm on rows, weight (N,K)", partial(gemm, turned=True)),
    LinearForm("FusedMatMul + Add", fused_matmul),
    LinearForm("FusedMatMul + Add, weight (N,K)", partial(fused_matmul, turned=True)),
    LinearForm("FusedGemm on rows", partial(gemm, op_type="FusedGemm")),
    LinearForm("MatMul", matmul, variant=FOLDED),
)

FP32_BLOCKS = tuple(linear_block("FP32", layers, _FP32) for layers in LAYERS)
