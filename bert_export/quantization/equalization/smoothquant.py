"""SmoothQuant: a channel that dwarfs the others hands its size to the weights that read it.

One scale for a whole tensor leaves few levels to its ordinary channels when one channel is thirty
times larger. Dividing channel ``c`` by ``s[c]`` and multiplying row ``c`` of the weights by it
leaves the product as it is, and gives every channel its levels::

    x -> MatMul(W)    =    x -> Mul(1 / s) -> MatMul(diag(s) W)

Where the division can go decides what it costs:

- Behind an attention it is free: the values' projection takes it, columns and any bias, as
  attention mixes tokens and never channels.
- Behind a normalization it is one ``Mul``. The norm itself cannot take it: BERT normalizes after
  the residual addition, so the same output is the next residual, which must not change.
- Behind an activation function it would be a ``Mul`` over the widest tensor of the layer;
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
    quantize_weight,
    round_trip,
)

__all__ = [
    "MIN_GAIN",
    "STRENGTHS",
    "SmoothQuant",
    "apply_smoothquant",
    "choose_smoothquant",
    "is_for_values",
    "values_of",
]

STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 1.0)
"""How much of a channel's size moves: 0 none, 1 all of it."""

MIN_GAIN = 1.5
"""A ``Mul`` is only put in where it divides the layer's squared output error by this much."""

_TINY = 1e-5
_COLUMNS = 4096  # of a vocabulary's decoder, these many tell the error of all


@dataclass(frozen=True, slots=True)
class SmoothQuant:
    """What an activation's channels are divided by.

    Args:
        strength: Of :data:`STRENGTHS`.
        scales: float32 (C,), geometric mean 1.
        folded: Whether the projection before the activation takes the division, at no cost.
    """

    strength: float
    scales: NDArray[np.float32]
    folded: bool


def values_of(activation: ir.Value) -> Linear | None:
    """The projection of the values that an attention mixes, where nothing else reads them."""
    attention = producer(activation, "Attention")
    linear = None if attention is None else linear_layer(attention.inputs[2])
    if linear is None or use_count(linear.output) != 1:
        return None
    parts = [part for part in (linear.weight, linear.bias) if part is not None]
    own = all(constant(part) is not None and use_count(part) == 1 for part in parts)
    return linear if own else None


def is_for_values(activation: ir.Value, layers: Sequence[LinearLayer]) -> bool:
    """Whether the projection of the values can change each channel of what all the layers read."""
    return len(layers) == len(activation.uses()) and values_of(activation) is not None


def choose_smoothquant(
    profile: ActivationProfile,
    weights: Sequence[NDArray[np.float32]],
    *,
    folded: bool,
    headroom: float = 1.0,
) -> SmoothQuant | None:
    """Search the strength that leaves the layers' outputs closest to what they were.

    Args:
        profile: Of the activation.
        weights: float32 (C, N) each, of the layers that read it.
        folded: Whether the division costs nothing.
        headroom: How much wider the range will be than what calibration saw.

    Returns:
        The best, or ``None`` where it does not gain enough for what it costs.
    """
    magnitudes = np.maximum(np.abs(profile.low), np.abs(profile.high))  # (C,)
    rows = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)  # (C,)
    weights = [weight[:, :: -(-weight.shape[1] // _COLUMNS)] for weight in weights]
    profile = profile.thinned(sum(weight.shape[1] for weight in weights))
    exact = [profile.sample @ weight for weight in weights]  # (T, N) each
    ones = np.ones_like(magnitudes)
    plain = _error(profile, weights, exact, ones, headroom)
    best, least = None, plain if folded else plain / MIN_GAIN
    for strength in STRENGTHS:
        found = SmoothQuant(strength, _scales(magnitudes, rows, strength), folded)
        error = _error(profile, weights, exact, found.scales, headroom)
        if error < least:
            best, least = found, error
    return best


def _scales(
    magnitudes: NDArray[np.float32], rows: NDArray[np.float32], strength: float
) -> NDArray[np.float32]:
    """SmoothQuant's factors, float32 (C,); a channel that is always zero is left alone."""
    logs = strength * np.log(np.maximum(magnitudes, _TINY)) - (1 - strength) * np.log(
        np.maximum(rows, _TINY)
    )
    used = magnitudes > _TINY
    if not used.any():
        return np.ones_like(magnitudes)
    return np.where(used, np.exp(logs - logs[used].mean()), 1.0).astype(np.float32)


def _error(
    profile: ActivationProfile,
    weights: Sequence[NDArray[np.float32]],
    exact: Sequence[NDArray[np.float32]],
    scales: NDArray[np.float32],
    headroom: float,
) -> float:
    """Squared error of the outputs, relative to their variance, over all layers."""
    low = headroom * float((profile.low / scales).min())
    high = headroom * float((profile.high / scales).max())
    sample = round_trip(profile.sample / scales, affine_parameters(low, high))
    total = 0.0
    for weight, output in zip(weights, exact, strict=True):
        levels, steps = quantize_weight(weight * scales[:, None])
        error = sample @ (levels * steps) - output  # (T, N)
        total += float((error**2).mean() / max(float(output.var()), 1e-12))
    return total


def apply_smoothquant(
    graph: ir.Graph, activation: ir.Value, layers: Sequence[LinearLayer], smoothquant: SmoothQuant
) -> ir.Value:
    """Move the outliers, in place; in float the graph computes what it did.

    Args:
        graph: The float graph.
        activation: What the layers read.
        layers: The layers that take the outliers; where ``smoothquant.folded``, all that read it.
        smoothquant: What to divide by.

    Returns:
        What the layers read now.
    """
    scales = smoothquant.scales
    for layer in layers:
        weight = layer.node.inputs[1]
        assert weight is not None, "find_linear_layers saw it"
        set_constant(weight, weight_of(layer) * scales[:, None])
    if smoothquant.folded:
        values = values_of(activation)
        assert values is not None, "the choice was made on a clone of this graph"
        for value in (values.weight, values.bias):
            array = constant(value)
            if value is not None and array is not None:
                set_constant(value, array / scales)  # (K, C) and (C,)
        return activation
    name = f"{activation.name}.smoothed"
    smoothed = insert_node(
        graph,
        layers[0].node,
        "Mul",
        [activation, new_constant(graph, f"{activation.name}.smoothquant", 1 / scales)],
        name=name,
        shape=activation.shape,
        dtype=activation.dtype,
    )
    for layer in layers:
        layer.node.replace_input_with(0, smoothed)
    return smoothed
