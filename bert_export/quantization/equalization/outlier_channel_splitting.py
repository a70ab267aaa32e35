"""ChannelSplitting: a hidden unit whose value is too large for INT8 becomes several that share it.

In a trained BERT a unit or two of each feed-forward layer answer 20 at one token of every text,
where all others stay below 5, and a range that holds 20 leaves the others a quarter of the levels.
The unit is copied with its bias lowered by the range's bound ``T`` for each copy::

    gelu(u)  ~  min(gelu(u), T) + min(gelu(u - T), T) + ... + gelu(a (u - k T)) / a

Clipping at ``T`` is what INT8 does at its upper bound anyway, so the copies are nothing but ``k``
more columns in the layer before and ``k`` more rows in the layer after: no operator is added, and
any engine can run it. For ReLU the sum is exact; for GELU it is off by up to 0.25 where ``u`` is
near a multiple of ``T``. A last copy that has little left to hold is steeper, ``a`` of 2 or 4, by
which it is off by as much less; the search measures what remains.

Calibration does not see the largest value of a unit. One that stays just below ``T`` there may be
cut on other text, and one such unit made two thirds of the squared error of a whole model:
those that would lose most are guarded by a copy that holds what exceeds ``T``.

Source: Zhao et al. 2019, arXiv:1901.09504 (outlier channel channel_splitting), here through the
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
    quantize_weight,
    round_trip,
)

__all__ = [
    "MIN_GAIN",
    "ChannelSplitting",
    "apply_channel_splitting",
    "choose_channel_splitting",
    "hidden_of",
    "split_sample",
]

MIN_GAIN = 1.25
"""Units are only split where that divides the layer's squared output error by this much."""

_SHARES = (192, 96)
"""One more unit for so many is the most that is tried: 8 and 16 for 1536, a percent of the time."""

_GUARDED = 192
"""One unit in so many, at most, is guarded."""

_REACH, _GUARD_REACH = 1.25, 1.5
"""How far a last copy, and a guard, reach beyond the largest value that calibration saw."""

_STEEPEST = 4.0
"""The largest ``a``: a copy that steep is off by 0.04, and holds a quarter of ``T``."""

_LOWEST_BOUND = 2.5
"""From here on GELU is the identity but for 0.02, on which the picture above rests."""


