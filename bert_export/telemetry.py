"""The engines' telemetry is off before the first of them is imported.

ONNX Runtime (from 1.29 on) and OpenVINO look up hosts of their makers and keep an id in the home
folder as soon as they are imported, and a cluster of Ray reports its use; a service may be allowed
none of it. Each has a switch that it reads once:

- ONNX Runtime and Ray read the environment. The variables are set when :mod:`bert_export` is
  imported, and processes that this one starts inherit them. A value that is set already stays: who
  wants the telemetry sets them to 0 and 1.
- OpenVINO sends what its package ``openvino_telemetry`` can, and nothing where that cannot be
  imported. So it is hidden while :func:`import_openvino` imports OpenVINO.

Who imports an engine before :mod:`bert_export` has to do this themselves.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

__all__ = ["TELEMETRY_OFF", "disable_telemetry", "import_openvino"]

TELEMETRY_OFF = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""Environment variables that switch telemetry off, for programs in any language."""

_OPENVINO_TELEMETRY = "openvino_telemetry"


def disable_telemetry() -> None:
    """Switch off the telemetry that the environment switches, where it says nothing yet."""
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    Raises:
        ImportError: It is not installed.
    """
    if "openvino" in sys.modules or _OPENVINO_TELEMETRY in sys.modules:
        return import_module("openvino")
    sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]  # as Python hides a module
    try:
        return import_module("openvino")
    finally:
        del sys.modules[_OPENVINO_TELEMETRY]
