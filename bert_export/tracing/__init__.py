"""From a PyTorch head to an ONNX graph, and a cache of traced graphs."""

from __future__ import annotations

from bert_export.tracing.trace import (
    DEFAULT_OPSET,
    DYNAMIC_AXES,
    OPSETS,
    WEIGHT_SUFFIX,
    check_opset,
    linear_layers,
    trace,
)
from bert_export.tracing.trace_cache import CACHE_VARIABLE, TraceCache

__all__ = [
    "CACHE_VARIABLE",
    "DEFAULT_OPSET",
    "DYNAMIC_AXES",
    "OPSETS",
    "WEIGHT_SUFFIX",
    "TraceCache",
    "check_opset",
    "linear_layers",
    "trace",
]