@dataclass(frozen=True, slots=True)
class ChannelSplitting:
    """How units are split.

    Args:
        bound: ``T``, the range's upper bound afterwards.
        copies: How many further units each gets, int64 (C,).
        steepness: ``a`` of the last of them, float32 (C,).
    """

    bound: float
    copies: NDArray[np.int64]
    steepness: NDArray[np.float32]

    @property
    def added(self) -> int:
        """Units that are added."""
        return int(self.copies.sum())

    @property
    def sources(self) -> NDArray[np.int64]:
        """The unit that each added one is a copy of, int64 (added,)."""
        return np.repeat(np.arange(len(self.copies)), self.copies)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """Which of its unit's copies each added unit is, from 1, int64 (added,)."""
        return np.concatenate([np.arange(1, count + 1) for count in self.copies])

    @property
    def shifts(self) -> NDArray[np.float32]:
        """How much lower each added unit starts, float32 (added,)."""
        return (self.bound * self.ranks).astype(np.float32)

    @property
    def slopes(self) -> NDArray[np.float32]:
        """How much steeper each added unit is, float32 (added,)."""
        last = self.ranks == self.copies[self.sources]
        return np.where(last, self.steepness[self.sources], np.float32(1.0))

    def widen(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The weight of the layer after, (C, N), with the rows of added units, (C + added, N)."""
        return np.concatenate([rows, rows[self.sources] / self.slopes[:, None]])


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

_GRID = np.linspace(0.0, 8.0, 4097, dtype=np.float32)


def hidden_of(activation: ir.Value) -> tuple[Linear, str] | None:
    """The layer whose units an activation function is over, and the function's operator."""
    function = producer(activation, *FUNCTIONS)
    linear = None if function is None else linear_layer(function.inputs[0])
    if function is None or linear is None or constant(linear.weight) is None:
        return None
    parts = (linear.matmul.outputs[0], linear.output, linear.weight, linear.bias)
    alone = all(value is None or use_count(value) == 1 for value in parts)
    return (linear, function.op_type) if alone else None


def choose_channel_splitting(
    profile: ActivationProfile, weight: NDArray[np.float32], function: str
) -> ChannelSplitting | None:
    """Search how many units to add, by the error of the next layer's output.

    Args:
        profile: Of the activation function's output.
        weight: float32 (C, N), of the layer that reads it.
        function: Of :data:`FUNCTIONS`.

    Returns:
        The best, or ``None`` where it does not gain enough.
    """
    profile = profile.thinned(weight.shape[1])
    exact = profile.sample @ weight  # (T, N)
    best, least = None, _error(profile, weight, exact, None, function) / MIN_GAIN
    influence = np.linalg.norm(weight, axis=1)  # (C,)
    for share in _SHARES:
        channel_splitting = _split(profile.high, influence, len(profile.high) // share)
        if channel_splitting is None:
            continue
        error = _error(profile, weight, exact, channel_splitting, function)
        if error < least:
            best, least = channel_splitting, error
    return best


def _split(
    high: NDArray[np.float32], influence: NDArray[np.float32], added: int
) -> ChannelSplitting | None:
    """The lowest bound that takes at most so many further units, and the guards beside them."""
    low, bound = _LOWEST_BOUND, float(high.max())
    if added < 1 or bound <= low:
        return None
    for _ in range(40):  # halvings: far below float32's resolution
        middle = (low + bound) / 2
        if _copies(high, middle).sum() <= added:
            bound = middle
        else:
            low = middle
    copies = _copies(high, bound)
    if not copies.any():
        return None
    reach = np.where(copies > 0, _REACH, _GUARD_REACH) * high
    copies[_guarded(reach, bound, np.where(copies > 0, 0.0, influence))] = 1
    return ChannelSplitting(bound, copies, _steepness(reach - bound * copies, bound))


def _guarded(
    reach: NDArray[np.floating[Any]], bound: float, influence: NDArray[np.floating[Any]]
) -> NDArray[np.int64]:
    """The units that would lose most if they reached so far."""
    lost = influence * np.maximum(reach - bound, 0.0)
    most = np.argsort(-lost, kind="stable")[: len(lost) // _GUARDED]
    guarded: NDArray[np.int64] = most[lost[most] > 0]
    return guarded


def _steepness(left: NDArray[np.floating[Any]], bound: float) -> NDArray[np.float32]:
    """The largest power of 2 with which a copy still holds what is left."""
    times = np.clip(bound / np.maximum(left, bound / _STEEPEST), 1.0, None)
    powers: NDArray[np.float32] = np.exp2(np.floor(np.log2(times))).astype(np.float32)
    return powers


def _copies(high: NDArray[np.float32], bound: float) -> NDArray[np.int64]:
    needed = np.ceil(np.maximum(high, 0.0).astype(np.float64) / bound - 1e-9)
    copies: NDArray[np.int64] = np.maximum(needed - 1, 0).astype(np.int64)
    return copies


def _error(
    profile: ActivationProfile,
    weight: NDArray[np.float32],
    exact: NDArray[np.float32],
    channel_splitting: ChannelSplitting | None,
    function: str,
) -> float:
    """Squared error of the next layer's output."""
    sample, high = profile.sample, float(profile.high.max())
    if channel_splitting is not None:
        sample = split_sample(sample, channel_splitting, function)
        weight = channel_splitting.widen(weight)
        high = channel_splitting.bound
    levels, steps = quantize_weight(weight)
    low = min(float(profile.low.min()), float(sample.min()))
    back = round_trip(sample, affine_parameters(low, high))
    return float(((back @ (levels * steps) - exact) ** 2).mean())


def split_sample(
    sample: NDArray[np.float32], channel_splitting: ChannelSplitting, function: str
) -> NDArray[np.float32]:
    """What the function gives once units are split, not yet clipped.

    Args:
        sample: What it gave before, float32 (T, C).
        channel_splitting: Which units are split.
        function: Of :data:`FUNCTIONS`.

    Returns:
        float32 (T, C + added).
    """
    apply = FUNCTIONS[function]
    source = sample[:, channel_splitting.sources]  # (T, added)
    inverse = np.interp(source, apply(_GRID), _GRID).astype(np.float32)  # above 0
    inputs = np.where(source >= _GRID[-1], source, inverse)
    return np.concatenate(
        [sample, apply((inputs - channel_splitting.shifts) * channel_splitting.slopes)], axis=1
    )


def apply_channel_splitting(
    graph: ir.Graph, activation: ir.Value, layer: LinearLayer, channel_splitting: ChannelSplitting
) -> None:
    """Widen the layers before and after the function, in place.

    Afterwards the float graph adds what the copies hold twice: it is only right together with a
    range that ends at ``channel_splitting.bound``.
    """
    found = hidden_of(activation)
    assert found is not None, "the choice was made on a clone of this graph"
    product = found[0].matmul
    weight, after = product.inputs[1], layer.node.inputs[1]
    bias = own_bias(graph, product)
    before, offsets = constant(weight), constant(bias)
    assert weight is not None, "hidden_of saw it"
    assert after is not None, "find_linear_layers saw it"
    assert before is not None, "hidden_of saw it"
    assert offsets is not None, "own_bias gives a constant"
    sources, slopes = channel_splitting.sources, channel_splitting.slopes
    columns = before[:, sources] * slopes
    starts = (offsets[sources] - channel_splitting.shifts) * slopes
    set_constant(weight, np.concatenate([before, columns], axis=1))
    set_constant(bias, np.concatenate([offsets, starts]))
    set_constant(after, channel_splitting.widen(weight_of(layer)))
    width = len(offsets) + channel_splitting.added
    added = cast("ir.Node", sole_reader(product.outputs[0], "Add"))
    for value in (product.outputs[0], added.outputs[0], activation):
        if value.shape is not None:
            value.shape = ir.Shape([*list(value.shape)[:-1], width])
