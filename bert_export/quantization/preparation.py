"""Calibration of a float graph for INT8, once for all engines that are made of it.

The float graph runs on the calibration rows, and every activation that a linear layer reads is
profiled. From its profile follow, in this order, its equalization
(:mod:`~bert_export.quantization.equalization.equalization`), its range after that, and the means
that bias correction keeps. The graph itself stays as it is:
:func:`bert_export.quantization.quantizer.quantize_graph` applies the results to a clone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.quantization.calibration.activation_profile import ActivationProfile, Profiler
from bert_export.quantization.calibration.observers import make_observer
from bert_export.quantization.calibration.ranges import collect_ranges, observe
from bert_export.quantization.equalization.equalization import Equalization, search_equalizations
from bert_export.quantization.linear_layers import find_linear_layers, group_linear_layers
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.query_key import find_query_key_operands, largest_magnitude
from bert_export.quantization.weights.bias_correction import Means
from bert_export.quantization.weights.embeddings import TABLE
from bert_export.quantization.weights.gptq import GptqQuantizer
from bert_export.quantization.weights.number_formats import affine_parameters, dequantize, quantize
from bert_export.runtime.batching import Row

__all__ = ["CalibratedActivation", "Preparation", "prepare_int8"]


@dataclass(frozen=True, slots=True)
class CalibratedActivation:
    """How one activation is quantized.

    Args:
        low, high: Its range after equalization.
        equalization: What is done to its channels first.
        means: Means of the equalized channels; ``None`` where they were not measured.
        sample: Some of its tokens, equalized and quantized, uint8 (T, C), or (T, C + added) where
            units are split; ``None`` where no sample is needed.
    """

    low: float
    high: float
    equalization: Equalization = field(default_factory=Equalization)
    means: Means | None = None
    sample: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Preparation:
    """The results of calibration.

    Args:
        options: What it was asked to do.
        activations: By the activation's name in the graph.
        query_key_magnitudes: The largest absolute value of each attention's queries and keys, by
            their name in the graph.
        gptq: Quantizes the weights, and remembers them for the next engine.
    """

    options: QuantizationOptions
    activations: Mapping[str, CalibratedActivation] = field(default_factory=dict)
    query_key_magnitudes: Mapping[str, float] = field(default_factory=dict)
    gptq: GptqQuantizer = field(default_factory=GptqQuantizer, compare=False, repr=False)

    @property
    def equalizations(self) -> Mapping[str, Equalization]:
        """The equalization of each activation, by its name in the graph."""
        return {name: activation.equalization for name, activation in self.activations.items()}

    def with_excluded_layers(self, layers: Mapping[str, str]) -> Preparation:
        """The same results with further layers in float.

        Args:
            layers: Names of the layers, with the reason of each. They must be all layers that read
                an activation: the results for the others stay valid then. The word embeddings may
                be among them.
        """
        excluded = {**self.options.excluded_layers, **layers}
        embeddings = excluded.pop(TABLE, None) is None and self.options.embeddings
        options = msgspec.structs.replace(
            self.options, excluded_layers=excluded, embeddings=embeddings
        )
        return replace(self, options=options)

    @classmethod
    def from_ranges(
        cls,
        ranges: Mapping[str, tuple[float, float]],
        query_key_magnitudes: Mapping[str, float] | None = None,
    ) -> Preparation:
        """Known ranges, of activations and of queries and keys by name, and no equalization."""
        return cls(
            QuantizationOptions(),
            {name: CalibratedActivation(low, high) for name, (low, high) in ranges.items()},
            query_key_magnitudes or {},
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
        model: The graph, from :func:`bert_export.passes.prepare.prepare`; not changed.
        rows: Calibration rows.
        options: What may be done. Dynamic mode needs no calibration: the result is empty.
        integer_query_key: Whether to measure queries and keys, for engines that multiply them in
            int8.
        settings: ``folder``, ``feeds``, ``threads`` and ``advance`` of
            :func:`bert_export.quantization.calibration.ranges.observe`.

    Raises:
        QuantizationError: The graph has nothing to quantize, or an activation is not finite.
    """
    groups = group_linear_layers(find_linear_layers(model, options.excluded_layers)[0])
    if options.mode == "dynamic":
        return Preparation(options)
    # First run: profiles of what linear layers read, magnitudes of queries and keys.
    profilers = {name: Profiler() for name in groups}
    operands = find_query_key_operands(model) if integer_query_key else ()
    magnitudes = {operand.name: 0.0 for operand in operands}
    for name, values in observe(model, (*groups, *magnitudes), rows, **settings):
        if name in magnitudes:
            magnitudes[name] = max(magnitudes[name], largest_magnitude(values))
        else:
            profilers[name].observe(values)
    profiles = {name: profiler.profile() for name, profiler in profilers.items()}
    equalizations = search_equalizations(groups, profiles, options)
    # Ranges after equalization: the profiles know the extremes, other observers need a second run.
    if options.observer == "min-max":
        ranges = {name: _extremes(profiles[name], equalizations[name]) for name in groups}
    else:
        ranges = collect_ranges(
            model,
            tuple(groups),
            rows,
            make_observer=lambda: make_observer(options.observer),
            transforms={
                name: equalization.shift_and_scale for name, equalization in equalizations.items()
            },
            **settings,
        )
    return Preparation(
        options,
        {
            name: _calibrated(profiles[name], ranges[name], equalizations[name], options)
            for name in groups
        },
        magnitudes,
    )


def _extremes(profile: ActivationProfile, equalization: Equalization) -> tuple[float, float]:
    """The smallest and the largest value after equalization."""
    low, high = map(equalization.shift_and_scale, (profile.low, profile.high))  # (C,) each
    return float(low.min()), float(high.max())


def _calibrated(
    profile: ActivationProfile,
    bounds: tuple[float, float],
    equalization: Equalization,
    options: QuantizationOptions,
) -> CalibratedActivation:
    low, high = (equalization.headroom * bound for bound in bounds)
    if equalization.channel_splitting is not None:
        high = equalization.channel_splitting.bound
    sample = equalization.shift_and_scale(profile.sample)
    parameters = affine_parameters(low, high)
    quantized = quantize(equalization.split(sample), parameters)
    return CalibratedActivation(
        low=low,
        high=high,
        equalization=equalization,
        means=Means(sample.mean(axis=0), dequantize(quantized, parameters).mean(axis=0)),
        sample=quantized if options.gptq else None,
    )
