"""Bias correction: the mean error that INT8 adds to a layer's output is taken off its bias.

Rounding the weights moves the mean of each output by ``E[x] (W - W')``, as the inputs of a BERT
layer are far from centred; clipping moves it further. Both are known after calibration, and a bias
costs nothing.

Source: Nagel et al. 2019, arXiv:1906.04721 (data-free quantisation), section 4.2, with measured
means.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.editing import constant, is_vector, sole_reader, use_count
from bert_export.quantization.sites import LinearSite, set_constant

__all__ = ["correct_bias"]


def correct_bias(
    site: LinearSite,
    weight: NDArray[np.float32],
    stored: NDArray[np.float32],
    *,
    mean: NDArray[np.float32],
    rounded_mean: NDArray[np.float32],
) -> bool:
    """Keep the mean of a layer's output, in place.

    Args:
        site: The layer.
        weight: In float, (K, N).
        stored: What INT8 leaves of it, float32 (K + added, N); see
            :mod:`bert_export.quantization.splitting` for what may be added.
        mean: Of the layer's input, float32 (K,).
        rounded_mean: Of what INT8 leaves of it, float32 (K + added,).

    Returns:
        Whether the layer has a bias of its own to correct.
    """
    bias = _bias(site.node)
    array = constant(bias)
    if bias is None or array is None:
        return False
    shift = mean.astype(np.float64) @ weight - rounded_mean.astype(np.float64) @ stored
    set_constant(bias, (array + shift).astype(np.float32))
    return True


def _bias(product: ir.Node) -> ir.Value | None:
    """The vector that is added to a product, where nothing else reads either."""
    add = sole_reader(product.outputs[0], "Add")
    for value in () if add is None else add.inputs:
        if value is not None and is_vector(value) and use_count(value) == 1:
            return value
    return None
