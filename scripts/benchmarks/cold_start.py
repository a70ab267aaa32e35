"""Cold start: a fresh process, from the interpreter's start to the first answer.

Usage::

    python scripts/benchmarks/cold_start.py
    python scripts/benchmarks/cold_start.py --task text-classification --bundle my-bundle

Contenders: ``load(bundle)(text)``, the upstream pipeline on the very weights that the bundle was
made of, and the least script that could run the bundle's graph. All read warm files: each has a
start that does not count. The demonstration of the task is exported unless a bundle of it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bert_export.bundle import read_manifest
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener, time_first_answers
from bert_export.tasks import find_task
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import Comparison
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.checkpoints import demo_bundle, demo_of, upstream_folder

OURS, BARE = "ours", "onnxruntime and tokenizers"
TASKS = ("token-classification", "text-classification", "sentence-embedding")
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "token-classification": {"aggregation_strategy": "simple"}
}
MOST_SECONDS, LEAST_SPEED_UP, MOST_MEGABYTES = 0.6, 6.0, 220.0
_MEGABYTE = 1e6


@benchmark("scripts/benchmarks/cold_start.py", cold_starts=7)
@click.option("--task", type=click.Choice(TASKS), help="The first that has a demonstration.")
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A bundle of the task's demonstration, instead of exporting one in INT8.",
)
def main(common: Common, listener: Listener, *, task: str | None, bundle: Path | None) -> Report:
    """Time and memory from a fresh interpreter to the first answer."""
    if bundle is not None:
        task = read_manifest(bundle).task
    task = task or next(name for name in TASKS if demo_of(name) is not None)
    if demo_of(task) is None:
        raise click.UsageError(f"task {task} has no demonstration here. Pass another --task.")
    machine = describe_machine()
    listener.begin("checkpoint and bundle", done=0, total=2)
    model = upstream_folder(task, common.work, threads=common.threads)
    bundle = bundle or demo_bundle(task, "int8", common.work, threads=common.threads)
    upstream = "sentence-transformers" if task == "sentence-embedding" else "transformers pipeline"
    comparison = _contenders(common, task, bundle, model, upstream)
    listener.begin("first answers", done=1, total=2)
    time_first_answers(
        list(comparison.contenders.values()),
        method="first_answer",
        request={"text": find_task(task).example["text"]},
        under=common.under,
        results=comparison.results,
    )
    return Report(
        benchmark="cold_start",
        machine=machine,
        versions=installed_versions(),
        settings={
            "precision": read_manifest(bundle).engine().precision,
            "threads": common.threads,
            "starts": common.under.cold_starts,
        },
        sections=[_section(task, comparison)],
        figures=comparison.results,
        bounds=_bounds(comparison, upstream),
        notes=comparison.failures,
    )


def _contenders(common: Common, task: str, bundle: Path, model: Path, upstream: str) -> Comparison:
    comparison = Comparison(common.under)
    manifest = read_manifest(bundle)
    options = OPTIONS.get(task, {})
    ours = {"kind": "bundle", "path": str(bundle), "target": None, "options": options}
    comparison.add(OURS, lambda: ours)
    theirs = {"kind": upstream, "path": str(model)} | (
        {"precision": "float32"}
        if upstream == "sentence-transformers"
        else {"task": task, "batch_size": 1, "options": options}
    )
    comparison.add(upstream, lambda: theirs)
    bare = {
        "kind": "onnxruntime and tokenizers",
        "path": str(bundle),
        "graph": manifest.engine().graph.file,
        "tokenizer": manifest.tokenizer.file,
    }
    comparison.add(BARE, lambda: bare)
    return comparison


def _section(task: str, comparison: Comparison) -> Section:
    rows: list[list[Cell]] = [
        [
            name,
            comparison.first_answer(name),
            None if size is None else size / _MEGABYTE,
            comparison.first_answer_ratio(OURS, name),
        ]
        for name, result in comparison.results.items()
        for size in (result.first_answer_bytes,)
    ]
    return Section(
        part=task,
        title=f"{task}: medians, and how many times as soon ours answers",
        header=("contender", "start to answer, s", "peak, MB", "ours, times as soon"),
        rows=rows,
    )


def _bounds(comparison: Comparison, upstream: str) -> list[Bound]:
    size = comparison.results[OURS].first_answer_bytes
    peak = None if size is None else size / _MEGABYTE
    ratio = comparison.first_answer_ratio(OURS, upstream)
    return [
        Bound("first answer", comparison.first_answer(OURS), MOST_SECONDS, "at most", "s"),
        Bound(f"first answer over {upstream}", ratio, LEAST_SPEED_UP, "at least", "x"),
        Bound("peak memory", peak, MOST_MEGABYTES, "at most", "MB"),
    ]


if __name__ == "__main__":
    main()
