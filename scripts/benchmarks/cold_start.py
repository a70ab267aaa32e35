"""Cold start: a fresh process, from the interpreter's start to the first answer.

Usage::

    python scripts/bench_cold_start.py
    python scripts/bench_cold_start.py --task text-classification --bundle my-bundle

Contenders: ``load(bundle)(text)``, the upstream pipeline on the very weights that the bundle was
made of, and the least script that could run the bundle's graph. All read warm files: each has a
turn that does not count. The demonstration of the task is exported unless a bundle of it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from measuring.checkpoints import BASE_DEMO, base_folder, demo_checkpoint, demo_of, export_bundle
from measuring.children import run_worker
from measuring.figures import Bound, Samples, ratio
from measuring.machine import describe_machine, installed_versions
from measuring.options import Common, Steps, benchmark, steps
from measuring.report import Report, Section
from measuring.turns import Contender, take_turns

from bert_export.bundle import read_manifest
from bert_export.tasks import find_task

OURS, BARE = "ours", "onnxruntime + tokenizers"
UPSTREAM = {"sentence-embedding": "sentence-transformers"}
TASKS = ("token-classification", "text-classification", "sentence-embedding")
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "token-classification": {"aggregation_strategy": "simple"}
}
MOST_SECONDS, LEAST_SPEED_UP, MOST_MEGABYTES = 0.6, 6.0, 220.0
_MEGABYTE = 1e6


@benchmark(rounds=7)
@click.option("--task", type=click.Choice(TASKS), help="The first that has a demonstration.")
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A bundle of the task's demonstration, instead of exporting one in INT8.",
)
def main(common: Common, *, task: str | None, bundle: Path | None) -> Report:
    """Time and memory from a fresh interpreter to the first answer."""
    if bundle is not None:
        task = read_manifest(bundle).task
    task = task or next(name for name in TASKS if demo_of(name) is not None)
    demo = demo_of(task)
    if demo is None:
        raise click.UsageError(f"task {task} has no demonstration here. Pass another --task.")
    upstream = UPSTREAM.get(task, "transformers pipeline")
    machine = describe_machine()
    with steps(2 + 3 * (common.rounds + 1)) as step:
        step("checkpoint")
        model = (
            base_folder(threads=common.threads)
            if demo == BASE_DEMO
            else demo_checkpoint(demo, common.work, threads=common.threads)
        )
        step("export")
        if bundle is None:
            bundle = common.work / "bundles" / f"{task}-int8"
            export_bundle(task, f"demo:{demo}", bundle, precision="int8", threads=common.threads)
        samples = _measure(common, task, bundle, model, upstream, step)
    return Report(
        benchmark="bench_cold_start",
        machine=machine,
        versions=installed_versions(),
        settings={
            "task": task,
            "demonstration": demo,
            "precision": read_manifest(bundle).engine().precision,
            "threads": common.threads,
            "runs": common.rounds,
        },
        sections=[_section(samples)],
        samples=samples,
        bounds=_bounds(samples, upstream),
    )


def _measure(
    common: Common, task: str, bundle: Path, model: Path, upstream: str, step: Steps
) -> dict[str, Samples]:
    manifest = read_manifest(bundle)
    request = {
        "task": task,
        "bundle": str(bundle),
        "graph": manifest.engine().graph.file,
        "tokenizer": manifest.tokenizer.file,
        "model": str(model),
        "text": find_task(task).example["text"],
        "options": OPTIONS.get(task, {}),
    }

    def turn(way: str) -> dict[str, float]:
        messages, _ = run_worker(
            "worker_cold_start", request | {"way": way}, threads=common.threads
        )
        answer = messages[-1]
        return {
            "start to answer, s": answer["received"],
            "import to answer, s": answer["from_import"],
            "peak, MB": answer["peak_bytes"] / _MEGABYTE,
        }

    contenders = [Contender(way, partial(turn, way)) for way in (OURS, upstream, BARE)]
    return take_turns(contenders, rounds=common.rounds, warm_up=True, announce=step)


def _section(samples: Mapping[str, Samples]) -> Section:
    figures = ("start to answer, s", "import to answer, s", "peak, MB")
    ours = samples[OURS].median(figures[0])
    return Section(
        "medians",
        ("contender", *figures, "times ours"),
        [
            (name, *map(found.median, figures), ratio(found.median(figures[0]), ours))
            for name, found in samples.items()
        ],
    )


def _bounds(samples: Mapping[str, Samples], upstream: str) -> list[Bound]:
    ours = samples[OURS].median("start to answer, s")
    theirs = samples[upstream].median("start to answer, s")
    peak = samples[OURS].median("peak, MB")
    return [
        Bound("first answer", ours, MOST_SECONDS, "at most", "s"),
        Bound(f"speed-up over {upstream}", ratio(theirs, ours), LEAST_SPEED_UP, "at least", "x"),
        Bound("peak memory", peak, MOST_MEGABYTES, "at most", "MB"),
    ]


if __name__ == "__main__":
    main()
