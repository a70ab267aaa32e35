"""Outlier channel splitting: a hidden unit too large for INT8 becomes several that share its value.

In each feed-forward layer of a trained BERT a unit or two give 20 at one token of every text, where
all others stay below 5. A range that holds 20 leaves the others a quarter of the quantized values.
The unit is therefore copied, and the bias of each copy is lowered by a multiple of the range's
bound ``T``::

    gelu(u)  ~  min(gelu(u), T) + min(gelu(u - T), T) + ... + gelu(a (u - k T)) / a

INT8 clips at ``T``, its upper bound, anyway. The copies are nothing but ``k`` more columns in the
layer before and ``k`` more rows in the layer after: no operator is added, and any engine can run
it. For ReLU the sum is exact. For GELU it is off by up to 0.25 where ``u`` is near a multiple of
``T``. A last copy with little left to hold is made steeper, ``a`` of 2 or 4, and is off by that
much less. The search measures what error remains.

Calibration does not see the largest value that a unit can reach. A unit that stays just below ``T``
there may be clipped on other text, and one such unit made two thirds of the squared error of a
whole model. The units that would lose most this way are guarded: one copy holds what exceeds ``T``.

Source: Zhao et al. 2019, arXiv:1901.09504 (outlier channel splitting), here through the activation
    function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.editing import (
    Linear,
    constant,
    linear_layer,
    own_bias,
    producer,
    set_constant,
    sole_reader,
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
    "ChannelSplitting",
    "apply_channel_splitting",
    "hidden_layer",
    "search_channel_splitting",
    "split_sample",
]

MIN_GAIN = 1.25
"""Units are split only if that divides the next layer's squared output error by this much."""

_UNITS_PER_COPY = (192, 96)
"""Copies that are tried, one for so many units: 8 and 16 for 1536 units, a percent of the time."""

_UNITS_PER_GUARD = 192
"""At most one unit in so many is guarded."""

_REACH, _GUARD_REACH = 1.25, 1.5
"""How many times its largest calibrated value a split unit can hold, and a guarded one."""

_STEEPEST = 4.0
"""The largest ``a``: a copy that steep is off by 0.04 and holds a quarter of ``T``."""

_LOWEST_BOUND = 2.5
"""The smallest ``T``. From here on GELU is the identity but for 0.02, which the sum relies on."""


