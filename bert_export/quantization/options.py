"""The options of INT8 and their check; the struct itself is part of an export's request."""

from __future__ import annotations

from bert_export.bundle import DEFAULT_OBSERVER, QuantizationOptions
from bert_export.errors import InputError
from bert_export.quantization.calibration.observers import OBSERVERS

__all__ = ["MODES", "QuantizationOptions", "check_quantization"]

MODES = ("static", "dynamic")


def check_quantization(options: QuantizationOptions) -> None:
    """Refuse options of INT8 that are unknown or do not belong together.

    Raises:
        InputError: There is no such mode or observer, or a calibration method is chosen for what is
            not calibrated.
    """
    for what, value, known in (
        ("mode", options.mode, MODES),
        ("observer", options.observer, tuple(OBSERVERS)),
    ):
        if value not in known:
            raise InputError(
                f"INT8 {what} {value!r} is unknown",
                expected=f"one of {', '.join(known)}",
                got=repr(value),
            )
    if options.mode == "dynamic" and options.observer != DEFAULT_OBSERVER:
        raise InputError(
            f"calibration-method {options.observer} has no use for dynamic INT8",
            expected="--int8-mode static",
            got=options.mode,
        )
