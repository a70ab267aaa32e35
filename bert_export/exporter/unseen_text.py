"""Real text that an engine is verified on: none of it set a range.

A user's own set gives its held-out part, and the task's built-in set comes beside it, so that a set
that is narrow is found out. Where the built-in set itself calibrates, samples of the demonstrations
and other built-in text take its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from bert_export.datasets import DataSet
from bert_export.errors import CalibrationError, TaskError
from bert_export.quantization.calibration.rows import (
    MAX_UNKNOWN,
    CalibrationRows,
    encode_text,
    unknown_share,
)
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = ["UnseenText", "make_unseen", "spread"]

Thing = TypeVar("Thing")

_SEED = 0  # of masks
_ROWS = 128
"""Rows that are compared in all: each costs a run of the PyTorch head."""


@dataclass(frozen=True, slots=True)
class UnseenText:
    """Rows of one set.

    Args:
        source: Name of the set.
        held_out: Whether it is the part of the calibration set that did not calibrate.
        records: Rows as the graph will see them, those of each record together; one at least.
        unknown_share: Share of ``[UNK]`` among the texts' tokens.
    """

    source: str
    held_out: bool
    records: tuple[tuple[Row, ...], ...]
    unknown_share: float

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all records."""
        return tuple(chain.from_iterable(self.records))

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
        CalibrationError: A record of the sets does not fit the task, or all of their text
            calibrates.
    """
    seen = {tuple(row.encoding.ids) for row in calibration.rows}
    parts = [(calibration.record.source, calibration.held_out, True)]
    for data in sets:
        try:
            parts.append((data.source, encode_text(data, pipeline, seed=_SEED).masked, False))
        except TaskError:  # pairs, for a checkpoint that takes none
            continue
    unseen = [(source, _without(records, seen), held_out) for source, records, held_out in parts]
    some = [part for part in unseen if part[1]]
    sizes = [sum(map(len, records)) for _, records, _ in some]
    texts = []
    for (source, records, held_out), size, count in zip(
        some, sizes, _shares(sizes, _ROWS), strict=True
    ):
        chosen = spread(records, max(1, len(records) * count // size))
        unknown = unknown_share(chain.from_iterable(chosen), pipeline.tokenizer.unk_id)
        texts.append(UnseenText(source, held_out, chosen, unknown))
    if not texts:
        raise CalibrationError(
            f"calibration set {calibration.record.source} leaves no text to verify engines on",
            expected="text that does not calibrate",
            got="every built-in text in the set, and none held out",
            fix="Calibrate on fewer of the built-in texts",
        )
    return tuple(texts)


def spread(things: Sequence[Thing], count: int) -> tuple[Thing, ...]:
    """So many of some things, evenly spaced; all where there are fewer."""
    count = min(count, len(things))
    return tuple(things[index * len(things) // count] for index in range(count))


def _without(
    records: Iterable[tuple[Row, ...]], seen: AbstractSet[tuple[int, ...]]
) -> tuple[tuple[Row, ...], ...]:
    """Records without rows that were seen; those that have none left are gone."""
    left = (tuple(row for row in rows if tuple(row.encoding.ids) not in seen) for rows in records)
    return tuple(rows for rows in left if rows)


def _shares(sizes: Iterable[int], total: int) -> list[int]:
    """How many rows each set gives: as many as every other, as far as it has them."""
    sizes = list(sizes)
    shares = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda index: sizes[index])
    for place, index in enumerate(order):
        shares[index] = min(sizes[index], total // (len(sizes) - place))
        total -= shares[index]
    return shares
