"""What is done to an activation before its range is set, so that no channel costs others levels.

Its channels are centred, smoothed, or split, in float all without effect; see
:mod:`~bert_export.quantization.centring`, :mod:`~bert_export.quantization.smoothing` and
:mod:`~bert_export.quantization.splitting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.quantization.centring import apply_centring, can_be_centred, is_gathered, middles
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.profiler import ActivationProfile
from bert_export.quantization.sites import LinearSite, weight_of
from bert_export.quantization.smoothing import (
    Smoothing,
    apply_smoothing,
    choose_smoothing,
    is_for_values,
)
from bert_export.quantization.splitting import (
    Splitting,
    apply_splitting,
    choose_splitting,
    hidden_of,
    split_sample,
)

__all__ = ["MIXED_HEADROOM", "ROOM", "Treatment", "apply_treatments", "choose_treatments"]


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
class Treatment:
    """What is done to one activation.

    Args:
        centres: What is taken off its channels, float32 (C,).
        smoothing: What they are divided by then.
        splitting: Which units behind an activation function are split.
        function: That function, where units are split.
        headroom: How much wider the range is than what calibration saw.
    """

    centres: NDArray[np.float32] | None = None
    smoothing: Smoothing | None = None
    splitting: Splitting | None = None
    function: str = ""
    headroom: float = 1.0

    def move(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (..., C) centred and smoothed."""
        moved = values if self.centres is None else values - self.centres
        return moved if self.smoothing is None else moved / self.smoothing.scales

    def split(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        """Moved values (T, C) with those of added units, float32 (T, C + added)."""
        if self.splitting is None:
            return sample
        return split_sample(sample, self.splitting, self.function)


def choose_treatments(
    groups: Mapping[str, Sequence[LinearSite]],
    profiles: Mapping[str, ActivationProfile],
    options: QuantizationOptions,
) -> dict[str, Treatment]:
    """Decide for each activation.

    Args:
        groups: The layers that read it, by its name.
        profiles: By the same names.
        options: What may be done.
    """
    return {name: _choose(sites, profiles[name], options) for name, sites in groups.items()}


def _choose(
    sites: Sequence[LinearSite], profile: ActivationProfile, options: QuantizationOptions
) -> Treatment:
    activation = _activation_of(sites)
    weights = [weight_of(site) for site in sites]
    hidden = hidden_of(activation) if len(sites) == 1 else None
    if hidden is not None:
        function = hidden[1]
        splitting = choose_splitting(profile, weights[0], function) if options.splitting else None
        return Treatment(splitting=splitting, function=function)
    centres = None
    if options.centring and can_be_centred(activation, sites):
        centres = middles(profile)
        profile = ActivationProfile(
            profile.low - centres,
            profile.high - centres,
            profile.sample - centres,
            profile.tokens,
        )
    folded = is_for_values(activation, sites)
    headroom = 1.0 + ROOM / math.sqrt(profile.tokens)
    if folded:
        headroom = max(headroom, MIXED_HEADROOM)
    smoothing = None
    if options.smoothing:
        smoothing = choose_smoothing(profile, weights, folded=folded, headroom=headroom)
    treated = centres is not None or smoothing is not None
    return Treatment(centres, smoothing, headroom=headroom if treated else 1.0)


def apply_treatments(
    graph: ir.Graph,
    groups: Mapping[str, Sequence[LinearSite]],
    treatments: Mapping[str, Treatment],
) -> None:
    """Bring a float graph to the form that the activations' ranges belong to, in place.

    Args:
        graph: The float graph.
        groups: The layers that read each activation, by its name.
        treatments: By the same names.
    """
    # Whatever is gathered has centres of its own, and takes them off before its source moves.
    for name in sorted(groups, key=lambda name: not is_gathered(_activation_of(groups[name]))):
        sites, treatment = groups[name], treatments[name]
        activation = _activation_of(sites)
        if treatment.centres is not None:
            activation = apply_centring(graph, activation, sites, treatment.centres)
        if treatment.smoothing is not None:
            apply_smoothing(graph, activation, sites, treatment.smoothing)
        if treatment.splitting is not None:
            apply_splitting(graph, activation, sites[0], treatment.splitting)


def _activation_of(sites: Sequence[LinearSite]) -> ir.Value:
    activation = sites[0].node.inputs[0]
    assert activation is not None, "find_sites saw it"
    return activation
