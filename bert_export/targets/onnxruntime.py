"""ONNX Runtime's CPU provider: the form its fastest kernels want.

Which form that is, and why, stands in :mod:`bert_export.passes.recipes`: attention is the standard
``Attention`` with three axes, a linear layer in INT8 is one ``com.microsoft.MatMulIntegerToFloat``
with a static activation scale and the bias inside, and everything else stays float32 and standard.
Sessions open at the basic level: the extended one would fuse ``Add`` and ``LayerNormalization``
into ``SkipLayerNormalization``, which took 3 to 6 times as long.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

__all__ = ["DATA_FILE", "GRAPH_FILE", "save_graph"]

GRAPH_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
_EXTERNAL_FROM_BYTES = 1024


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
