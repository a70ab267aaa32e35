"""Answers as JSON: arrays are lists, and numbers keep every digit."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["write_json"]


def _plain(value: object) -> Any:
    import numpy as np  # a command that prints no array needs none

    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


write_json = msgspec.json.Encoder(enc_hook=_plain).encode
"""A value as JSON, in UTF-8."""
