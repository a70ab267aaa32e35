"""SmoothQuant: a channel that dwarfs the others hands its size over to the weights that read it.

A whole activation has one scale. If one channel is thirty times larger than the others, they share
few of the 256 quantized values. Dividing channel ``c`` by a factor ``s[c]`` and multiplying row
``c`` of the weights by it changes no product and makes the channels alike::

    x -> MatMul(W)    =    x -> Mul(1 / s) -> MatMul(diag(s) W)

What the division costs depends on what computes the activation:

- An attention: nothing. The value projection before it takes the division into its weight and bias,
  because attention mixes tokens but never channels.
- A normalization: one ``Mul``. The normalization itself cannot take the division: BERT normalizes
  after the residual addition, so its output is the next residual too, and that must not change.
- An activation function: it would be one ``Mul`` over the widest tensor of the layer.
  :mod:`bert_export.quantization.equalization.outlier_channel_splitting` does better there.

Source: Xiao et al. 2022, arXiv:2211.10438 (SmoothQuant), equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.editing import (
    Linear,
    constant,
    insert_node,
    linear_layer,
    new_constant,
    producer,
    set_constant,
    use_count,
)
from bert_export.quantization.calibration.activation_profile import ActivationProfile
from bert_export.quantization.linear_layers import LinearLayer, weight_of
from bert_export.quantization.weights.number_formats import (
    affine_parameters,
    round_trip,
    rounded_product,
)

__all__ = [
    "MIN_GAIN",
    "STRENGTHS",
    "SmoothQuant",
    "apply_smoothquant",
    "folds_into_values",
    "search_smoothquant",
    "value_projection",
]

STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 1.0)
"""Migration strengths that are tried: 0 would leave a channel's size, 1 moves all of it."""

MIN_GAIN = 1.5
"""A ``Mul`` is inserted only if it divides the layers' squared output error by this much."""

_TINY = 1e-5
_COLUMNS = 4096  # of a vocabulary decoder's many, this many are enough to tell the error


@dataclass(frozen=True, slots=True)
class SmoothQuant:
    """The division of an activation's channels.

    Args:
        strength: Migration strength, one of :data:`STRENGTHS`.
        scales: Smoothing factors that the channels are divided by, float32 (C,), geometric mean 1.
        folded: Whether the value projection takes the division, at no cost.
    """

    strength: float
    scales: NDArray[np.float32]
    folded: bool


def value_projection(activation: ir.Value) -> Linear | None:
    """The linear layer of the values that an attention mixes, if the attention alone reads them."""
    attention = producer(activation, "Attention")
    linear = None if attention is None else linear_layer(attention.inputs[2])
    if linear is None or use_count(linear.output) != 1:
        return None
    constants = [value for value in (linear.weight, linear.bias) if value is not None]
    unshared = all(constant(value) is not None and use_count(value) == 1 for value in constants)
    return linear if unshared else None


def folds_into_values(activation: ir.Value, layers: Sequence[LinearLayer]) -> bool:
    """Whether the value projection can shift and scale the channels that these layers read.

    It can if the activation has a value projection, and no other reader than the layers.
    """
    return len(layers) == len(activation.uses()) and value_projection(activation) is not None


def search_smoothquant(
    profile: ActivationProfile,
    weights: Sequence[NDArray[np.float32]],
    *,
    folded: bool,
    headroom: float = 1.0,
) -> SmoothQuant | None:
    """Search the migration strength that keeps the layers' outputs closest to float.

    Args:
        profile: Of the activation.
        weights: float32 (C, N) each, of the layers that read it.
        folded: Whether the division costs nothing.
        headroom: How many times as wide as the profile the activation's range will be.

    Returns:
        The best, or ``None`` where none gains enough for what it costs.
    """
    magnitudes = np.maximum(np.abs(profile.low), np.abs(profile.high))  # (C,)
    row_magnitudes = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)  # (C,)
    weights = [weight[:, :: -(-weight.shape[1] // _COLUMNS)] for weight in weights]
    profile = profile.thinned(sum(weight.shape[1] for weight in weights))
    exact = [profile.sample @ weight for weight in weights]  # (T, N) each
    without = _output_error(profile, weights, exact, np.ones_like(magnitudes), headroom)
    best, least = None, without if folded else without / MIN_GAIN
    for strength in STRENGTHS:
        scales = _smoothing_factors(magnitudes, row_magnitudes, strength)
        error = _output_error(profile, weights, exact, scales, headroom)
        if error < least:
            best, least = SmoothQuant(strength, scales, folded), error
    return best


def _smoothing_factors(
    magnitudes: NDArray[np.float32], row_magnitudes: NDArray[np.float32], strength: float
) -> NDArray[np.float32]:
    """SmoothQuant's factors, float32 (C,); 1 for a channel that is always zero."""
    logs = strength * np.log(np.maximum(magnitudes, _TINY)) - (1 - strength) * np.log(
        np.maximum(row_magnitudes, _TINY)
    )
    used = magnitudes > _TINY
    if not used.any():
        return np.ones_like(magnitudes)
    return np.where(used, np.exp(logs - logs[used].mean()), 1.0).astype(np.float32)


def _output_error(
    profile: ActivationProfile,
    weights: Sequence[NDArray[np.float32]],
    exact: Sequence[NDArray[np.float32]],
    scales: NDArray[np.float32],
    headroom: float,
) -> float:
    """Squared error of the outputs, relative to their variance, summed over the layers."""
    low = headroom * float((profile.low / scales).min())
    high = headroom * float((profile.high / scales).max())
    sample = round_trip(profile.sample / scales, affine_parameters(low, high))
    total = 0.0
    for weight, output in zip(weights, exact, strict=True):
        error = rounded_product(sample, weight * scales[:, None]) - output  # (T, N)
        total += float((error**2).mean() / max(float(output.var()), 1e-12))
    return total


def apply_smoothquant(
    graph: ir.Graph, activation: ir.Value, layers: Sequence[LinearLayer], smoothquant: SmoothQuant
) -> ir.Value:
    """Divide the activation and multiply the weights, in place; the float graph computes the same.

    Args:
        graph: The float graph.
        activation: What the layers read.
        layers: The layers whose weights are multiplied. If ``smoothquant.folded``, they must be all
            readers of the activation.
        smoothquant: The division.

    Returns:
        What the layers read now.
    """
    scales = smoothquant.scales
    for layer in layers:
        weight = layer.node.inputs[1]
        assert weight is not None, "find_linear_layers saw it"
        set_constant(weight, weight_of(layer) * scales[:, None])
    if smoothquant.folded:
        projection = value_projection(activation)
        assert projection is not None, "the search ran on a clone of this graph"
        for value in (projection.weight, projection.bias):
            array = constant(value)
            if value is not None and array is not None:
                set_constant(value, array / scales)  # (K, C) and (C,)
        return activation
    # The suffixes are those of earlier versions: the bytes of an export stay the same.
    smoothed = insert_node(
        graph,
        layers[0].node,
        "Mul",
        [activation, new_constant(graph, f"{activation.name}.smoothing", 1 / scales)],
        name=f"{activation.name}.smoothed",
        shape=activation.shape,
        dtype=activation.dtype,
    )
    for layer in layers:
        layer.node.replace_input_with(0, smoothed)
    return smoothed
