"""Calibration input: records of a built-in set or of a file, encoded as the task encodes them.

Of a user's own set a part is held out: it sets no range, so that an engine can be verified on text
of the same kind that it was not made for. The built-in sets calibrate whole; samples of the
demonstrations are what they are verified on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.bundle import CalibrationRecord
from bert_export.datasets import IN_MEMORY, DataSet, Records, read_dataset
from bert_export.datasets.items import read_items
from bert_export.datasets.masking import corrupt_rows
from bert_export.errors import CalibrationError, TaskError, suggestion
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.tasks import LABELS, Task

__all__ = [
    "MAX_UNKNOWN",
    "MIN_EXAMPLES",
    "CalibrationRows",
    "EncodedText",
    "built_in_folder",
    "built_in_sets",
    "check_known",
    "encode_text",
    "make_rows",
    "read_calibration",
    "read_unseen",
    "unknown_share",
]

MIN_EXAMPLES = 16
"""Fewer examples than this cannot set a range that holds for other text."""

MAX_UNKNOWN = 0.5
"""The largest share of ``[UNK]`` among the tokens of a set that tells anything of real text."""

_HELD_OUT = 64  # examples at most
_HELD_OUT_SHARE = 0.2
_NOTABLE_UNKNOWN = 0.1
_FEW_EXAMPLES = 64
_UNSEEN_FILE = "unseen.jsonl"


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A set as rows of the graph, each record's together.

    Args:
        source: Of the set.
        records: The rows of each record that has some, in the set's order.
        masked: The same as the graph will see them: with tokens hidden where the task was trained
            on masks.
    """

    source: str
    records: tuple[tuple[Row, ...], ...]
    masked: tuple[tuple[Row, ...], ...]


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """What calibration runs on.

    Args:
        records: Rows as the graph will see them, those of each record together.
        record: Where they come from, for the manifest.
        held_out: Records of the same set that do not calibrate; no text of theirs does.
    """

    records: tuple[tuple[Row, ...], ...]
    record: CalibrationRecord
    held_out: tuple[tuple[Row, ...], ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all records."""
        return tuple(chain.from_iterable(self.records))


def built_in_folder() -> Path:
    """The folder of calibration sets: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[2]
    inside = package / "_calibration"
    return inside if inside.is_dir() else package.parent / "calibration"


def built_in_sets() -> tuple[str, ...]:
    """Names of the built-in sets, sorted."""
    return tuple(sorted(path.parent.name for path in built_in_folder().glob("*/examples.jsonl")))


def read_calibration(
    task: Task,
    source: str | None = None,
    *,
    fields: Mapping[str, str] | None = None,
    records: Records | None = None,
) -> DataSet:
    """Read a calibration set.

    Args:
        task: The task whose fields every record must have.
        source: Name of a built-in set, or a file as :func:`bert_export.datasets.read_dataset`
            takes it. ``None`` means the built-in set of the task.
        fields: By field, the column of the file that holds it where it has another name. Those of
            labels do not count: calibration needs none.
        records: Records in memory, in the place of a file; ``source`` is then
            :data:`bert_export.datasets.IN_MEMORY`.

    Raises:
        CalibrationError: The set is too small, or there is no such set.
        DatasetError: The file is malformed or does not fit the task.
        MissingExtraError: The kind of file needs pyarrow.
    """
    name = task.built_in_set if source is None else source
    columns = {field: column for field, column in (fields or {}).items() if field not in LABELS}
    if records is not None:
        calibration = read_dataset(task, records, fields=columns, shared_fields=True)
    elif name in built_in_sets():
        calibration = read_dataset(task, built_in_folder() / name / "examples.jsonl")
    else:
        _check_there(name)
        calibration = read_dataset(task, name, fields=columns, shared_fields=True)
    if len(calibration) < MIN_EXAMPLES:
        raise CalibrationError(
            f"calibration set {name} is too small",
            expected=f"at least {MIN_EXAMPLES} examples",
            got=len(calibration),
            fix="Add examples that look like the text the model will see",
        )
    return replace(calibration, source=name)


def _check_there(name: str) -> None:
    """Refuse the name of a set that is neither built in nor a file."""
    if name.startswith("demo:") or Path(name).exists():
        return
    if name == IN_MEMORY:
        raise CalibrationError(
            "calibration set was in memory when the bundle was made",
            expected="the same records",
            got="none",
            fix="Write them into a file and pass it as calibration",
        )
    raise CalibrationError(
        f"calibration set {name} is neither built in nor a file that is there",
        expected=f"a data file, or one of {', '.join(built_in_sets())}",
        got=name,
        fix=suggestion(name, built_in_sets()),
    )


def read_unseen(task: Task) -> tuple[DataSet, ...]:
    """What a task's engines are verified on where its built-in set calibrates: other built-in text.

    Raises:
        DatasetError: A file of the installation is malformed.
    """
    sets = [read_dataset(task, sample) for sample in task.unseen]
    own = built_in_folder() / task.built_in_set / _UNSEEN_FILE
    if own.exists():
        sets.insert(0, replace(read_dataset(task, own), source=f"{task.name}/unseen"))
    return tuple(sets)


def encode_text(data: DataSet, pipeline: Pipeline[Any, Any, Any], *, seed: int = 0) -> EncodedText:
    """Encode a set as the task's pipeline does.

    Args:
        data: The records.
        pipeline: The task's pipeline, over any session.
        seed: Seed of the masks.

    Raises:
        CalibrationError: A record does not fit the task (the error names its place), or each has
            tokens that the model has no vector for.
        TaskError: All records are pairs, and the checkpoint has one token type.
    """
    settings = pipeline.dataset_settings()
    items = read_items(pipeline, data, error=CalibrationError)
    vocab_size = pipeline.manifest.model.vocab_size
    # A declared token may have no vector, nor need the unknown one where a vocabulary has none.
    encoded = [
        [row for row in rows if row.input_ids.max(initial=0) < vocab_size]
        for rows in pipeline.encode_items(items, settings)
    ]
    if items and not any(encoded):
        raise CalibrationError(
            f"calibration set {data.source} has no text that the model has vectors for",
            expected=f"tokens with ids below {vocab_size}, the config's vocab_size",
            fix="Calibrate on text that the vocabulary can spell",
        )
    # A checkpoint with one token type cannot take pairs.
    types = pipeline.manifest.model.type_vocab_size
    fitting = [
        [row for row in rows if row.token_type_ids.max(initial=0) < types] for rows in encoded
    ]
    records = tuple(tuple(rows) for rows in fitting if rows)
    if any(encoded) and not records:
        raise TaskError(
            f"task {pipeline.task} needs pairs of texts, which the checkpoint cannot tell apart",
            expected="type_vocab_size of at least 2",
            got=types,
            fix="Choose another checkpoint",
        )
    masked = records
    if pipeline.definition.masked_texts:
        flat = [row for rows in records for row in rows]
        random = np.random.default_rng(seed)
        hidden = iter(corrupt_rows(flat, pipeline.tokenizer, random, vocab_size=vocab_size))
        masked = tuple(tuple(next(hidden) for _ in rows) for rows in records)
    return EncodedText(data.source, records, masked)


def make_rows(
    calibration: DataSet,
    pipeline: Pipeline[Any, Any, Any],
    *,
    seed: int = 0,
    hold_out: bool = False,
) -> CalibrationRows:
    """Encode a set as the task's pipeline does; hide tokens where the task was trained on masks.

    Args:
        calibration: The records.
        pipeline: The task's pipeline, over any session.
        seed: Seed of the masks.
        hold_out: Whether a fifth of the set, 64 examples at most, does not calibrate; none where
            fewer than :data:`MIN_EXAMPLES` would be left. Equal texts stay together.

    Raises:
        CalibrationError: A record does not fit the task (the error names its place), or too few
            records differ or hold any text.
        TaskError: All records are pairs, and the checkpoint has one token type.
    """
    text = encode_text(calibration, pipeline, seed=seed)
    _check_texts(text)
    held = _held_out(text) if hold_out else frozenset()
    numbers = range(len(text.masked))
    records = tuple(text.masked[number] for number in numbers if number not in held)
    rows = list(chain.from_iterable(records))
    different = len({_key(text.records[number]) for number in numbers if number not in held})
    unknown = unknown_share(rows, pipeline.tokenizer.unk_id)
    return CalibrationRows(
        records,
        CalibrationRecord(
            source=calibration.source,
            sha256=calibration.sha256,
            examples=len(calibration.records) - len(held),
            rows=len(rows),
            tokens=sum(map(len, rows)),
            seed=seed,
            held_out=len(held),
            unknown_share=unknown,
            warnings=tuple(_warnings(calibration.source, rows, different, unknown)),
        ),
        tuple(text.masked[number] for number in sorted(held)),
    )


def unknown_share(rows: Iterable[Row], unk_id: int | None) -> float:
    """Share of the texts' tokens that the vocabulary does not know, in [0, 1].

    Args:
        rows: Encoded texts; tokens that the tokenizer added do not count.
        unk_id: Id of ``[UNK]``; ``None`` where the vocabulary has none.
    """
    tokens = unknown = 0
    for row in rows:
        encoding = row.encoding
        for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True):
            tokens += not special
            unknown += not special and token == unk_id
    return unknown / max(tokens, 1)


