"""Calibration input: records of a built-in set or of a file, encoded as the task encodes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.bundle import CalibrationRecord
from bert_export.datasets import DataSet, read_dataset
from bert_export.datasets.items import read_items
from bert_export.datasets.masking import corrupt_rows
from bert_export.errors import CalibrationError, TaskError
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.tasks import Task

__all__ = [
    "MIN_EXAMPLES",
    "CalibrationRows",
    "built_in_folder",
    "built_in_sets",
    "make_rows",
    "read_calibration",
]

MIN_EXAMPLES = 16
"""Fewer examples than this cannot set a range that holds for other text."""


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """What calibration runs on.

    Args:
        rows: Rows as the graph will see them.
        record: Where they come from, for the manifest.
    """

    rows: tuple[Row, ...]
    record: CalibrationRecord


def built_in_folder() -> Path:
    """The folder of calibration sets: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[2]
    inside = package / "_calibration"
    return inside if inside.is_dir() else package.parent / "calibration"


def built_in_sets() -> tuple[str, ...]:
    """Names of the built-in sets, sorted."""
    return tuple(sorted(path.parent.name for path in built_in_folder().glob("*/examples.jsonl")))


def read_calibration(task: Task, source: str | None = None) -> DataSet:
    """Read a calibration set.

    Args:
        task: The task whose fields every record must have.
        source: Name of a built-in set, or a file as :func:`bert_export.datasets.read_dataset`
            takes it. ``None`` means the built-in set of the task.

    Raises:
        CalibrationError: The set is too small, or there is no such set.
        DatasetError: The file is malformed or does not fit the task.
        MissingExtraError: The kind of file needs pyarrow.
    """
    name = task.name if source is None else source
    built_in = name in built_in_sets()
    path = built_in_folder() / name / "examples.jsonl" if built_in else Path(name)
    if not path.exists():
        raise CalibrationError(
            f"calibration set {name} is neither built in nor a file that is there",
            expected=f"a data file, or one of {', '.join(built_in_sets())}",
            got=name,
        )
    calibration = read_dataset(task, path)
    if len(calibration) < MIN_EXAMPLES:
        raise CalibrationError(
            f"calibration set {name} is too small",
            expected=f"at least {MIN_EXAMPLES} examples",
            got=len(calibration),
            fix="Add examples that look like the text the model will see",
        )
    return replace(calibration, source=name)


def make_rows(
    calibration: DataSet, pipeline: Pipeline[Any, Any, Any], *, seed: int = 0
) -> CalibrationRows:
    """Encode a set as the task's pipeline does; hide tokens where the task was trained on masks.

    Args:
        calibration: The records.
        pipeline: The task's pipeline, over any session.
        seed: Seed of the masks.

    Raises:
        CalibrationError: A record does not fit the task (the error names its place), or too few
            records differ or hold any text.
        TaskError: All records are pairs, and the checkpoint has one token type.
    """
    settings = pipeline.dataset_settings()
    items = read_items(pipeline, calibration, error=CalibrationError)
    encoded = [row for rows in pipeline.encode(items, settings) for row in rows]
    # A checkpoint with one token type cannot take pairs.
    types = pipeline.manifest.model.type_vocab_size
    rows = [row for row in encoded if row.token_type_ids.max(initial=0) < types]
    if encoded and not rows:
        raise TaskError(
            f"task {pipeline.task} needs pairs of texts, which the checkpoint cannot tell apart",
            expected="type_vocab_size of at least 2",
            got=types,
            fix="Choose another checkpoint",
        )
    _check_texts(calibration, rows)
    if pipeline.definition.masked_texts:
        rows = corrupt_rows(
            rows,
            pipeline.tokenizer,
            np.random.default_rng(seed),
            vocab_size=pipeline.manifest.model.vocab_size,
        )
    return CalibrationRows(
        tuple(rows),
        CalibrationRecord(
            source=calibration.source,
            sha256=calibration.sha256,
            examples=len(calibration.records),
            rows=len(rows),
            tokens=sum(map(len, rows)),
            seed=seed,
        ),
    )


def _check_texts(calibration: DataSet, rows: Sequence[Row]) -> None:
    """Refuse a set of empty texts or of one text again and again: its ranges fit no other text."""
    texts = {tuple(row.encoding.ids) for row in rows if not all(row.encoding.special_tokens_mask)}
    if len(texts) < MIN_EXAMPLES:
        raise CalibrationError(
            f"calibration set {calibration.source} holds too few texts",
            expected=f"at least {MIN_EXAMPLES} that differ and are not empty",
            got=len(texts),
            fix="Add examples that look like the text the model will see",
        )