@dataclass(frozen=True, slots=True)
class ChannelSplitting:
    """Which hidden units are split, and how.

    Args:
        bound: ``T``, the upper bound of the range afterwards.
        copies: Copies of each unit, beside itself, int64 (C,).
        steepness: ``a`` of each unit's last copy, float32 (C,).
    """

    bound: float
    copies: NDArray[np.int64]
    steepness: NDArray[np.float32]

    @property
    def added(self) -> int:
        """How many units are added."""
        return int(self.copies.sum())

    @property
    def sources(self) -> NDArray[np.int64]:
        """The unit that each added one is a copy of, int64 (added,)."""
        return np.repeat(np.arange(len(self.copies)), self.copies)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The number of each added unit among the copies of its source, from 1, int64 (added,)."""
        return np.concatenate([np.arange(1, count + 1) for count in self.copies])

    @property
    def shifts(self) -> NDArray[np.float32]:
        """By how much the bias of each added unit is lowered, float32 (added,)."""
        return (self.bound * self.ranks).astype(np.float32)

    @property
    def slopes(self) -> NDArray[np.float32]:
        """``a`` of each added unit: 1 but for last copies, float32 (added,)."""
        last = self.ranks == self.copies[self.sources]
        return np.where(last, self.steepness[self.sources], np.float32(1.0))

    def widen(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """The weight of the layer after, (C, N), with rows for the added units, (C + added, N)."""
        return np.concatenate([weight, weight[self.sources] / self.slopes[:, None]])


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(u: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = (0.5 * u * (1.0 + _erf(u / math.sqrt(2.0)))).astype(np.float32)
    return result


def _relu(u: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(u, 0.0).astype(np.float32)


FUNCTIONS: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "Gelu": _gelu,
    "Relu": _relu,
}
"""Activation functions that are the identity for large values, by operator."""

_GRID = np.linspace(0.0, 8.0, 4097, dtype=np.float32)  # where the functions are inverted


def hidden_layer(activation: ir.Value) -> tuple[Linear, str] | None:
    """The linear layer and the activation function that compute hidden units.

    Args:
        activation: What a feed-forward layer's second half reads.

    Returns:
        The layer and the function's operator; ``None`` if the activation is computed otherwise, or
        if anything else reads a part of the layer.
    """
    function = producer(activation, *FUNCTIONS)
    linear = None if function is None else linear_layer(function.inputs[0])
    if function is None or linear is None or constant(linear.weight) is None:
        return None
    parts = (linear.matmul.outputs[0], linear.output, linear.weight, linear.bias)
    unshared = all(value is None or use_count(value) == 1 for value in parts)
    return (linear, function.op_type) if unshared else None


def search_channel_splitting(
    profile: ActivationProfile, weight: NDArray[np.float32], function: str
) -> ChannelSplitting | None:
    """Search how many units to add, by the error of the next layer's output.

    Args:
        profile: Of the activation function's output.
        weight: float32 (C, N), of the layer that reads it.
        function: The activation function, of :data:`FUNCTIONS`.

    Returns:
        The best, or ``None`` where none gains enough.
    """
    profile = profile.thinned(weight.shape[1])
    exact = profile.sample @ weight  # (T, N)
    best, least = None, _output_error(profile, weight, exact, None, function) / MIN_GAIN
    influence = np.linalg.norm(weight, axis=1)  # (C,)
    for units_per_copy in _UNITS_PER_COPY:
        splitting = _split(profile.high, influence, len(profile.high) // units_per_copy)
        if splitting is None:
            continue
        error = _output_error(profile, weight, exact, splitting, function)
        if error < least:
            best, least = splitting, error
    return best


def _split(
    high: NDArray[np.float32], influence: NDArray[np.float32], most_copies: int
) -> ChannelSplitting | None:
    """Split with the lowest bound that needs at most so many copies; guards come on top.

    Args:
        high: The largest value of each unit, float32 (C,).
        influence: Norm of each unit's row of the next weight, float32 (C,).
        most_copies: How many copies there may be.
    """
    # The lowest bound, by bisection.
    low, bound = _LOWEST_BOUND, float(high.max())
    if most_copies < 1 or bound <= low:
        return None
    for _ in range(40):  # halvings: far below float32's resolution
        middle = (low + bound) / 2
        if _copies_needed(high, middle).sum() <= most_copies:
            bound = middle
        else:
            low = middle
    copies = _copies_needed(high, bound)
    if not copies.any():
        return None
    # Guards, among the units without a copy.
    reach = np.where(copies > 0, _REACH, _GUARD_REACH) * high
    copies[_guarded(reach, bound, np.where(copies > 0, 0.0, influence))] = 1
    return ChannelSplitting(bound, copies, _steepness(reach - bound * copies, bound))


def _guarded(
    reach: NDArray[np.floating[Any]], bound: float, influence: NDArray[np.floating[Any]]
) -> NDArray[np.int64]:
    """The units whose clipping would cost most if they reached so far."""
    loss = influence * np.maximum(reach - bound, 0.0)
    costliest = np.argsort(-loss, kind="stable")[: len(loss) // _UNITS_PER_GUARD]
    guarded: NDArray[np.int64] = costliest[loss[costliest] > 0]
    return guarded


def _steepness(remainder: NDArray[np.floating[Any]], bound: float) -> NDArray[np.float32]:
    """The largest power of 2 by which a last copy can be steeper and still hold its remainder."""
    times = np.clip(bound / np.maximum(remainder, bound / _STEEPEST), 1.0, None)
    powers: NDArray[np.float32] = np.exp2(np.floor(np.log2(times))).astype(np.float32)
    return powers


def _copies_needed(high: NDArray[np.float32], bound: float) -> NDArray[np.int64]:
    """Copies that units of these largest values need, int64 (C,)."""
    parts = np.ceil(np.maximum(high, 0.0).astype(np.float64) / bound - 1e-9)
    copies: NDArray[np.int64] = np.maximum(parts - 1, 0).astype(np.int64)
    return copies


def _output_error(
    profile: ActivationProfile,
    weight: NDArray[np.float32],
    exact: NDArray[np.float32],
    splitting: ChannelSplitting | None,
    function: str,
) -> float:
    """Squared error of the next layer's output."""
    sample, high = profile.sample, float(profile.high.max())
    if splitting is not None:
        sample = split_sample(sample, splitting, function)
        weight = splitting.widen(weight)
        high = splitting.bound
    low = min(float(profile.low.min()), float(sample.min()))
    dequantized = round_trip(sample, affine_parameters(low, high))
    return float(((rounded_product(dequantized, weight) - exact) ** 2).mean())


