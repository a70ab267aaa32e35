"""The original without what it logs and warns of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import transformers

__all__ = ["silent"]


@contextmanager
def silent() -> Iterator[None]:
    """Neither logs nor warnings of transformers, for as long as it is open."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(before)
