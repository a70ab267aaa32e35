"""TensorRT for RTX, which compiles on any machine for the GPUs that are named to it.

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
