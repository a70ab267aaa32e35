"""Calibration input: records of a built-in set or a file, made into rows as the task does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.bundle import CalibrationRecord
from bert_export.errors import CalibrationError
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks import Task

__all__ = [
    "MIN_EXAMPLES",
    "CalibrationRows",
    "CalibrationSet",
    "built_in_folder",
    "built_in_sets",
    "make_rows",
    "mask_tokens",
    "read_calibration",
]

MIN_EXAMPLES = 16
"""Fewer examples than this cannot set a range that holds for others."""

MASKED_TASKS = ("fill-mask", "pretraining")


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Records and where they came from.

    Args:
        source: Name of the built-in set, or the file's name.
        sha256: Of the file's bytes (hex).
        records: One mapping per example, with the task's fields.
    """

    source: str
    sha256: str
    records: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """Rows as the graph will see them, and the provenance for the manifest."""

    rows: tuple[Row, ...]
    record: CalibrationRecord


def built_in_folder() -> Path:
    """The folder of calibration sets: in the wheel inside the package, in a checkout beside it."""
    package = Path(__file__).parents[1]
    inside = package / "_calibration"
    return inside if inside.is_dir() else package.parent / "calibration"


def built_in_sets() -> tuple[str, ...]:
    """Names of the built-in sets, sorted."""
    return tuple(sorted(path.parent.name for path in built_in_folder().glob("*/examples.jsonl")))


def read_calibration(task: Task, source: str | None = None) -> CalibrationSet:
    """Read a calibration set.

    Args:
        task: Whose fields every record must have.
        source: Name of a built-in set, or a ``.jsonl`` or ``.txt`` file; the built-in set of the
            task when ``None``.

    Raises:
        CalibrationError: There is no such set, or it is malformed, empty or too small.
    """
    name = task.name if source is None else source
    path = Path(name)
    if name in built_in_sets():
        path = built_in_folder() / name / "examples.jsonl"
    elif path.suffix not in (".jsonl", ".txt"):
        raise CalibrationError(
            f"calibration set {name} is neither built in nor a file that can be read",
            expected=f"a .jsonl or .txt file, or one of {', '.join(built_in_sets())}",
            got=name,
        )
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"calibration file {path} cannot be read", expected="a UTF-8 text file", got=str(error)
        ) from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if path.suffix == ".txt":
        records = [_check_record({"text": line.strip()}, task, path, n) for n, line in lines]
    else:
        records = [_check_record(_parse(line, path, n), task, path, n) for n, line in lines]
    if len(records) < MIN_EXAMPLES:
        raise CalibrationError(
            f"calibration set {name} is too small",
            expected=f"at least {MIN_EXAMPLES} examples",
            got=len(records),
            fix="Add examples that look like the text the model will see",
        )
    return CalibrationSet(name, hashlib.sha256(data).hexdigest(), tuple(records))


def _parse(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise CalibrationError(
            f"calibration file {path} line {number} is not JSON",
            expected="one JSON object a line",
            got=str(error),
        ) from error


def _check_record(record: Any, task: Task, path: Path, number: int) -> Mapping[str, Any]:
    if not isinstance(record, dict):
        raise CalibrationError(
            f"calibration file {path} line {number} is no object",
            expected="one JSON object a line",
            got=type(record).__name__,
        )
    missing = [field for field in task.required if field not in record]
    if missing or not any(field in record for field in (*task.required, *task.optional)):
        raise CalibrationError(
            f"calibration file {path} line {number} does not fit {task.name}",
            expected=", ".join(missing or task.optional),
            got=", ".join(record) or "an empty object",
        )
    return record


def make_rows(
    calibration: CalibrationSet, pipeline: Pipeline[Any, Any, Any], *, seed: int = 0
) -> CalibrationRows:
    """Encode a set as the task's pipeline does, masking tokens where the task was trained so.

    Args:
        calibration: The records.
        pipeline: Of the task, over any session.
        seed: Of the masking.

    Raises:
        InputError: A record's values do not fit the task.
    """
    tokenizer, settings = pipeline.tokenizer, pipeline.dataset_settings()
    rng = np.random.default_rng(seed)
    items = [pipeline.item(record) for record in calibration.records]
    rows = [row for rows in pipeline.encode(items, settings) for row in rows]
    if pipeline.task in MASKED_TASKS:
        rows = list(_mask_rows(rows, tokenizer, rng))
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


def _mask_rows(rows: list[Row], tokenizer: Tokenizer, rng: np.random.Generator) -> Iterator[Row]:
    if tokenizer.mask_id is None:
        raise CalibrationError("tokenizer has no mask token", expected="[MASK] in its vocabulary")
    for row in rows:
        if (row.input_ids == tokenizer.mask_id).any():
            yield row
            continue
        ids = mask_tokens(
            row.input_ids,
            np.asarray(row.encoding.special_tokens_mask, dtype=bool),
            mask_id=tokenizer.mask_id,
            vocab_size=tokenizer.vocab_size,
            rng=rng,
        )
        yield replace(row, input_ids=ids)


def mask_tokens(
    input_ids: np.ndarray[Any, np.dtype[np.int64]],
    special: np.ndarray[Any, np.dtype[np.bool_]],
    *,
    mask_id: int,
    vocab_size: int,
    rng: np.random.Generator,
    share: float = 0.15,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Corrupt tokens as BERT's pre-training does.

    Args:
        input_ids: int64 (S,).
        special: bool (S,), tokens that are never chosen.
        mask_id: Id of ``[MASK]``, which replaces 80 % of the chosen tokens.
        vocab_size: A random id below it replaces 10 %; the last 10 % stay as they are.
        rng: Source of every choice.
        share: Share of the tokens that are chosen, at least one where there is any.

    Returns:
        int64 (S,), a copy.

    Source: Devlin et al. 2018, arXiv:1810.04805, section 3.1, task 1.
    """
    corrupted = input_ids.copy()
    candidates = np.flatnonzero(~special)
    if candidates.size == 0:
        return corrupted
    chosen = rng.permutation(candidates)[: max(1, round(share * candidates.size))]
    fate = rng.random(chosen.size)
    corrupted[chosen[fate < 0.8]] = mask_id
    randomised = chosen[(fate >= 0.8) & (fate < 0.9)]
    corrupted[randomised] = rng.integers(0, vocab_size, randomised.size)
    return corrupted
