"""Bundles against each other: the library call behind ``bert-export bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bert_export.bundle import Manifest, read_manifest
from bert_export.errors import InputError, MeasurementError, one_of, shown
from bert_export.measuring.bundles import BundleEngine, records_to_time, time_bundles
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Conditions, Listener, Measured, conditions
from bert_export.measuring.workloads import SHAPES, parse_shapes

__all__ = ["Bench", "Entry", "bench", "find_engines"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One engine of one bundle.

    Args:
        name: As tables call it.
        bundle: The folder, as it was given.
        target: The engine.
        precision: Of its graph.
        bytes: All files of the bundle.
        measured: Its figures.
    """

    name: str
    bundle: str
    target: str
    precision: str
    bytes: int
    measured: Measured


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """A whole comparison; its JSON is what ``--json`` prints.

    Args:
        task: Of every bundle.
        texts: Where the records came from.
        machine: See :func:`bert_export.measuring.machine.describe_machine`.
        versions: Of the packages that take part.
        conditions: What held for every contender.
        entries: The baseline first, which the others' speed-ups are over, then in the order they
            were given.
    """

    task: str
    texts: str
    machine: dict[str, Any]
    versions: dict[str, str]
    conditions: Conditions
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class _Opened:
    engine: BundleEngine
    manifest: Manifest


def bench(
    bundles: Sequence[str | Path],
    *,
    listener: Listener,
    targets: Sequence[str] = (),
    baseline: str | None = None,
    data: str | None = None,
    fields: Mapping[str, str] | None = None,
    under: Conditions | None = None,
) -> Bench:
    """Time bundles of one task against each other.

    Args:
        bundles: Folders.
        listener: Hears of the progress.
        targets: Which engines of each bundle; every one that it holds where none is named.
        baseline: Name of the contender that the others are compared with, as tables call it; the
            first when ``None``.
        data: A file of records to answer, as :func:`bert_export.datasets.read_dataset` takes it;
            the task's calibration set when ``None``.
        fields: By field, the column of the file that holds it where it has another name.
        under: The conditions; the usual ones when ``None``.

    Raises:
        BundleError: A folder is no bundle.
        InputError: The bundles are of several tasks, or an option does not fit.
        MeasurementError: No bundle could be timed at all.
    """
    if fields and data is None:
        raise InputError(
            "field has no use without data of your own",
            expected="--data beside it",
            got=", ".join(f"{name}={column}" for name, column in fields.items()),
        )
    under = conditions(shapes=parse_shapes(SHAPES)) if under is None else under
    opened = _with_baseline(find_engines(bundles, targets), baseline)
    task = _one_task(opened)
    source, records = records_to_time(opened[0].manifest, data, under.texts, fields=fields)
    results = {contender.engine.name: Measured() for contender in opened}
    machine = describe_machine()
    time_bundles(
        [contender.engine for contender in opened],
        shapes=under.parsed_shapes,
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
        entries=tuple(_entry(contender, results[contender.engine.name]) for contender in opened),
    )


def find_engines(bundles: Sequence[str | Path], targets: Sequence[str]) -> list[_Opened]:
    """The engines to time, named after their folders, and after their targets where that is needed.

    Raises:
        BundleError: A folder is no bundle, or lacks a target.
        InputError: A bundle is given twice.
    """
    opened = []
    for bundle in map(Path, bundles):
        manifest = read_manifest(bundle)
        chosen = targets or [engine.target for engine in manifest.engines]
        for target in chosen:
            manifest.engine(target)
            folder = bundle.resolve().name
            name = folder if len(chosen) == 1 else f"{folder} {target}"
            opened.append(_Opened(BundleEngine(name, bundle, target), manifest))
    if len(_names(opened)) < len(opened):  # folders of one name in several places
        opened = [
            replace(
                contender,
                engine=replace(
                    contender.engine, name=f"{contender.engine.bundle} {contender.engine.target}"
                ),
            )
            for contender in opened
        ]
    names = [contender.engine.name for contender in opened]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"bundle {name} is given twice", expected="each once")
    return opened


def _names(opened: Sequence[_Opened]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(contender.engine.name for contender in opened))


def _with_baseline(opened: list[_Opened], baseline: str | None) -> list[_Opened]:
    """The baseline first, the others in their order behind it."""
    if baseline is None:
        return opened
    if baseline not in _names(opened):
        raise InputError(
            f"baseline {shown(baseline)} is none of the contenders",
            **one_of(baseline, _names(opened)),
        )
    return sorted(opened, key=lambda contender: contender.engine.name != baseline)


def _one_task(opened: Sequence[_Opened]) -> str:
    tasks = dict.fromkeys(contender.manifest.task for contender in opened)
    if len(tasks) != 1:
        raise InputError(
            "bundles cannot be compared", expected="bundles of one task", got=", ".join(tasks)
        )
    return next(iter(tasks))


def _entry(contender: _Opened, measured: Measured) -> Entry:
    engine = contender.manifest.engine(contender.engine.target)
    return Entry(
        name=contender.engine.name,
        bundle=str(contender.engine.bundle),
        target=engine.target,
        precision=engine.precision,
        bytes=sum(file.bytes for file in contender.manifest.files.values()),
        measured=measured,
    )
