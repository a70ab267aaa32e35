"""What calibration finds out about a float graph, once for all engines that it is brought to.

The float graph runs over the calibration rows, and every activation that a linear layer reads is
profiled. From the profiles follow, in this order: which outliers move into weights or are split
(:mod:`~bert_export.quantization.smoothing`, :mod:`~bert_export.quantization.splitting`), the range
of what is left, and the mean that the biases must keep. The graph itself is not touched:
:func:`bert_export.quantization.quantizer.quantize_graph` applies all this to a clone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.quantization.bias_correction import Means
from bert_export.quantization.embeddings import TABLE
from bert_export.quantization.observers import make_observer
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.profiler import ActivationProfile, Profiler
from bert_export.quantization.ranges import collect_ranges, observe
from bert_export.quantization.rounding import WeightRounder
from bert_export.quantization.schemes import affine_parameters, dequantize, quantize
from bert_export.quantization.scores import find_score_operands, largest_magnitude
from bert_export.quantization.sites import LinearSite, find_sites, group_sites, weight_of
from bert_export.quantization.smoothing import Smoothing, choose_smoothing, values_of
from bert_export.quantization.splitting import (
    Splitting,
    choose_splitting,
    hidden_of,
    split_sample,
)
from bert_export.runtime.batching import Row

__all__ = ["Preparation", "PreparedActivation", "prepare_int8"]


@dataclass(frozen=True, slots=True)
class PreparedActivation:
    """How one activation is brought to INT8.

    Args:
        low, high: The range of its levels, after smoothing.
        smoothing: What its channels are divided by.
        splitting: Which units behind an activation function are split.
        means: Of its channels, after smoothing; ``None`` where they were not measured.
        sample: Levels of some tokens, uint8 (T, C), or (T, C + added) where units are split;
            ``None`` where none were kept.
    """

    low: float
    high: float
    smoothing: Smoothing | None = None
    splitting: Splitting | None = None
    means: Means | None = None
    sample: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Preparation:
    """What :func:`prepare_int8` found.

    Args:
        options: That it was made with.
        activations: By the activation's name in the graph.
        scores: The largest magnitude of each attention's queries and keys, by their name.
        rounder: Of the weights; it remembers them for the next engine.
    """

    options: QuantizationOptions
    activations: Mapping[str, PreparedActivation] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    rounder: WeightRounder = field(default_factory=WeightRounder, compare=False, repr=False)

    def with_floats(self, layers: Mapping[str, str]) -> Preparation:
        """The same with further layers in float, each with its reason.

        They must be all that read an activation: what was found of the others holds as it is. The
        word embeddings may be among them.
        """
        floats = {**self.options.float_layers, **layers}
        table = floats.pop(TABLE, None) is None and self.options.embeddings
        options = replace(self.options, float_layers=floats, embeddings=table)
        return replace(self, options=options)

    @classmethod
    def from_ranges(
        cls, ranges: Mapping[str, tuple[float, float]], scores: Mapping[str, float] | None = None
    ) -> Preparation:
        """Nothing but a range of each activation, and of queries and keys, by name in the graph."""
        return cls(
            QuantizationOptions(),
            {name: PreparedActivation(low, high) for name, (low, high) in ranges.items()},
            scores or {},
        )


def prepare_int8(
    model: ir.Model,
    rows: Sequence[Row],
    options: QuantizationOptions,
    *,
    integer_scores: bool = False,
    **settings: Any,
) -> Preparation:
    """Calibrate a prepared float graph.

    Args:
        model: As :func:`bert_export.passes.recipes.prepare` leaves it; not changed.
        rows: Calibration rows.
        options: What may be done. With ``mode="dynamic"`` nothing is to be found out.
        integer_scores: Whether queries and keys are observed too, for a scheme that wants them.
        settings: ``folder``, ``pad_id``, ``shape_feeds``, ``threads`` and ``advance`` of
            :func:`bert_export.quantization.ranges.observe`.

    Raises:
        QuantizationError: The graph has nothing to quantise, or an activation is not finite.
    """
    groups = group_sites(find_sites(model, options.float_layers)[0])
    if options.mode == "dynamic":
        return Preparation(options)
    profilers = {name: Profiler() for name in groups}
    operands = find_score_operands(model) if integer_scores else ()
    scores = {operand.name: 0.0 for operand in operands}
    for name, values in observe(model, (*groups, *scores), rows, **settings):
        if name in scores:
            scores[name] = max(scores[name], largest_magnitude(values))
        else:
            profilers[name].see(values)
    profiles = {name: profiler.profile() for name, profiler in profilers.items()}
    smoothings, splittings = _treat(groups, profiles, options)
    if options.observer == "min-max":  # the profiles hold it, whatever a channel is divided by
        ranges = {name: _extremes(profiles[name], smoothings.get(name)) for name in groups}
    else:
        ranges = collect_ranges(
            model,
            tuple(groups),
            rows,
            make_observer=lambda: make_observer(options.observer),
            divisors={name: smoothing.scales for name, smoothing in smoothings.items()},
            **settings,
        )
    return Preparation(
        options,
        {
            name: _prepared(
                profiles[name], ranges[name], smoothings.get(name), splittings.get(name), options
            )
            for name in groups
        },
        scores,
    )


def _treat(
    groups: Mapping[str, Sequence[LinearSite]],
    profiles: Mapping[str, ActivationProfile],
    options: QuantizationOptions,
) -> tuple[dict[str, Smoothing], dict[str, tuple[Splitting, str]]]:
    """Where outliers move or are split; each activation takes at most one of both."""
    smoothings: dict[str, Smoothing] = {}
    splittings: dict[str, tuple[Splitting, str]] = {}
    for name, sites in groups.items():
        activation = sites[0].node.inputs[0]
        assert activation is not None, "find_sites saw it"
        weights = [weight_of(site) for site in sites]
        hidden = hidden_of(activation) if len(sites) == 1 else None
        if hidden is not None:
            if options.splitting:
                splitting = choose_splitting(profiles[name], weights[0], hidden[1])
                if splitting is not None:
                    splittings[name] = splitting, hidden[1]
        elif options.smoothing:
            folded = len(sites) == len(activation.uses()) and values_of(activation) is not None
            smoothing = choose_smoothing(profiles[name], weights, folded=folded)
            if smoothing is not None:
                smoothings[name] = smoothing
    return smoothings, splittings


def _extremes(profile: ActivationProfile, smoothing: Smoothing | None) -> tuple[float, float]:
    scales = np.ones_like(profile.low) if smoothing is None else smoothing.scales
    return float((profile.low / scales).min()), float((profile.high / scales).max())


def _prepared(
    profile: ActivationProfile,
    bounds: tuple[float, float],
    smoothing: Smoothing | None,
    split: tuple[Splitting, str] | None,
    options: QuantizationOptions,
) -> PreparedActivation:
    headroom = 1.0 if smoothing is None else smoothing.headroom
    low, high = (headroom * bound for bound in bounds)
    sample = profile.sample if smoothing is None else profile.sample / smoothing.scales
    wide = sample
    if split is not None:
        high = split[0].bound
        wide = split_sample(sample, split[0], split[1])
    parameters = affine_parameters(low, high)
    levels = quantize(wide, parameters)
    return PreparedActivation(
        low=low,
        high=high,
        smoothing=smoothing,
        splitting=None if split is None else split[0],
        means=Means(sample.mean(axis=0), dequantize(levels, parameters).mean(axis=0)),
        sample=levels if options.gptq else None,
    )
