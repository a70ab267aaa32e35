"""Bias correction: the mean error that INT8 adds to a layer's output is taken off its bias.

Rounding the weights moves the mean of each output by ``E[x] (W - W')``, as the inputs of a BERT
layer are far from channel_shifted; clipping moves it further. Both are known after calibration, and
a bias costs nothing.

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
    """The mean of each of an activation's channels.

    Args:
        exact: In float, float32 (K,).
        rounded: Of what INT8 leaves, float32 (K + added,); see
            :mod:`bert_export.quantization.equalization.outlier_channel_splitting` for what may be
            added.
    """

    exact: NDArray[np.float32]
    rounded: NDArray[np.float32]


def correct_bias(
    graph: ir.Graph,
    layer: LinearLayer,
    stored: NDArray[np.float32],
    means: Means,
) -> None:
    """Keep the mean of a layer's output, in place.

    Args:
        graph: Where the layer stands.
        layer: The layer, its weight still in float; (K + added, N), where
            :mod:`bert_export.quantization.equalization.outlier_channel_splitting` added rows.
        stored: What INT8 leaves of the weight, float32 (K + added, N).
        means: Of the layer's input.
    """
    weight = constant(layer.node.inputs[1])
    assert weight is not None, "find_linear_layers saw it"
    exact = means.exact.astype(np.float64) @ weight[: len(means.exact)]  # (N,)
    add_to_bias(graph, layer.node, exact - means.rounded.astype(np.float64) @ stored)
