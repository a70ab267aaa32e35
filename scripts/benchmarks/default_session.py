"""Handed-over graphs in a default session of ONNX Runtime, as other tools open them, against ours.

Usage::

    python scripts/benchmarks/default_session.py
    python scripts/benchmarks/default_session.py --only text-classification --reuse

Ours run as ``load(bundle).run(feeds)``; the graph that ``hand-over --to optimum`` wrote runs in a
plain ``InferenceSession`` with its own settings. Not fill-mask: its graph for other tools scores
every token, the bundle's the masks alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import click

from bert_export.hand_over import hand_over
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from bert_export.tasks.question_answering import TASK as QUESTION_ANSWERING
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION
from bert_export.tasks.token_classification import TASK as TOKEN_CLASSIFICATION
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import Comparison, announcer, named_failures
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.report import Report, Section
from scripts.benchmarks.making.checkpoints import demo_bundle
from scripts.benchmarks.making.shapes import LABELS, shape_workloads

TASKS = tuple(
    task.name
    for task in (SENTENCE_EMBEDDING, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, QUESTION_ANSWERING)
)
PRECISIONS = ("fp32", "int8")
OURS, THEIRS = "the bundle", "a default session"
LEAST = 0.95
"""Times as fast as ours that a default session must be."""


@benchmark("scripts/benchmarks/default_session.py", lifetimes=3, seconds=2.0)
@click.option("--only", type=click.Choice(TASKS), multiple=True, help="May be repeated.")
def main(common: Common, listener: Listener, *, only: Sequence[str]) -> Report:
    """Milliseconds per call of bundles, and of their graphs in default sessions."""
    comparisons = {
        f"{task} {precision.upper()}": _compare(common, task, precision, listener)
        for task in only or TASKS
        for precision in PRECISIONS
    }
    sections = []
    bounds = []
    for name, comparison in comparisons.items():
        ratios = [comparison.ratio(THEIRS, OURS, label) for label in LABELS]
        sections.append(
            Section(
                part=name,
                title=f"{name}: milliseconds of a call, median (95th percentile)",
                header=("session", *LABELS),
                rows=[
                    *comparison.table(LABELS),
                    ["times as fast as the bundle (95 % interval)", *ratios],
                ],
            )
        )
        bounds += [
            Bound(f"{name} {label} in a default session", ratio, LEAST, "at least", "x")
            for label, ratio in zip(LABELS, ratios, strict=True)
        ]
    return Report(
        benchmark="default_session",
        machine=describe_machine(),
        versions=installed_versions(),
        settings=common.settings,
        sections=sections,
        figures={name: comparison.results for name, comparison in comparisons.items()},
        bounds=bounds,
        notes=named_failures(comparisons),
    )


def _compare(common: Common, task: str, precision: str, listener: Listener) -> Comparison:
    """Time a task's bundle and what was handed over of it."""
    announce = announcer(listener, f"{task} {precision}")
    bundle = common.work / "bundles" / f"{task}-{precision}"
    if not (common.reuse and bundle.is_dir()):
        announce("export")
        demo_bundle(task, precision, common.work, threads=common.threads)
    announce("hand over")
    folder = common.work / "handed-over" / bundle.name
    folder.parent.mkdir(exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    hand_over(bundle, "optimum", folder)
    comparison = Comparison(common.under)
    comparison.add(OURS, lambda: {"kind": "bundle", "path": str(bundle), "target": None})
    comparison.add(THEIRS, lambda: {"kind": "onnxruntime", "path": str(folder / "model.onnx")})
    workloads = shape_workloads(
        bundle, common.work, f"default-{bundle.name}", ragged=False, masked=False
    )
    comparison.time(workloads, listener)
    return comparison


if __name__ == "__main__":
    main()
