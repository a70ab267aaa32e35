"""What calibration finds out about a float graph, once for all engines that it is brought to.

The float graph runs over the calibration rows, and every activation that a linear layer reads is
profiled. From the profiles follow, in this order: how its channels are treated
(:mod:`~bert_export.quantization.equalization.equalization`), the range of what is left, and the
mean that the biases must keep. The graph itself is not touched:
:func:`bert_export.quantization.quantizer.quantize_graph` applies all this to a clone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.quantization.calibration.activation_profile import ActivationProfile, Profiler
from bert_export.quantization.calibration.observers import make_observer
from bert_export.quantization.calibration.ranges import collect_ranges, observe
from bert_export.quantization.equalization.equalization import Equalization, choose_equalizations
from bert_export.quantization.linear_layers import find_linear_layers, group_linear_layers
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.query_key import find_query_key_operands, largest_magnitude
from bert_export.quantization.weights.bias_correction import Means
from bert_export.quantization.weights.embeddings import TABLE
from bert_export.quantization.weights.gptq import WeightRounder
from bert_export.quantization.weights.number_formats import affine_parameters, dequantize, quantize
from bert_export.runtime.batching import Row

__all__ = ["Preparation", "PreparedActivation", "prepare_int8"]


@dataclass(frozen=True, slots=True)
class PreparedActivation:
    """How one activation is brought to INT8.

    Args:
        low, high: The range of its levels, once it is treated.
        equalization: What is done to it before.
        means: Of its treated channels; ``None`` where they were not measured.
        sample: Levels of some tokens, uint8 (T, C), or (T, C + added) where units are split;
            ``None`` where none were kept.
    """

    low: float
    high: float
    equalization: Equalization = field(default_factory=Equalization)
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

    @property
    def equalizations(self) -> Mapping[str, Equalization]:
        """Of each activation, by its name in the graph."""
        return {name: activation.equalization for name, activation in self.activations.items()}

    def with_excluded_layers(self, layers: Mapping[str, str]) -> Preparation:
        """The same with further layers in float, each with its reason.

        They must be all that read an activation: what was found of the others holds as it is. The
        word embeddings may be among them.
        """
        floats = {**self.options.excluded_layers, **layers}
        table = floats.pop(TABLE, None) is None and self.options.embeddings
        options = replace(self.options, excluded_layers=floats, embeddings=table)
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
    integer_query_key: bool = False,
    **settings: Any,
) -> Preparation:
    """Calibrate a prepared float graph.

    Args:
        model: As :func:`bert_export.passes.prepare.prepare` leaves it; not changed.
        rows: Calibration rows.
        options: What may be done. With ``mode="dynamic"`` nothing is to be found out.
        integer_query_key: Whether queries and keys are observed too, for a scheme that wants them.
        settings: ``folder``, ``feeds``, ``threads`` and ``advance`` of
            :func:`bert_export.quantization.calibration.ranges.observe`.

    Raises:
        QuantizationError: The graph has nothing to quantize, or an activation is not finite.
    """
    groups = group_linear_layers(find_linear_layers(model, options.excluded_layers)[0])
    if options.mode == "dynamic":
        return Preparation(options)
    profilers = {name: Profiler() for name in groups}
    operands = find_query_key_operands(model) if integer_query_key else ()
    scores = {operand.name: 0.0 for operand in operands}
    for name, values in observe(model, (*groups, *scores), rows, **settings):
        if name in scores:
            scores[name] = max(scores[name], largest_magnitude(values))
        else:
            profilers[name].observe(values)
    profiles = {name: profiler.profile() for name, profiler in profilers.items()}
    equalizations = choose_equalizations(groups, profiles, options)
    if options.observer == "min-max":  # the profiles hold it, wherever a channel is moved
        ranges = {name: _extremes(profiles[name], equalizations[name]) for name in groups}
    else:
        ranges = collect_ranges(
            model,
            tuple(groups),
            rows,
            make_observer=lambda: make_observer(options.observer),
            moves={name: equalization.move for name, equalization in equalizations.items()},
            **settings,
        )
    return Preparation(
        options,
        {
            name: _prepared(profiles[name], ranges[name], equalizations[name], options)
            for name in groups
        },
        scores,
    )


def _extremes(profile: ActivationProfile, equalization: Equalization) -> tuple[float, float]:
    return float(equalization.move(profile.low).min()), float(equalization.move(profile.high).max())


def _prepared(
    profile: ActivationProfile,
    bounds: tuple[float, float],
    equalization: Equalization,
    options: QuantizationOptions,
) -> PreparedActivation:
    low, high = (equalization.headroom * bound for bound in bounds)
    if equalization.channel_splitting is not None:
        high = equalization.channel_splitting.bound
    sample = equalization.move(profile.sample)
    parameters = affine_parameters(low, high)
    levels = quantize(equalization.split(sample), parameters)
    return PreparedActivation(
        low=low,
        high=high,
        equalization=equalization,
        means=Means(sample.mean(axis=0), dequantize(levels, parameters).mean(axis=0)),
        sample=levels if options.gptq else None,
    )
