"""Bundles as contenders: which engine, on which real text, at which workloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_export.bundle import Manifest
from bert_export.measuring.timing import (
    Conditions,
    Contender,
    Listener,
    Measured,
    time_contenders,
    time_first_answers,
)
from bert_export.measuring.workloads import Shape, pick_records, shape_workloads, text_workloads
from bert_export.quantization.calibration.rows import read_calibration
from bert_export.tasks import find_task

__all__ = ["BundleEngine", "records_to_time", "spread_records", "time_bundles"]

_WORKER = "bert_export.measuring.bundle_worker"
_LEAST_RECORDS = 16


@dataclass(frozen=True, slots=True)
class BundleEngine:
    """An engine of a bundle.

    Args:
        name: As tables call it; no other contender has it.
        bundle: The folder.
        target: The engine; the bundle's default when ``None``.
    """

    name: str
    bundle: Path
    target: str | None = None


def time_bundles(
    engines: Sequence[BundleEngine],
    *,
    shapes: Sequence[Shape],
    under: Conditions,
    records: Sequence[Mapping[str, Any]],
    listener: Listener,
    results: Mapping[str, Measured],
) -> None:
    """Time engines of one task against each other: first answers, shapes, whole answers.

    Args:
        engines: Of distinct names; the others' speed-ups are over the first.
        shapes: Those of ``under``.
        under: The conditions.
        records: Real records of the task, at least one; their text fills the shapes too.
        listener: Hears of the progress.
        results: One per engine, filled in place; see
            :func:`bert_export.measuring.timing.time_contenders`.
    """
    contenders = [
        Contender(
            name=engine.name,
            worker=_WORKER,
            request={
                "bundle": str(engine.bundle),
                "target": engine.target,
                "records": list(records),
            },
        )
        for engine in engines
    ]
    listener.begin("first answers", done=0, total=1)
    time_first_answers(contenders, method="answer", request={}, under=under, results=results)
    listener.measured()
    workloads = shape_workloads(shapes)
    if under.texts:
        workloads += text_workloads(min(under.texts, len(records)))
    time_contenders(
        contenders, workloads=workloads, under=under, listener=listener, results=results
    )


def records_to_time(
    manifest: Manifest, data: str | None, texts: int, *, fields: Mapping[str, str] | None = None
) -> tuple[str, list[Mapping[str, Any]]]:
    """Records of real text that fit a bundle, and the name of their source.

    Args:
        manifest: Of the bundle.
        data: A file of such records; the task's calibration set when ``None``.
        texts: See :func:`spread_records`.
        fields: By field, the column of the file that holds it where it has another name.
    """
    calibration = read_calibration(find_task(manifest.task), data, fields=fields)
    records = spread_records(calibration.records, manifest, texts)
    return Path(calibration.source).name, records


def spread_records(
    records: Sequence[Mapping[str, Any]], manifest: Manifest, texts: int
) -> list[Mapping[str, Any]]:
    """Some of the records, evenly spaced; where the task answers masks, each with one.

    Args:
        records: Of the bundle's task.
        manifest: Of the bundle.
        texts: How many there should be; a few are there even where none is asked for, to fill the
            shapes.
    """
    picked = pick_records(records, max(texts, _LEAST_RECORDS))
    if find_task(manifest.task).masked_texts:
        return [_mask_a_word(record, manifest.tokenizer.mask_token) for record in picked]
    return picked


def _mask_a_word(record: Mapping[str, Any], mask: str) -> Mapping[str, Any]:
    """The record with its second word masked, unless it has a mask; a long text is cut later."""
    if mask in record["text"]:
        return record
    words = record["text"].split()
    words[1:2] = [mask]
    return {**record, "text": " ".join(words)}
