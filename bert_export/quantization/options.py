"""The options of INT8 and their check; the struct itself is part of an export's request."""

from __future__ import annotations

from bert_export.bundle import (
    DEFAULT_OBSERVER,
    INT8_MODES,
    OBSERVER_NAMES,
    QuantizationOptions,
)
from bert_export.errors import InputError, one_of, shown

__all__ = ["QuantizationOptions", "check_quantization"]


def check_quantization(options: QuantizationOptions) -> None:
    """Refuse options of INT8 that are unknown or do not belong together.

    Raises:
        InputError: There is no such mode or observer, or a calibration method is chosen for what is
            not calibrated.
    """
    for what, value, known in (
        ("mode", options.mode, INT8_MODES),
        ("observer", options.observer, OBSERVER_NAMES),
    ):
        if value not in known:
            raise InputError(f"INT8 {what} {shown(value)} is unknown", **one_of(value, known))
    if options.mode == "dynamic" and options.observer != DEFAULT_OBSERVER:
        raise InputError(
            f"calibration-method {options.observer} has no use for dynamic INT8",
            expected="--int8-mode static",
            got=options.mode,
        )