def split_sample(
    sample: NDArray[np.float32], splitting: ChannelSplitting, function: str
) -> NDArray[np.float32]:
    """The activation function's output once units are split, not clipped yet.

    Args:
        sample: Its output before, float32 (T, C).
        splitting: Which units are split.
        function: The activation function, of :data:`FUNCTIONS`.

    Returns:
        float32 (T, C + added).
    """
    apply = FUNCTIONS[function]
    outputs = sample[:, splitting.sources]  # (T, added)
    # What went into the function: by interpolation, and beyond the grid the output itself.
    interpolated = np.interp(outputs, apply(_GRID), _GRID).astype(np.float32)
    inputs = np.where(outputs >= _GRID[-1], outputs, interpolated)
    return np.concatenate([sample, apply((inputs - splitting.shifts) * splitting.slopes)], axis=1)


def apply_channel_splitting(
    graph: ir.Graph, activation: ir.Value, layer: LinearLayer, splitting: ChannelSplitting
) -> None:
    """Widen the layers before and after the activation function, in place.

    Afterwards the float graph counts twice what the copies hold. It is only right together with a
    range that ends at ``splitting.bound``.

    Args:
        graph: The float graph.
        activation: The activation function's output.
        layer: The layer that reads it.
        splitting: Which units are split.
    """
    hidden = hidden_layer(activation)
    assert hidden is not None, "the search ran on a clone of this graph"
    product = hidden[0].matmul
    weight_before, weight_after = product.inputs[1], layer.node.inputs[1]
    bias = own_bias(graph, product)
    columns, offsets = constant(weight_before), constant(bias)
    assert weight_before is not None, "hidden_layer saw it"
    assert weight_after is not None, "find_linear_layers saw it"
    assert columns is not None, "hidden_layer saw it"
    assert offsets is not None, "own_bias gives a constant"
    # The layer before: a column and a bias for every copy.
    sources, slopes = splitting.sources, splitting.slopes
    added_columns = columns[:, sources] * slopes
    added_offsets = (offsets[sources] - splitting.shifts) * slopes
    set_constant(weight_before, np.concatenate([columns, added_columns], axis=1))
    set_constant(bias, np.concatenate([offsets, added_offsets]))
    # The layer after: a row for every copy.
    set_constant(weight_after, splitting.widen(weight_of(layer)))
    # The shapes of the values between the two.
    width = len(offsets) + splitting.added
    biased = cast("ir.Node", sole_reader(product.outputs[0], "Add"))
    for value in (product.outputs[0], biased.outputs[0], activation):
        if value.shape is not None:
            value.shape = ir.Shape([*list(value.shape)[:-1], width])
