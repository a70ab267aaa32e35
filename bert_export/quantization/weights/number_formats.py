"""INT8 arithmetic: number formats per processor, scales and zero points, quantizing and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import QuantizationError

__all__ = [
    "SCHEMES",
    "AffineParameters",
    "Scheme",
    "affine_parameters",
    "dequantize",
    "quantize",
    "quantize_weight",
    "round_trip",
    "rounded_product",
]

_STEPS = 255  # between the smallest and the largest of eight bits


@dataclass(frozen=True, slots=True)
class Scheme:
    """The number formats that suit a processor.

    Args:
        activation_type: ``uint8`` or ``int8``.
        weight_bits: Bits of the symmetric weights, which are stored as int8. With 7 the sum of two
            products fits in 16 bits.
        symmetric: Whether activations have no zero point.
        integer_tables: Whether the engine looks up rows of int8 tables.
        integer_query_key: Whether the engine multiplies queries by keys as int8.
    """

    activation_type: str
    weight_bits: int
    symmetric: bool = False
    integer_tables: bool = True
    integer_query_key: bool = False

    @property
    def lowest(self) -> int:
        """The smallest quantized activation."""
        return int(np.iinfo(self.activation_type).min)

    @property
    def weight_bound(self) -> int:
        """The largest quantized weight."""
        return int(2 ** (self.weight_bits - 1)) - 1

    def parameters(self, low: float, high: float) -> AffineParameters:
        """Scale and zero point of an activation between these bounds."""
        affine = affine_parameters(low, high, lowest=self.lowest)
        if not self.symmetric:
            return affine
        largest = np.iinfo(self.activation_type).max
        return AffineParameters(float(np.float32(max(-low, high) / largest)) or 1.0, 0)


SCHEMES: Mapping[str, Scheme] = {
    "x86-64-vnni": Scheme("uint8", 8),
    "x86-64": Scheme("uint8", 7),
    "arm64": Scheme("int8", 8),
}
"""By kind of processor, see :mod:`bert_export.runtime.processor`."""


@dataclass(frozen=True, slots=True)
class AffineParameters:
    """``real = scale * (quantized - zero_point)``."""

    scale: float
    zero_point: int


def affine_parameters(low: float, high: float, *, lowest: int = 0) -> AffineParameters:
    """Scale and zero point that spread 256 quantized values over a range.

    Args:
        low: Lower bound. The range is widened to hold 0, which must stay exact.
        high: Upper bound.
        lowest: The smallest quantized value: 0 for uint8, -128 for int8.

    Raises:
        QuantizationError: The bounds are not finite or not in order.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise QuantizationError(
            "activation range is not valid", expected="finite low <= high", got=f"{low}, {high}"
        )
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / _STEPS)) or 1.0
    return AffineParameters(scale, lowest + int(np.clip(round(-low / scale), 0, _STEPS)))


def quantize_weight(
    weight: NDArray[np.float32], *, largest: int = 127
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight to nearest, symmetric int8 with one scale per output channel.

    Args:
        weight: float32 (K, N), as a MatMul's second input.
        largest: The largest quantized value: 127 for 8 bits, 63 for 7.

    Returns:
        int8 (K, N) and float32 scales (N,); ``weight`` is about ``int8 * scales``.
    """
    bound = np.abs(weight).max(axis=0)  # (N,)
    steps = (bound / largest).astype(np.float32)  # 0 where the bound is subnormal
    scales = np.where(steps > 0, steps, np.float32(1.0))
    rounded = np.rint(weight / scales)
    return np.clip(rounded, -largest, largest).astype(np.int8), scales


def rounded_product(
    values: NDArray[np.float32], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A product (T, K) by (K, N) with what :func:`quantize_weight` keeps of the weight."""
    quantized, scales = quantize_weight(weight)
    product: NDArray[np.float32] = values @ (quantized * scales)
    return product


def round_trip(values: NDArray[np.float32], parameters: AffineParameters) -> NDArray[np.float32]:
    """What INT8 keeps of values: QuantizeLinear, then DequantizeLinear; any shape, float32."""
    return dequantize(quantize(values, parameters), parameters)


def quantize(values: NDArray[np.float32], parameters: AffineParameters) -> NDArray[np.uint8]:
    """Quantize values as QuantizeLinear does; any shape, uint8."""
    quantized: NDArray[np.float32] = np.rint(values / np.float32(parameters.scale))
    quantized += np.float32(parameters.zero_point)
    np.clip(quantized, 0, _STEPS, out=quantized)
    return quantized.astype(np.uint8)


def dequantize(quantized: NDArray[np.uint8], parameters: AffineParameters) -> NDArray[np.float32]:
    """Give quantized values back as DequantizeLinear does; any shape, float32."""
    values = quantized.astype(np.float32)
    values -= np.float32(parameters.zero_point)
    values *= np.float32(parameters.scale)
    return values
