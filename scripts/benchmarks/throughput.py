"""Throughput: real short texts by the hundred, tokenization included.

Usage::

    python scripts/benchmarks/throughput.py                 # sentence-embedding, and a tagger
    python scripts/benchmarks/throughput.py --task text-classification --texts my.txt

Contenders on sentence-embedding: our INT8 bundle with and without sorting by length,
sentence-transformers in FP32 and in BF16. On the other tasks: the bundle with and without sorting,
and the upstream pipeline text by text (its default) and in batches. A call answers 256 texts, so
that turns stay short; each sorts within its call. Answers are compared as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from bert_export.measuring.workloads import Workload
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import Comparison, named_failures
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.report import Report, Section
from scripts.benchmarks.making.checkpoints import demo_bundle, demo_of, upstream_folder
from scripts.benchmarks.making.texts import read_texts

EMBEDDING = "sentence-embedding"
TASKS = (EMBEDDING, "token-classification", "text-classification")
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "token-classification": {"aggregation_strategy": "simple"}
}
SORTED, UNSORTED = "ours", "ours, unsorted"
FP32, BF16 = "sentence-transformers FP32", "sentence-transformers BF16"
LEAST_OVER = {FP32: 6.0, BF16: 2.5}
TEXTS = "texts"
_EACH = 256


@benchmark("scripts/benchmarks/throughput.py", seconds=10.0)
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
@click.option("--count", type=click.IntRange(min=1), default=1024, show_default=True)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Of sentence-transformers and of the upstream pipeline in batches.",
)
def main(
    common: Common,
    listener: Listener,
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
    texts, source = read_texts(min(count, _EACH) if common.quick else count, file)
    listed = common.work / "texts.json"
    listed.write_text(json.dumps(texts), encoding="utf-8")
    request = {"texts": str(listed), "each": _EACH}
    workload = Workload(label=TEXTS, rows=len(texts), request=request)
    sections: list[Section] = []
    bounds: list[Bound] = []
    comparisons: dict[str, Comparison] = {}
    for task in tasks:
        listener.begin(f"{task}: checkpoint and bundle", done=0, total=1)
        folder = bundle or demo_bundle(task, precision, common.work, threads=common.threads)
        comparison = _contenders(common, task, folder, batch_size)
        comparison.time([workload], listener)
        note = _agreement(common, task, comparison, listed)
        sections.append(_section(task, comparison, note))
        bounds += _bounds(comparison) if task == EMBEDDING else []
        comparisons[task] = comparison
    return Report(
        benchmark="throughput",
        machine=machine,
        versions=installed_versions(),
        settings=common.settings
        | {
            "texts": f"{len(texts)} of {source}",
            "words per text": round(sum(len(text.split()) for text in texts) / len(texts), 1),
            "precision": precision,
            "batch size upstream": batch_size,
        },
        sections=sections,
        figures={task: comparison.results for task, comparison in comparisons.items()},
        bounds=bounds,
        notes=named_failures(comparisons),
    )


def _contenders(common: Common, task: str, bundle: Path, batch_size: int) -> Comparison:
    model = upstream_folder(task, common.work, threads=common.threads)
    options = OPTIONS.get(task, {})
    ours = {"kind": "bundle", "path": str(bundle), "target": None, "options": options}
    requests: dict[str, dict[str, Any]] = {
        SORTED: ours | {"sort": True},
        UNSORTED: ours | {"sort": False},
    }
    if task == EMBEDDING:
        upstream = {
            "kind": "sentence-transformers",
            "path": str(model),
            "batch_size": batch_size,
        }
        requests |= {
            FP32: upstream | {"precision": "float32"},
            BF16: upstream | {"precision": "bfloat16"},
        }
    else:
        pipeline = {
            "kind": "transformers pipeline",
            "path": str(model),
            "task": task,
            "options": options,
        }
        requests |= {
            "transformers pipeline": pipeline | {"batch_size": 1},
            f"transformers pipeline, batches of {batch_size}": pipeline
            | {"batch_size": batch_size},
        }
    comparison = Comparison(common.under)
    for name, request in requests.items():
        comparison.add(name, lambda request=request: request)  # type: ignore[misc]
    return comparison


def _agreement(common: Common, task: str, comparison: Comparison, listed: Path) -> str:
    """How alike the answers of the contenders are to ours, in one sentence."""
    folder = common.work / "answers"
    folder.mkdir(exist_ok=True)
    files: dict[str, Path] = {}
    for name in comparison.contenders:
        file = folder / f"{task} {name}.out"
        request = {"texts": str(listed), "answers": str(file)}
        if comparison.ask(name, "save_answers", request) is not None:
            files[name] = file
    if SORTED not in files:
        return f"{task}: ours has no answers to compare with."
    parts = [
        f"{name} {alike(files[SORTED], file, vectors=task == EMBEDDING)}"
        for name, file in files.items()
        if name != SORTED
    ]
    return f"{task}, answers compared with ours: {'; '.join(parts)}."


def alike(ours: Path, others: Path, *, vectors: bool) -> str:
    """How alike two files of answers are, in words."""
    if vectors:
        left, right = np.load(ours), np.load(others)
        norms = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
        cosines = (left * right).sum(axis=-1) / np.maximum(norms, 1e-12)
        return f"cosine {cosines.mean():.4f} (least {cosines.min():.4f})"
    mine, theirs = (json.loads(path.read_text(encoding="utf-8")) for path in (ours, others))
    same = sum(_essence(a) == _essence(b) for a, b in zip(mine, theirs, strict=True))
    return f"{100 * same / len(mine):.2f} % the same"


def _essence(answer: Any) -> Any:
    """A label, or the tagged spans: what an answer says but for its scores."""
    if isinstance(answer, dict):
        return answer["label"]
    return [(entity["entity_group"], entity["start"], entity["end"]) for entity in answer]


def _section(task: str, comparison: Comparison, note: str) -> Section:
    return Section(
        part=task,
        title=f"{task}: medians, and how many times as fast ours is",
        header=("contender", "texts/s", "peak, MB", "ours, times as fast"),
        rows=comparison.rates_table(SORTED, TEXTS),
        notes=[note],
    )


def _bounds(comparison: Comparison) -> list[Bound]:
    return [
        Bound(
            f"{EMBEDDING} over {name}",
            comparison.ratio(SORTED, name, TEXTS),
            least,
            "at least",
            "x",
        )
        for name, least in LEAST_OVER.items()
    ]


if __name__ == "__main__":
    main()
