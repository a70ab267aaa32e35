"""Throughput: thousands of real short texts, tokenization included.

Usage::

    python scripts/bench_throughput.py                       # sentence-embedding, and a tagger
    python scripts/bench_throughput.py --task text-classification --texts my.txt

Contenders on sentence-embedding: our INT8 bundle with and without sorting by length,
sentence-transformers in FP32 and in BF16. On the other tasks: the bundle with and without sorting,
and the upstream pipeline text by text (its default) and in batches. Answers are compared as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from measuring.checkpoints import BASE_DEMO, base_folder, demo_checkpoint, demo_of, export_bundle
from measuring.children import run_worker
from measuring.figures import Bound, Samples, ratio
from measuring.machine import describe_machine, installed_versions
from measuring.options import Common, Steps, benchmark, steps
from measuring.report import Report, Section
from measuring.texts import read_texts
from measuring.turns import Contender, take_turns

EMBEDDING = "sentence-embedding"
TASKS = (EMBEDDING, "token-classification", "text-classification")
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "token-classification": {"aggregation_strategy": "simple"}
}
SORTED, UNSORTED = "ours", "ours, unsorted"
FP32, BF16 = "sentence-transformers FP32", "sentence-transformers BF16"
LEAST_OVER = {FP32: 6.0, BF16: 2.5}
RATE = "texts/s"
_MEGABYTE = 1e6


@benchmark(rounds=3)
@click.option(
    "--task",
    "tasks",
    type=click.Choice(TASKS),
    multiple=True,
    help="May be repeated.  [default: sentence-embedding, and one with a demonstration]",
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A bundle of the task's demonstration, instead of exporting one; for a single --task.",
)
@click.option("--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True)
@click.option(
    "--texts",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="One text a line.  [default: the open data beside the checkout]",
)
@click.option("--count", type=click.IntRange(min=1), default=3000, show_default=True)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Of sentence-transformers and of the upstream pipeline in batches.",
)
def main(
    common: Common,
    *,
    tasks: Sequence[str],
    bundle: Path | None,
    precision: str,
    file: Path | None,
    count: int,
    batch_size: int,
) -> Report:
    """Texts per second through a loaded bundle and through what users have today."""
    tasks = tasks or [EMBEDDING, *[task for task in TASKS[1:] if demo_of(task) is not None][:1]]
    if bundle is not None and len(tasks) != 1:
        raise click.UsageError("--bundle needs a single --task")
    for task in tasks:
        if demo_of(task) is None:
            raise click.UsageError(f"task {task} has no demonstration here. Pass another --task.")
    machine = describe_machine()
    texts, source = read_texts(count, file)
    (common.work / "answers").mkdir(exist_ok=True)
    listed = common.work / "texts.json"
    listed.write_text(json.dumps(texts), encoding="utf-8")
    samples: dict[str, Samples] = {}
    sections, notes = [], []
    with steps(len(tasks) * (1 + 4 * common.rounds)) as step:
        for task in tasks:
            step(f"{task}: export")
            folder = bundle or _export(common, task, precision)
            model = _upstream_model(common, task)
            ways = _ways(task, batch_size)
            found = _measure(common, task, folder, model, listed, ways, step)
            sections.append(_section(task, found))
            notes.append(_agreement(common, task, ways))
            samples |= {f"{task}: {name}": figures for name, figures in found.items()}
    return Report(
        benchmark="bench_throughput",
        machine=machine,
        versions=installed_versions(),
        settings={
            "texts": count,
            "from": source,
            "words per text": round(sum(len(text.split()) for text in texts) / len(texts), 1),
            "precision": precision,
            "batch size upstream": batch_size,
            "threads": common.threads,
            "runs": common.rounds,
        },
        sections=sections,
        samples=samples,
        bounds=_bounds(samples) if EMBEDDING in tasks else (),
        notes=notes,
    )


def _export(common: Common, task: str, precision: str) -> Path:
    bundle = common.work / "bundles" / f"{task}-{precision}"
    model = f"demo:{demo_of(task)}"
    export_bundle(task, model, bundle, precision=precision, threads=common.threads)
    return bundle


def _upstream_model(common: Common, task: str) -> Path:
    demo = str(demo_of(task))
    if demo == BASE_DEMO:
        return base_folder(threads=common.threads)
    return demo_checkpoint(demo, common.work, threads=common.threads)


def _ways(task: str, batch_size: int) -> dict[str, dict[str, Any]]:
    """The contenders of a task: what each adds to the request."""
    ways: dict[str, dict[str, Any]] = {
        SORTED: {"way": "ours", "sort": True},
        UNSORTED: {"way": "ours", "sort": False},
    }
    if task == EMBEDDING:
        upstream = {"way": "sentence-transformers", "batch_size": batch_size}
        return ways | {
            FP32: upstream | {"bfloat16": False},
            BF16: upstream | {"bfloat16": True},
        }
    upstream = {"way": "transformers pipeline"}
    return ways | {
        "transformers pipeline": upstream | {"batch_size": 1},
        f"transformers pipeline, batches of {batch_size}": upstream | {"batch_size": batch_size},
    }


def _measure(
    common: Common,
    task: str,
    bundle: Path,
    model: Path,
    listed: Path,
    ways: Mapping[str, Mapping[str, Any]],
    step: Steps,
) -> dict[str, Samples]:
    count = len(json.loads(listed.read_text(encoding="utf-8")))
    request = {
        "task": task,
        "bundle": str(bundle),
        "model": str(model),
        "texts": str(listed),
        "options": OPTIONS.get(task, {}),
    }

    def turn(name: str) -> dict[str, float]:
        own = {**ways[name], "answers": str(_answers_file(common, task, name))}
        messages, _ = run_worker("worker_throughput", request | own, threads=common.threads)
        result = messages[-1]
        return {
            RATE: count / result["seconds"],
            "seconds": result["seconds"],
            "peak, MB": result["peak_bytes"] / _MEGABYTE,
        }

    contenders = [Contender(name, partial(turn, name)) for name in ways]
    announce: Callable[[str], None] = lambda name: step(f"{task}: {name}")  # noqa: E731
    return take_turns(contenders, rounds=common.rounds, announce=announce)


def _answers_file(common: Common, task: str, name: str) -> Path:
    return common.work / "answers" / f"{task} {name}.out"


def _agreement(common: Common, task: str, ways: Mapping[str, Any]) -> str:
    """How alike the answers of the contenders are to ours, in one sentence."""
    parts = []
    for name in ways:
        if name == SORTED:
            continue
        files = [_answers_file(common, task, other) for other in (SORTED, name)]
        if task == EMBEDDING:
            left, right = (np.load(path) for path in files)
            norms = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
            cosines = (left * right).sum(axis=-1) / np.maximum(norms, 1e-12)
            parts.append(f"{name} cosine {cosines.mean():.4f} (least {cosines.min():.4f})")
        else:
            ours, others = (json.loads(path.read_text(encoding="utf-8")) for path in files)
            same = sum(_essence(a) == _essence(b) for a, b in zip(ours, others, strict=True))
            parts.append(f"{name} {100 * same / len(ours):.2f} % the same")
    return f"{task}, answers compared with ours: {'; '.join(parts)}."


def _essence(answer: Any) -> Any:
    """A label, or the tagged spans: what an answer says but for its scores."""
    if isinstance(answer, dict):
        return answer["label"]
    return [(entity["entity_group"], entity["start"], entity["end"]) for entity in answer]


def _section(task: str, samples: Mapping[str, Samples]) -> Section:
    ours = samples[SORTED].median(RATE)
    return Section(
        f"{task}: medians",
        ("contender", RATE, "seconds", "peak, MB", "ours over it"),
        [
            (
                name,
                found.median(RATE),
                found.median("seconds"),
                found.median("peak, MB"),
                ratio(ours, found.median(RATE)),
            )
            for name, found in samples.items()
        ],
    )


def _bounds(samples: Mapping[str, Samples]) -> list[Bound]:
    ours = samples[f"{EMBEDDING}: {SORTED}"].median(RATE)
    return [
        Bound(
            f"{EMBEDDING} over {name}",
            ratio(ours, samples[f"{EMBEDDING}: {name}"].median(RATE)),
            least,
            "at least",
            "x",
        )
        for name, least in LEAST_OVER.items()
    ]


if __name__ == "__main__":
    main()
