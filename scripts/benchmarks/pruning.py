"""Pruning: what heads that read few tokens save, in each engine of the processor.

Usage::

    python scripts/benchmarks/pruning.py --threads 1

Text-classification reads the first token alone, so its last layer has one row a text; its bundle is
timed against one whose last layer computes every token. Fill-mask scores the masks alone: its
vocabulary is as many rows as there are masks, and one mask a text is timed against a mask in every
place, which is what the whole vocabulary head computes. An engine keeps the gain of pruning where
its own share of time saved is that of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.measuring.child import call_apart
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.ratios import Ratio
from bert_export.measuring.timing import Listener
from bert_export.measuring.workloads import Workload
from bert_export.tasks.fill_mask import TASK as FILL_MASK
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import Comparison, announcer
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.places import WORKERS
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.checkpoints import export_bundle, measured_checkpoint
from scripts.benchmarks.making.shapes import LABELS, shape_workloads

NATIVE = "native"
TARGETS = (NATIVE, "onnxruntime", "openvino")
PRECISION = "int8"
PRUNED, WHOLE = "pruned", "whole"
MASKED, EVERYWHERE = "masked_positions", "every_position"
"""The graph's input that tells which tokens are scored, and what stands in for it."""
LEAST_KEPT = 0.8
"""Of the share of time that the best other engine saves, by native."""


@benchmark("scripts/benchmarks/pruning.py")
def main(common: Common, listener: Listener) -> Report:
    """Times as fast as without pruning, by engine and shape."""
    machine = describe_machine()
    first, masks = _first_token(common, listener), _masks(common, listener)
    gains = {
        task: {
            target: {
                label: comparison.ratio(f"{target} {PRUNED}", f"{target} {WHOLE}", label)
                for label in LABELS
            }
            for target in TARGETS
        }
        for task, comparison in ((TEXT_CLASSIFICATION.name, first), (FILL_MASK.name, masks))
    }
    return Report(
        benchmark="pruning",
        machine=machine,
        versions=installed_versions(),
        settings=common.settings,
        sections=[_section(task, by_target) for task, by_target in gains.items()],
        figures={TEXT_CLASSIFICATION.name: first.results, FILL_MASK.name: masks.results},
        bounds=[bound for task, by_target in gains.items() for bound in bounds(task, by_target)],
        notes=[
            f"{name}: {result.failure}"
            for comparison in (first, masks)
            for name, result in comparison.results.items()
            if result.failure is not None
        ],
    )


def _section(task: str, gains: Mapping[str, Mapping[str, Ratio | None]]) -> Section:
    rows: list[list[Cell]] = [[target, *of.values()] for target, of in gains.items()]
    return Section(
        part=task,
        title=f"{task}: times as fast as without pruning (95 % interval)",
        header=("target", *LABELS),
        rows=rows,
    )


def bounds(task: str, gains: Mapping[str, Mapping[str, Ratio | None]]) -> list[Bound]:
    """That native saves nearly the share of its time that the others save of theirs."""
    found = []
    for label, own in gains[NATIVE].items():
        others = [ratio for name, of in gains.items() if name != NATIVE if (ratio := of.get(label))]
        most = max(others, key=lambda ratio: ratio.value, default=None)
        kept = None if own is None or most is None else kept_of(own, most)
        what = f"{task} {label}: share of time saved by native, over the most of the others"
        found.append(Bound(what, kept, LEAST_KEPT, "at least", "x"))
    return found


def kept_of(own: Ratio, other: Ratio) -> Ratio | None:
    """How many times the share of time that another engine saves one saves.

    Args:
        own: How many times as fast pruning makes the one.
        other: The same of the other.

    Returns:
        The interval holds wherever in theirs both are; it has no end, and is left out, where the
        other may save nothing. ``None`` where the other saves nothing.
    """
    if _saved(other.value) <= 0:
        return None
    interval = None
    if own.interval is not None and other.interval is not None:
        (low, high), (least, most) = own.interval, other.interval
        if _saved(least) > 0:
            ends = [_saved(one) / _saved(by) for one in (low, high) for by in (least, most)]
            interval = (min(ends), max(ends))
    return Ratio(
        value=_saved(own.value) / _saved(other.value),
        interval=interval,
        lifetimes=own.lifetimes,
        laps=own.laps,
    )


def _saved(speed_up: float) -> float:
    """The share of the time that a speed-up saves."""
    return 1 - 1 / speed_up


def _first_token(common: Common, listener: Listener) -> Comparison:
    """Text-classification with a last layer of one row a text, and of all."""
    task = TEXT_CLASSIFICATION.name
    announce = announcer(listener, task)
    model = measured_checkpoint("minilm", task, common.work, threads=common.threads)
    pruned = _export(common, task, model)
    whole = common.work / "bundles" / f"pruning-{task}-{WHOLE}"
    if not (common.reuse and whole.is_dir()):
        announce("export without pruning")
        request = {
            "task": task,
            "model": str(model),
            "targets": TARGETS,
            "precision": PRECISION,
            "output": str(whole),
            "threads": common.threads,
        }
        call_apart(WORKERS / "unpruned.py", "export_unpruned", request, threads=common.threads)
    comparison = Comparison(common.under)
    for target in TARGETS:
        for form, bundle in ((PRUNED, pruned), (WHOLE, whole)):
            request = {"kind": "bundle", "path": str(bundle), "target": target}
            comparison.add(f"{target} {form}", lambda request=request: request)  # type: ignore[misc]
    comparison.time(_workloads(common, pruned, task), listener)
    return comparison


def _masks(common: Common, listener: Listener) -> Comparison:
    """Fill-mask with a mask a text, and one in every place."""
    task = FILL_MASK.name
    model = measured_checkpoint("minilm", task, common.work, threads=common.threads)
    bundle = _export(common, task, model)
    workloads = _workloads(common, bundle, task)
    for workload in workloads:
        _add_every_place(Path(workload.request["feeds"]))
    comparison = Comparison(common.under)
    for target in TARGETS:
        request = {"kind": "bundle", "path": str(bundle), "target": target}
        for form, given in ((PRUNED, {}), (WHOLE, {MASKED: EVERYWHERE})):
            own = request | {"given": given}
            comparison.add(f"{target} {form}", lambda own=own: own)  # type: ignore[misc]
    comparison.time(workloads, listener)
    return comparison


def _export(common: Common, task: str, model: Path) -> Path:
    """The bundle that users get, with every engine."""
    bundle = common.work / "bundles" / f"pruning-{task}-{PRUNED}"
    if not (common.reuse and bundle.is_dir()):
        export_bundle(
            task,
            model,
            bundle,
            precision=PRECISION,
            threads=common.threads,
            options=[part for target in TARGETS for part in ("--target", target)],
        )
    return bundle


def _workloads(common: Common, bundle: Path, task: str) -> Sequence[Workload]:
    return shape_workloads(
        bundle, common.work, f"pruning-{task}", ragged=False, masked=task == FILL_MASK.name
    )


def _add_every_place(file: Path) -> None:
    """Beside the masks' places in the feeds, those of all tokens."""
    with np.load(file) as stored:
        feeds: dict[str, Any] = dict(stored)
    feeds[EVERYWHERE] = np.arange(feeds["input_ids"].size, dtype=np.int64)
    np.savez(file, **feeds)


if __name__ == "__main__":
    main()
