"""Bundles against each other: the library call behind ``bert-export bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bert_export.bundle import Manifest, read_manifest
from bert_export.errors import InputError, MeasurementError
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import (
    Conditions,
    Contender,
    Listener,
    Measured,
    conditions,
    time_contenders,
)
from bert_export.measuring.workloads import SHAPES, parse_shapes, pick_records
from bert_export.quantization.calibration.rows import read_calibration
from bert_export.tasks import find_task

__all__ = ["Bench", "Entry", "bench", "find_contenders", "mask_a_word", "records_to_time"]

_LEAST_RECORDS = 16


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One engine of one bundle.

    Args:
        name: As tables call it.
        bundle: The folder, as it was given.
        target: The engine.
        precision: Of its graph.
        bytes: All files of the bundle.
        measured: What was found.
    """

    name: str
    bundle: str
    target: str
    precision: str
    bytes: int
    measured: Measured


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a comparison found; its JSON is what ``--json`` prints.

    Args:
        task: Of every bundle.
        texts: Where the records came from.
        machine: See :func:`bert_export.measuring.machine.describe_machine`.
        versions: Of the packages that take part.
        conditions: What held for every contender.
        entries: In the order they were given.
    """

    task: str
    texts: str
    machine: dict[str, Any]
    versions: dict[str, str]
    conditions: Conditions
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class _Opened:
    contender: Contender
    manifest: Manifest


def bench(
    bundles: Sequence[str | Path],
    *,
    listener: Listener,
    targets: Sequence[str] = (),
    shapes: str = SHAPES,
    texts: int = 64,
    data: str | None = None,
    threads: int | None = None,
    seconds: float = 4.0,
    tolerance: float = 0.02,
    cold_starts: int = 5,
) -> Bench:
    """Time bundles of one task against each other.

    Args:
        bundles: Folders.
        listener: Hears of the progress.
        targets: Which engines of each bundle; every one that it holds where none is named.
        shapes: Such as ``1x16,8x128``.
        texts: Records that whole answers are timed with at most; 0 times the graphs alone.
        data: A ``.jsonl`` or ``.txt`` file of such records; the task's calibration set when
            ``None``.
        threads: Inside an operator, and cores that a child is pinned to; all when ``None``.
        seconds: Of measuring per contender and workload at most.
        tolerance: Share of the median that half its 95 % interval may be wide.
        cold_starts: Fresh processes per contender.

    Raises:
        BundleError: A folder is no bundle.
        InputError: The bundles are of several tasks, or an option does not fit.
        MeasurementError: No bundle could be timed at all.
    """
    wanted = parse_shapes(shapes)
    under = conditions(
        shapes=wanted,
        threads=threads,
        texts=texts,
        seconds=seconds,
        tolerance=tolerance,
        cold_starts=cold_starts,
    )
    opened = find_contenders(bundles, targets)
    task = _one_task(opened)
    source, records = records_to_time(opened[0].manifest, data, texts)
    results = {one.contender.name: Measured() for one in opened}
    machine = describe_machine()
    time_contenders(
        [one.contender for one in opened],
        shapes=wanted,
        under=under,
        records=records,
        listener=listener,
        results=results,
    )
    if all(result.failure is not None for result in results.values()):
        raise MeasurementError(
            "no bundle can be timed",
            got="; ".join(f"{name}: {result.failure}" for name, result in results.items()),
        )
    return Bench(
        task=task,
        texts=source,
        machine=machine,
        versions=installed_versions(),
        conditions=under,
        entries=tuple(_entry(one, results) for one in opened),
    )


def find_contenders(bundles: Sequence[str | Path], targets: Sequence[str]) -> list[_Opened]:
    """The engines to time, named after their folders, and after their targets where that is needed.

    Raises:
        BundleError: A folder is no bundle, or lacks a target.
        InputError: A bundle is given twice.
    """
    found = []
    for bundle in map(Path, bundles):
        manifest = read_manifest(bundle)
        chosen = targets or [engine.target for engine in manifest.engines]
        for target in chosen:
            manifest.engine(target)
            name = (
                bundle.resolve().name if len(chosen) == 1 else f"{bundle.resolve().name} {target}"
            )
            found.append(_Opened(Contender(name, bundle, target), manifest))
    names = [one.contender.name for one in found]
    if len(set(names)) < len(names):  # folders of one name in several places
        found = [
            _Opened(
                Contender(
                    f"{one.contender.bundle} {one.contender.target}",
                    one.contender.bundle,
                    one.contender.target,
                ),
                one.manifest,
            )
            for one in found
        ]
    names = [one.contender.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"bundle {name} is given twice", expected="each once")
    return found


def _one_task(opened: Sequence[_Opened]) -> str:
    tasks = dict.fromkeys(one.manifest.task for one in opened)
    if len(tasks) != 1:
        raise InputError(
            "bundles cannot be compared", expected="bundles of one task", got=", ".join(tasks)
        )
    return next(iter(tasks))


def records_to_time(
    manifest: Manifest, data: str | None, texts: int
) -> tuple[str, list[Mapping[str, Any]]]:
    """Records of real text that fit a bundle, and the name of their source.

    Args:
        manifest: Of the bundle.
        data: As in :func:`bench`.
        texts: How many are wanted; a few are there even where none is, to fill the shapes.
    """
    calibration = read_calibration(find_task(manifest.task), data)
    records = pick_records(calibration.records, max(texts, _LEAST_RECORDS))
    if find_task(manifest.task).masked_texts:
        records = [mask_a_word(record, manifest.tokenizer.mask_token) for record in records]
    return Path(calibration.source).name, records


def mask_a_word(record: Mapping[str, Any], mask: str) -> Mapping[str, Any]:
    """The record with its second word masked, unless it has a mask; a long text is cut later."""
    if mask in record["text"]:
        return record
    words = record["text"].split()
    words[1:2] = [mask]
    return {**record, "text": " ".join(words)}


def _entry(one: _Opened, results: Mapping[str, Measured]) -> Entry:
    engine = one.manifest.engine(one.contender.target)
    return Entry(
        name=one.contender.name,
        bundle=str(one.contender.bundle),
        target=engine.target,
        precision=engine.precision,
        bytes=sum(record.bytes for record in one.manifest.files.values()),
        measured=results[one.contender.name],
    )
