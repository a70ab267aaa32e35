"""What is done to an activation before its range is set, so that no channel costs others levels.

Its channels are channel_shifted, smoothed, or split, in float all without effect; see
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
    is_gathered,
    middles,
)
from bert_export.quantization.equalization.outlier_channel_splitting import (
    ChannelSplitting,
    apply_channel_splitting,
    choose_channel_splitting,
    hidden_of,
    split_sample,
)
from bert_export.quantization.equalization.smoothquant import (
    SmoothQuant,
    apply_smoothquant,
    choose_smoothquant,
    is_for_values,
)
from bert_export.quantization.linear_layers import LinearLayer, weight_of
from bert_export.quantization.options import QuantizationOptions

__all__ = ["MIXED_HEADROOM", "ROOM", "Equalization", "apply_equalizations", "choose_equalizations"]


ROOM = 12.0
"""Over the root of the tokens that were seen: how much wider the range of a treated activation is.

Treated, most channels reach the ends of the range, and any of them can leave it on other text, the
more so the less was seen: without room, 1 % of what the last layer's norms gave on held-out
requests did, of which calibration saw one token a text, and cutting it cost a tenth of that layer's
output. Room is not free: twice the range is twice the step.
"""

MIXED_HEADROOM = 1.5
"""Behind an attention, how much wider the range is at least: few of its values are large."""


@dataclass(frozen=True, slots=True)
class Equalization:
    """What is done to one activation.

    Args:
        shifts: What is taken off its channels, float32 (C,).
        smoothquant: What they are divided by then.
        channel_splitting: Which units behind an activation function are split.
        function: That function, where units are split.
        headroom: How much wider the range is than what calibration saw.
    """

    shifts: NDArray[np.float32] | None = None
    smoothquant: SmoothQuant | None = None
    channel_splitting: ChannelSplitting | None = None
    function: str = ""
    headroom: float = 1.0

    def move(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (..., C) channel_shifted and smoothed."""
        moved = values if self.shifts is None else values - self.shifts
        return moved if self.smoothquant is None else moved / self.smoothquant.scales

    def split(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        """Moved values (T, C) with those of added units, float32 (T, C + added)."""
        if self.channel_splitting is None:
            return sample
        return split_sample(sample, self.channel_splitting, self.function)


def choose_equalizations(
    groups: Mapping[str, Sequence[LinearLayer]],
    profiles: Mapping[str, ActivationProfile],
    options: QuantizationOptions,
) -> dict[str, Equalization]:
    """Decide for each activation.

    Args:
        groups: The layers that read it, by its name.
        profiles: By the same names.
        options: What may be done.
    """
    return {name: _choose(layers, profiles[name], options) for name, layers in groups.items()}


def _choose(
    layers: Sequence[LinearLayer], profile: ActivationProfile, options: QuantizationOptions
) -> Equalization:
    activation = _activation_of(layers)
    weights = [weight_of(layer) for layer in layers]
    hidden = hidden_of(activation) if len(layers) == 1 else None
    if hidden is not None:
        function = hidden[1]
        channel_splitting = (
            choose_channel_splitting(profile, weights[0], function)
            if options.channel_splitting
            else None
        )
        return Equalization(channel_splitting=channel_splitting, function=function)
    shifts = None
    if options.channel_shifting and can_be_shifted(activation, layers):
        shifts = middles(profile)
        profile = ActivationProfile(
            profile.low - shifts,
            profile.high - shifts,
            profile.sample - shifts,
            profile.tokens,
        )
    folded = is_for_values(activation, layers)
    headroom = 1.0 + ROOM / math.sqrt(profile.tokens)
    if folded:
        headroom = max(headroom, MIXED_HEADROOM)
    smoothquant = None
    if options.smoothquant:
        smoothquant = choose_smoothquant(profile, weights, folded=folded, headroom=headroom)
    treated = shifts is not None or smoothquant is not None
    return Equalization(shifts, smoothquant, headroom=headroom if treated else 1.0)


def apply_equalizations(
    graph: ir.Graph,
    groups: Mapping[str, Sequence[LinearLayer]],
    equalizations: Mapping[str, Equalization],
) -> None:
    """Bring a float graph to the form that the activations' ranges belong to, in place.

    Args:
        graph: The float graph.
        groups: The layers that read each activation, by its name.
        equalizations: By the same names.
    """
    # Whatever is gathered has shifts of its own, and takes them off before its source moves.
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
