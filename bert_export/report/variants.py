"""Which targets and precisions a report compares, and where their bundles are kept.

A bundle's folder is named after everything that it depends on, so that running again finds it and a
changed checkpoint or setting does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bert_export.bundle import AUTO, ExportRequest, Manifest
from bert_export.errors import InputError, TargetError, one_of, shown
from bert_export.exporter.auto_target import candidates, not_installed
from bert_export.exporter.source import check_target
from bert_export.measuring.machine import installed_versions
from bert_export.report.schema import LayerRecord, ModelRecord, Variant
from bert_export.targets import Target, find_target, load_target
from bert_export.tasks import Task

__all__ = ["FOLDER", "Plan", "describe_bundle", "plan_variants"]

FOLDER = "variants"

_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Plan:
    """What a report compares.

    Args:
        variants: Float ones first.
        left_out: Why targets of this machine's devices are not among them, a line each; empty where
            the user named targets.
    """

    variants: list[Variant]
    left_out: tuple[str, ...]


def plan_variants(
    request: ExportRequest, task: Task, *, targets: Sequence[str], precisions: Sequence[str]
) -> Plan:
    """The variants to compare.

    Args:
        request: What all share, with the options of INT8 for those that are in INT8.
        task: Of the request.
        targets: Keys of :data:`bert_export.targets.TARGETS`; where none is named, those that are
            installed, that this machine has the device for, and that take the task.
        precisions: Those to compare; each target's own where none is named.

    Raises:
        InputError: A target is unknown, or none of them has any of the precisions.
        MissingExtraError: A target that is named is not installed.
        TargetError: A target that is named does not take the task.
    """
    chosen, left_out = _named(task, targets) if targets else _of_this_machine(task)
    pairs = [
        (target.name, precision)
        for target in chosen
        for precision in target.precisions
        if not precisions or precision in precisions
    ]
    covered = {precision for _, precision in pairs}
    for precision in precisions:
        if precision not in covered:
            known = dict.fromkeys(name for target in chosen for name in target.precisions)
            raise InputError(
                f"precision {shown(precision)} is in none of the targets "
                + ", ".join(target.name for target in chosen),
                **one_of(precision, known),
            )
    variants = [
        _variant(target, precision, request.for_targets([target], precision))
        for target, precision in pairs
    ]
    return Plan(variants, left_out)


def _named(task: Task, names: Sequence[str]) -> tuple[list[Target], tuple[str, ...]]:
    """The targets that the user named, each of which must be there."""
    targets = [find_target(name) for name in dict.fromkeys(names)]
    for target in targets:
        check_target(task, target)
        load_target(target).check_installed()
    return targets, ()


def _of_this_machine(task: Task) -> tuple[list[Target], tuple[str, ...]]:
    """The targets that can be compared here, and why others cannot."""
    targets, left_out = list[Target](), [str(refusal.error) for refusal in not_installed(AUTO)]
    for target in candidates(AUTO):
        try:
            check_target(task, target)
        except TargetError as error:
            left_out.append(str(error))
        else:
            targets.append(target)
    return targets, tuple(left_out)


def describe_bundle(variant: Variant, manifest: Manifest) -> ModelRecord:
    """Write a finished bundle's facts into its variant; gives those of the checkpoint."""
    engine = manifest.engine(variant.target)
    variant.files = dict(manifest.files)
    variant.bytes = sum(file.bytes for file in manifest.files.values())
    if engine.quantization is not None:
        variant.layers = tuple(
            LayerRecord(layer=plan.layer, precision=plan.precision, reason=plan.reason)
            for plan in engine.quantization.layers
        )
    model = manifest.model
    return ModelRecord(
        source=model.source,
        architecture=model.architecture,
        weights_sha256=model.weights_sha256,
        parameters=model.parameters,
        attribution=model.attribution,
    )


def _variant(target: str, precision: str, request: ExportRequest) -> Variant:
    read = (request.model, request.calibration, request.eval_data)
    state = {
        "request": request,
        "files": [_fingerprint(name) for name in read if name is not None],
        "versions": installed_versions(),
    }
    text = msgspec.json.encode(state, order="sorted")
    digest = hashlib.sha256(text).hexdigest()[:_DIGITS]
    return Variant(
        name=f"{target} {precision}",
        target=target,
        precision=precision,
        digest=digest,
        bundle=f"{FOLDER}/{target}-{precision}-{digest}",
    )


def _fingerprint(name: str) -> list[tuple[str, int, int]]:
    """What changes when a file or a folder's files do; nothing of a hub id or a built-in set."""
    return list(_files(Path(name)))


def _files(place: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.is_file():
            status = path.stat()
            yield str(path.relative_to(place)), status.st_size, status.st_mtime_ns
