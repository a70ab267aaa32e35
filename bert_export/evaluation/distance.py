"""The distance of an engine's outputs from another's.

A metric moves by whole answers, up as well as down: on a few hundred examples it is half luck. The
outputs behind the answers are numbers. Their error shows what an engine costs long before an answer
changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.evaluation.scorer import AnyPipeline, Examples
from bert_export.runtime.batching import Advance, Row, batches_of
from bert_export.runtime.sessions.session import Array

__all__ = ["Distance", "measure_distance", "sample_rows"]

_SAMPLE_TOKENS = 16_384
"""Tokens of a sample: enough to know the error of a head's outputs to a few percent of itself."""


@dataclass(slots=True)
class Distance:
    """Squared error and variance of every output, gathered part by part."""

    _errors: dict[str, float] = field(default_factory=dict)
    _moments: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def observe(self, name: str, values: Array, reference: Array) -> None:
        """Take in a part of an output.

        Args:
            name: The output.
            values: What the engine gives.
            reference: What the reference gives, of the same shape.
        """
        exact = reference.reshape(-1).astype(np.float64)
        error = values.reshape(-1) - exact
        moments = np.array([exact.size, exact.sum(), exact @ exact])
        self._errors[name] = self._errors.get(name, 0.0) + float(error @ error)
        self._moments[name] = self._moments.get(name, np.zeros(3)) + moments

    @property
    def share(self) -> float:
        """Squared error as a share of the reference's variance, the mean over the outputs."""
        shares = [
            self._errors[name] / max(squares - total * total / max(count, 1.0), 1e-30)
            for name, (count, total, squares) in self._moments.items()
        ]
        return float(np.mean(shares))

    @property
    def root(self) -> float:
        """Root mean square error, as a share of the reference's standard deviation."""
        return math.sqrt(self.share)


def measure_distance(
    pipeline: AnyPipeline,
    reference: AnyPipeline,
    rows: Sequence[Row],
    *,
    advance: Advance | None = None,
) -> Distance:
    """Run two engines of one task on the same rows; padding does not count.

    Args:
        pipeline: The engine that is measured.
        reference: The engine that it is compared with. If its outputs are of masked words alone,
            the other's may be of all words.
        rows: The rows, such as :func:`sample_rows` of the examples.
        advance: Called with (rows done, rows in all) after every batch.

    Raises:
        InputError: Their outputs differ in shape.
    """
    distance, done = Distance(), 0
    for batch in batches_of(rows):
        both = zip(batch, pipeline.run_rows(batch), reference.run_rows(batch), strict=True)
        for row, outputs, exact_outputs in both:
            for name, exact in exact_outputs.items():
                array = _at_masks(outputs[name], row, pipeline, like=exact)
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
    """Rows spread evenly over the examples, of about so many tokens in all."""
    rows = [row for rows in examples.rows for row in rows]
    return rows[:: max(1, sum(map(len, rows)) // tokens)]


def _at_masks(array: Array, row: Row, pipeline: AnyPipeline, *, like: Array) -> Array:
    """The output at masked words alone, if the other array has no more than that."""
    if array.ndim == like.ndim == 2 and len(array) == len(row) and len(like) < len(row):
        return np.compress(row.input_ids == pipeline.tokenizer.mask_id, array, axis=0)
    return array
