"""Versions of the engines that are too old, or known to answer wrongly.

``pyproject.toml`` asks for the same, but rules only what pip resolves: a service may pin an engine
by itself, or get it with its base image. So every session compares once more. What each row rests
on was tried with FP32 and INT8 bundles, row by row and in batches, as folders and behind links:

==================  ================================================================================
ONNX Runtime        1.23 has no kernel for the INT8 operators of opset 23; 1.24.1 opens no bundle
                    whose files are links, as model hubs keep them; 1.24.2 and 1.24.4 answer
                    batches in INT8 wrongly (17 % error of the logits where 1.25 has 1.5 %).
OpenVINO            2026.0 to 2026.2 answer INT8 bundles with nonsense on processors with BF16.
TensorRT            10 and TensorRT for RTX before 1.7 were never tried.
==================  ================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from bert_export.errors import TargetError

__all__ = ["OLDEST_VERSIONS", "check_version"]

OLDEST_VERSIONS: Mapping[str, str] = {
    "onnxruntime": "1.25",
    "onnxruntime-gpu": "1.25",
    "openvino": "2026.3",
    "tensorrt": "11",
    "tensorrt-rtx": "1.7",
}
"""By distribution, the oldest version that answers as it should; pyproject.toml has the same."""

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def check_version(distribution: str, found: object) -> None:
    """Make sure that an engine is not older than what is known to answer rightly.

    Args:
        distribution: A key of :data:`OLDEST_VERSIONS`.
        found: What the engine says of itself, such as ``1.24.1`` or ``2026.2.0-21903-52ddc073857``.

    Raises:
        TargetError: It is older, or says nothing that can be read.
    """
    oldest = OLDEST_VERSIONS[distribution]
    numbers = _numbers(str(found))
    if numbers is None or numbers < (_numbers(oldest) or ()):
        raise TargetError(
            f"{distribution} {found} is too old for bundles of this bert-export",
            expected=f"{distribution} {oldest} or later",
            got=str(found),
            fix=f"Run: pip install '{distribution}>={oldest}'",
        )


def _numbers(version: str) -> tuple[int, ...] | None:
    """The numbers that a version begins with, without zeros at their end."""
    release = _NUMBERS.match(version)
    if release is None:
        return None
    numbers = [int(number) for number in release.group().split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
