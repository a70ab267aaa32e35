"""The equalization of every activation: which of the three methods, and how much headroom.

Channels are shifted, scaled or split before the range is set, so that one INT8 scale fits them all.
Shifting and scaling change nothing that the float graph computes; nor does splitting, together with
the range that clips the split units. See
:mod:`~bert_export.quantization.equalization.channel_shifting`,
:mod:`~bert_export.quantization.equalization.smoothquant` and
:mod:`~bert_export.quantization.equalization.outlier_channel_splitting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.quantization.calibration.activation_profile import ActivationProfile
from bert_export.quantization.equalization.channel_shifting import (
    apply_channel_shifts,
    can_be_shifted,
    channel_middles,
    is_gathered,
)
from bert_export.quantization.equalization.outlier_channel_splitting import (
    ChannelSplitting,
    apply_channel_splitting,
    hidden_layer,
    search_channel_splitting,
    split_sample,
)
from bert_export.quantization.equalization.smoothquant import (
    SmoothQuant,
    apply_smoothquant,
    folds_into_values,
    search_smoothquant,
)
from bert_export.quantization.linear_layers import LinearLayer, weight_of
from bert_export.quantization.options import QuantizationOptions

__all__ = [
    "ATTENTION_HEADROOM",
    "SAMPLING_HEADROOM",
    "Equalization",
    "apply_equalizations",
    "search_equalizations",
]


SAMPLING_HEADROOM = 12.0
"""An equalized activation's range is ``1 + SAMPLING_HEADROOM / sqrt(tokens)`` times as wide.

Most channels of an equalized activation reach the ends of its range, and on other text any of them
may leave it; the fewer tokens were calibrated on, the more will. Of the last layer's norms, where
only one token a text is computed, 1 % of the values on held-out requests left the range, and
clipping them cost a tenth of that layer's output. Headroom is not free: twice the range is twice
the scale.
"""

ATTENTION_HEADROOM = 1.5
"""The least headroom of what an attention computes: few of its values are large."""


@dataclass(frozen=True, slots=True)
class Equalization:
    """The equalization of one activation.

    Args:
        shifts: What is subtracted from its channels, float32 (C,).
        smoothquant: What the shifted channels are divided by.
        channel_splitting: Which hidden units are split.
        function: The activation function over hidden units; empty elsewhere.
        headroom: How many times as wide as the calibrated range the range is.
    """

    shifts: NDArray[np.float32] | None = None
    smoothquant: SmoothQuant | None = None
    channel_splitting: ChannelSplitting | None = None
    function: str = ""
    headroom: float = 1.0

    def shift_and_scale(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (..., C) after channel shifting and SmoothQuant."""
        shifted = values if self.shifts is None else values - self.shifts
        return shifted if self.smoothquant is None else shifted / self.smoothquant.scales

    def split(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shifted and scaled values (T, C), with those of added units, float32 (T, C + added)."""
        if self.channel_splitting is None:
            return sample
        return split_sample(sample, self.channel_splitting, self.function)


def search_equalizations(
    groups: Mapping[str, Sequence[LinearLayer]],
    profiles: Mapping[str, ActivationProfile],
    options: QuantizationOptions,
) -> dict[str, Equalization]:
    """Find the equalization of every activation.

    Args:
        groups: By an activation's name, the layers that read it.
        profiles: By the same names.
        options: Which methods may be used.
    """
    return {name: _search(layers, profiles[name], options) for name, layers in groups.items()}


def _search(
    layers: Sequence[LinearLayer], profile: ActivationProfile, options: QuantizationOptions
) -> Equalization:
    activation = _activation_of(layers)
    weights = [weight_of(layer) for layer in layers]
    # Behind an activation function: splitting.
    hidden = hidden_layer(activation) if len(layers) == 1 else None
    if hidden is not None:
        _, function = hidden
        splitting = (
            search_channel_splitting(profile, weights[0], function)
            if options.channel_splitting
            else None
        )
        return Equalization(channel_splitting=splitting, function=function)
    # Elsewhere: shifting, then SmoothQuant on what is shifted.
    shifts = None
    if options.channel_shifting and can_be_shifted(activation, layers):
        shifts = channel_middles(profile)
        profile = ActivationProfile(
            profile.low - shifts,
            profile.high - shifts,
            profile.sample - shifts,
            profile.tokens,
        )
    folded = folds_into_values(activation, layers)
    headroom = 1.0 + SAMPLING_HEADROOM / math.sqrt(profile.tokens)
    if folded:
        headroom = max(headroom, ATTENTION_HEADROOM)
    smoothquant = None
    if options.smoothquant:
        smoothquant = search_smoothquant(profile, weights, folded=folded, headroom=headroom)
    is_equalized = shifts is not None or smoothquant is not None
    return Equalization(shifts, smoothquant, headroom=headroom if is_equalized else 1.0)


def apply_equalizations(
    graph: ir.Graph,
    groups: Mapping[str, Sequence[LinearLayer]],
    equalizations: Mapping[str, Equalization],
) -> None:
    """Equalize a float graph, in place; the ranges of calibration belong to the result.

    Args:
        graph: The float graph.
        groups: By an activation's name, the layers that read it.
        equalizations: By the same names.
    """
    # A gathered activation has shifts of its own and is shifted before its source.
    for name in sorted(groups, key=lambda name: not is_gathered(_activation_of(groups[name]))):
        layers, equalization = groups[name], equalizations[name]
        activation = _activation_of(layers)
        if equalization.shifts is not None:
            activation = apply_channel_shifts(graph, activation, layers, equalization.shifts)
        if equalization.smoothquant is not None:
            apply_smoothquant(graph, activation, layers, equalization.smoothquant)
        if equalization.channel_splitting is not None:
            apply_channel_splitting(graph, activation, layers[0], equalization.channel_splitting)


def _activation_of(layers: Sequence[LinearLayer]) -> ir.Value:
    activation = layers[0].node.inputs[0]
    assert activation is not None, "find_linear_layers saw it"
    return activation
