"""Bias correction: a layer's bias takes over the mean error that INT8 adds to its output.

Rounding the weights moves the mean of each output by ``E[x] (W - W')``, and the mean ``E[x]`` of a
BERT layer's input is far from zero. Clipping moves it further. Both are known after calibration,
and correcting a bias costs nothing at run time.

Source: Nagel et al. 2019, arXiv:1906.04721 (data-free quantization), section 4.2, with measured
means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.editing import add_to_bias, constant
from bert_export.quantization.linear_layers import LinearLayer

__all__ = ["Means", "correct_bias"]


@dataclass(frozen=True, slots=True)
class Means:
    """The mean of every channel of an activation, over the sample.

    Args:
        exact: In float, float32 (K,).
        dequantized: After INT8, float32 (K + added,). Outlier channel splitting adds channels, see
            :mod:`bert_export.quantization.equalization.outlier_channel_splitting`.
    """

    exact: NDArray[np.float32]
    dequantized: NDArray[np.float32]


def correct_bias(
    graph: ir.Graph,
    layer: LinearLayer,
    dequantized_weight: NDArray[np.float32],
    means: Means,
) -> None:
    """Keep the mean of a layer's output, in place.

    Args:
        graph: The graph of the layer.
        layer: The layer, its weight still in float, (K + added, N); see :class:`Means`.
        dequantized_weight: What INT8 keeps of the weight, float32 (K + added, N).
        means: Of the layer's input.
    """
    weight = constant(layer.node.inputs[1])
    assert weight is not None, "find_linear_layers saw it"
    exact = means.exact.astype(np.float64) @ weight[: len(means.exact)]  # (N,)
    quantized = means.dequantized.astype(np.float64) @ dequantized_weight  # (N,)
    add_to_bias(graph, layer.node, exact - quantized)
