"""How far an engine's outputs are from another's.

A metric moves by whole answers, up as well as down: on a few hundred examples it is half luck. The
outputs behind the answers are numbers, and how far they are off shows what an engine costs long
before an answer changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.evaluation.scorer import AnyPipeline, Examples
from bert_export.runtime.batching import Advance, Row, batch_rows
from bert_export.runtime.sessions.session import Array

__all__ = ["Distance", "measure_distance", "sample_rows"]

_SAMPLE_TOKENS = 16_384
"""Enough that the error of a head's outputs is told to a few percent of itself."""


@dataclass(slots=True)
class Distance:
    """Squared error of every output and the spread of what it should be, gathered part by part."""

    _errors: dict[str, float] = field(default_factory=dict)
    _moments: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def observe(self, name: str, given: Array, wanted: Array) -> None:
        """Take in some numbers of an output; two arrays of one shape."""
        exact = wanted.reshape(-1).astype(np.float64)
        off = given.reshape(-1) - exact
        moments = np.array([exact.size, exact.sum(), exact @ exact])
        self._errors[name] = self._errors.get(name, 0.0) + float(off @ off)
        self._moments[name] = self._moments.get(name, np.zeros(3)) + moments

    @property
    def share(self) -> float:
        """Squared error as a share of the variance, the mean over the outputs."""
        shares = [
            self._errors[name] / max(squares - total * total / max(count, 1.0), 1e-30)
            for name, (count, total, squares) in self._moments.items()
        ]
        return float(np.mean(shares))

    @property
    def root(self) -> float:
        """Root mean square of the error, as a share of the outputs' standard deviation."""
        return math.sqrt(self.share)


def measure_distance(
    pipeline: AnyPipeline,
    reference: AnyPipeline,
    rows: Sequence[Row],
    *,
    advance: Advance | None = None,
) -> Distance:
    """Let two engines of one task answer the same rows; padding does not count.

    Args:
        pipeline: What is measured.
        reference: What it should give.
        rows: What both are asked, such as :func:`sample_rows` of the examples. Where the reference
            speaks of masked words alone, what is measured may speak of all.
        advance: Called with (rows done, rows in all) after every batch.

    Raises:
        InputError: Their outputs have other shapes.
    """
    distance, done = Distance(), 0
    for chosen in batch_rows([len(row) for row in rows]):
        batch = [rows[index] for index in chosen]
        both = zip(batch, pipeline.run_rows(batch), reference.run_rows(batch), strict=True)
        for row, given, wanted in both:
            for name, exact in wanted.items():
                array = _at_masks(given[name], row, pipeline, like=exact)
                if array.shape != exact.shape:
                    raise InputError(
                        f"output {name} has another shape than the reference's",
                        expected=exact.shape,
                        got=array.shape,
                        fix="Compare bundles of one checkpoint",
                    )
                distance.observe(name, array, exact)
        done += len(batch)
        if advance is not None:
            advance(done, len(rows))
    return distance


def sample_rows(examples: Examples, tokens: int = _SAMPLE_TOKENS) -> list[Row]:
    """Evenly spread rows of the examples, of about so many tokens together."""
    rows = [row for rows in examples.rows for row in rows]
    return rows[:: max(1, sum(map(len, rows)) // tokens)]


def _at_masks(array: Array, row: Row, pipeline: AnyPipeline, *, like: Array) -> Array:
    """What is said of the masked words, where the other array has nothing else."""
    if array.ndim == like.ndim == 2 and len(array) == len(row) and len(like) < len(row):
        return np.compress(row.input_ids == pipeline.tokenizer.mask_id, array, axis=0)
    return array
