"""ONNX Runtime's CPU provider: the form its fastest kernels want.

A linear layer in INT8 becomes one ``com.microsoft.MatMulIntegerToFloat`` with a static activation
scale and the bias inside; everything else stays float32.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.passes.graph_pass import require_count
from bert_export.passes.lower_quantized_linear import LowerQuantizedLinear

__all__ = ["DATA_FILE", "GRAPH_FILE", "lower_int8", "save_graph"]

GRAPH_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
_EXTERNAL_FROM_BYTES = 1024


def lower_int8(model: ir.Model, *, layers: int) -> None:
    """Bring a graph in Q/DQ form to ONNX Runtime's form, in place.

    Args:
        model: In Q/DQ form.
        layers: How many linear layers must be lowered.

    Raises:
        PassError: Another number was.
    """
    require_count(LowerQuantizedLinear()(model), layers, "quantised linear layers")


def save_graph(model: ir.Model, folder: Path, *, data_file: str = DATA_FILE) -> None:
    """Write ``model.onnx`` with its weights beside it; small tensors stay in the graph file.

    Args:
        model: The graph; its tensors are as before afterwards.
        folder: An existing folder.
        data_file: Name of the file of weights.
    """
    ir.save(
        model,
        folder / GRAPH_FILE,
        external_data=data_file,
        size_threshold_bytes=_EXTERNAL_FROM_BYTES,
    )
