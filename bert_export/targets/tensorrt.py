"""TensorRT itself, which times kernels on the GPU of the machine that it builds on.

All of its graph is shared, see :mod:`bert_export.targets.tensorrt_form`.
"""

from __future__ import annotations

from bert_export.targets.tensorrt_form import (
    RECIPES,
    check_graph,
    check_installed,
    open_written,
    scheme,
)

__all__ = ["RECIPES", "check_graph", "check_installed", "open_written", "scheme"]