def check_known(record: CalibrationRecord) -> None:
    """Refuse a set of which the vocabulary knows little: its ranges are those of ``[UNK]``.

    Raises:
        CalibrationError: More than :data:`MAX_UNKNOWN` of the tokens are unknown.
    """
    share = record.unknown_share or 0.0
    if share > MAX_UNKNOWN:
        raise CalibrationError(
            f"calibration set {record.source} is mostly unknown to the vocabulary",
            expected=f"at most {100 * MAX_UNKNOWN:.0f} % [UNK] among its tokens",
            got=f"{100 * share:.0f} %",
            fix="The set is in another language or script than the checkpoint, or vocab.txt is "
            "another model's: calibrate on text like the checkpoint's own",
        )


def _warnings(source: str, rows: Sequence[Row], different: int, unknown: float) -> Iterable[str]:
    """What makes the ranges of a set doubtful."""
    if different < _FEW_EXAMPLES:
        yield (
            f"calibration set {source} has {different} different texts: a few hundred set ranges "
            "that hold for others"
        )
    lengths = {len(row) for row in rows}
    if len(lengths) == 1:
        yield f"calibration set {source} has rows of one length only, {lengths.pop()} tokens"
    if unknown > _NOTABLE_UNKNOWN:
        yield f"calibration set {source} is to {100 * unknown:.0f} % unknown to the vocabulary"


