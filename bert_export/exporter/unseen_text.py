"""Real text that an engine is verified on: none of it set a range.

A user's own set gives its held-out part, and the task's built-in set comes beside it, so that a set
that is narrow is found out. Where the built-in set itself calibrates, samples of the demonstrations
and other built-in text take its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bert_export.datasets import DataSet
from bert_export.errors import TaskError
from bert_export.quantization.calibration.rows import (
    MAX_UNKNOWN,
    CalibrationRows,
    encode_text,
    unknown_share,
)
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = ["UnseenText", "make_unseen", "spread"]

_ROWS = 128
"""Rows that are compared in all: each costs a run of the PyTorch head."""


@dataclass(frozen=True, slots=True)
class UnseenText:
    """Rows of one set.

    Args:
        source: Name of the set.
        held_out: Whether it is the part of the calibration set that did not calibrate.
        rows: As the graph will see them; one at least.
        unknown_share: Share of ``[UNK]`` among the texts' tokens.
    """

    source: str
    held_out: bool
    rows: tuple[Row, ...]
    unknown_share: float

    @property
    def is_known(self) -> bool:
        """Whether the vocabulary knows enough of it for an agreement to mean something."""
        return self.unknown_share <= MAX_UNKNOWN


def make_unseen(
    calibration: CalibrationRows, sets: Sequence[DataSet], pipeline: Pipeline[Any, Any, Any]
) -> tuple[UnseenText, ...]:
    """What engines are verified on.

    Args:
        calibration: Rows that set ranges, and those that were held out of them.
        sets: Further sets; their rows that calibrated too are left out.
        pipeline: The task's pipeline, over any session.

    Raises:
        CalibrationError: A record of the sets does not fit the task.
    """
    seen = {tuple(row.encoding.ids) for row in calibration.rows}
    parts = [(calibration.record.source, calibration.held_out, True)]
    for data in sets:
        try:
            records = encode_text(data, pipeline, seed=calibration.record.seed).masked
        except TaskError:  # pairs, for a checkpoint that takes none
            continue
        rows = tuple(row for rows in records for row in rows)
        parts.append((data.source, rows, False))
    unseen = {
        source: (tuple(row for row in rows if tuple(row.encoding.ids) not in seen), held_out)
        for source, rows, held_out in parts
    }
    some = {source: rows for source, (rows, _) in unseen.items() if rows}
    counts = _shares([len(rows) for rows in some.values()], _ROWS)
    texts = []
    for (source, rows), count in zip(some.items(), counts, strict=True):
        chosen = spread(rows, count)
        unknown = unknown_share(chosen, pipeline.tokenizer.unk_id)
        texts.append(UnseenText(source, unseen[source][1], chosen, unknown))
    return tuple(texts)


def spread(rows: Sequence[Row], count: int) -> tuple[Row, ...]:
    """So many of the rows, evenly spaced; all where there are fewer."""
    count = min(count, len(rows))
    return tuple(rows[index * len(rows) // count] for index in range(count))


def _shares(sizes: Iterable[int], total: int) -> list[int]:
    """How many rows each set gives: as many as every other, as far as it has them."""
    sizes = list(sizes)
    shares = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda index: sizes[index])
    for place, index in enumerate(order):
        shares[index] = min(sizes[index], total // (len(sizes) - place))
        total -= shares[index]
    return shares
