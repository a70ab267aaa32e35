"""Logits of several continuations to the one that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.runtime.decoding.softmax import softmax

__all__ = ["choose"]


def choose(logits: NDArray[np.float32], choices: Sequence[str]) -> dict[str, Any]:
    """The best choice; of equal ones the first.

    Args:
        logits: float32 (C,).
        choices: C texts.

    Returns:
        ``choice`` (index), ``text`` and ``scores`` (a probability per choice).
    """
    best = int(logits.argmax())
    return {"choice": best, "text": choices[best], "scores": softmax(logits).tolist()}