def _held_out(text: EncodedText) -> frozenset[int]:
    """Numbers of the records that do not calibrate, spread over the set."""
    same: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for number, rows in enumerate(text.records):
        same[_key(rows)].append(number)
    groups = list(same.values())
    count = min(_HELD_OUT, int(_HELD_OUT_SHARE * len(groups)), len(groups) - MIN_EXAMPLES)
    if count < 1:
        return frozenset()
    spread = ((2 * index + 1) * len(groups) // (2 * count) for index in range(count))
    return frozenset(number for place in spread for number in groups[place])


def _key(rows: Sequence[Row]) -> tuple[tuple[int, ...], ...]:
    """What two records of the same text share."""
    return tuple(tuple(row.encoding.ids) for row in rows)


def _check_texts(text: EncodedText) -> None:
    """Refuse a set of empty texts or of one text again and again: its ranges fit no other text."""
    texts = {
        tuple(row.encoding.ids)
        for rows in text.records
        for row in rows
        if not all(row.encoding.special_tokens_mask)
    }
    if len(texts) < MIN_EXAMPLES:
        raise CalibrationError(
            f"calibration set {text.source} holds too few texts",
            expected=f"at least {MIN_EXAMPLES} that differ and are not empty",
            got=len(texts),
            fix="Add examples that look like the text the model will see",
        )
