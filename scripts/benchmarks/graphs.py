"""Graphs: ours against the stock ones of the same weights, on ONNX Runtime's CPU provider.

Usage::

    python scripts/benchmarks/graphs.py
    python scripts/benchmarks/graphs.py --only minilm-encoder --ragged
    python scripts/benchmarks/graphs.py --only minilm-encoder --profile

Ours run as ``load(bundle).run(feeds)``; the stock graphs with ONNX Runtime's own session settings.
INT8 is compared with two stock graphs: the export quantized with optimum's dynamic preset for this
processor, and the stock optimizer's graph quantized dynamically (which optimum's command fails at).
FP32 is compared with the export and the stock optimizer's levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bert_export.measuring.child import call_apart
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from bert_export.measuring.workloads import Workload
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import (
    Comparison,
    announcer,
    compare_outputs,
    named_failures,
)
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.places import WORKERS
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.checkpoints import export_bundle, measured_checkpoint
from scripts.benchmarks.making.shapes import LABELS, shape_workloads
from scripts.benchmarks.making.stock_graphs import STOCK_FP32, STOCK_INT8, StockGraphs

OURS = {"int8": "ours INT8", "fp32": "ours FP32"}
STOCK = {"int8": STOCK_INT8, "fp32": STOCK_FP32}
REFERENCE = "exported FP32"
_PROFILED_RUNS, _PROFILES = 10, 5


@dataclass(frozen=True, slots=True)
class Row:
    """Weights with a head, and how much faster we must be.

    Args:
        weights: ``bert-base`` (random) or ``minilm``.
        task: Of both sides.
        int8: Least speed-up by shape.
        fp32: Least speed-up at those shapes; ``None`` where none is asked for.
    """

    weights: str
    task: str
    int8: Mapping[str, float]
    fp32: float | None


ROWS: Mapping[str, Row] = {
    "bert-base-encoder": Row(
        "bert-base", "feature-extraction", {"1x128": 1.20, "8x128": 1.30}, 1.05
    ),
    "minilm-encoder": Row(
        "minilm",
        "feature-extraction",
        {"1x16": 1.30, "1x128": 1.40, "8x128": 1.55, "32x64": 1.55},
        1.05,
    ),
    "minilm-text-classification": Row("minilm", "text-classification", {"8x128": 1.75}, 1.15),
    "bert-base-fill-mask": Row("bert-base", "fill-mask", {"8x128": 1.60}, None),
}


@benchmark("scripts/benchmarks/graphs.py")
@click.option("--only", type=click.Choice(list(ROWS)), multiple=True, help="May be repeated.")
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(list(OURS)),
    multiple=True,
    default=tuple(OURS),
    help="May be repeated.  [default: both]",
)
@click.option("--ragged", is_flag=True, help="Rows of unequal length, instead of no padding.")
@click.option("--profile", is_flag=True, help="Show each graph's time by operator instead.")
def main(
    common: Common,
    listener: Listener,
    *,
    only: Sequence[str],
    precisions: Sequence[str],
    ragged: bool,
    profile: bool,
) -> Report:
    """Milliseconds per call of our graphs and of the stock ones."""
    machine = describe_machine()
    sections: list[Section] = []
    bounds: list[Bound] = []
    comparisons: dict[str, Comparison] = {}
    for name in only or ROWS:
        comparison, workloads = _prepare(common, name, precisions, listener, ragged=ragged)
        comparisons[name] = comparison
        if profile:
            sections += _profiles(common, name, comparison, workloads, listener)
            continue
        comparison.time(workloads, listener)
        notes = _agreement(common, name, comparison, workloads[0])
        part = f"{name}, ragged" if ragged else name
        sections += _sections(
            name,
            comparison,
            precisions,
            notes,
            part=part if set(precisions) == set(OURS) else None,
        )
        bounds += _bounds(name, comparison, precisions)
    return Report(
        benchmark="graphs",
        machine=machine,
        versions=installed_versions(),
        settings=common.settings | {"padding": "ragged" if ragged else "none"},
        sections=sections,
        figures={name: comparison.results for name, comparison in comparisons.items()},
        bounds=bounds,
        notes=named_failures(comparisons),
    )


def _prepare(
    common: Common, name: str, precisions: Sequence[str], listener: Listener, *, ragged: bool
) -> tuple[Comparison, list[Workload]]:
    """A row's bundles, stock graphs and feeds."""
    row = ROWS[name]
    announce = announcer(listener, name)
    announce("checkpoint")
    model = measured_checkpoint(row.weights, row.task, common.work, threads=common.threads)
    comparison = Comparison(common.under)
    bundle = common.work
    for precision in precisions:
        bundle = common.work / "bundles" / f"{name}-{precision}"
        if not (common.reuse and bundle.is_dir()):
            announce(f"export {precision}")
            export_bundle(row.task, model, bundle, precision=precision, threads=common.threads)
        request = {"kind": "bundle", "path": str(bundle), "target": None}
        comparison.add(OURS[precision], lambda request=request: request)  # type: ignore[misc]
    stock = StockGraphs(
        row.task,
        model,
        common.work,
        common.environments,
        threads=common.threads,
        announce=announce,
    )
    for precision in precisions:
        for graph in STOCK[precision]:
            comparison.add(graph, stock.maker(graph))
    workloads = shape_workloads(
        bundle, common.work, f"graphs-{name}", ragged=ragged, masked=row.task == "fill-mask"
    )
    return comparison, workloads


def _sections(
    name: str,
    comparison: Comparison,
    precisions: Sequence[str],
    notes: Sequence[str],
    *,
    part: str | None,
) -> list[Section]:
    rows: list[list[Cell]] = []
    for precision in precisions:
        ours, stock = OURS[precision], STOCK[precision]
        for graph in stock:
            ratios = (comparison.ratio(ours, graph, label) for label in LABELS)
            rows.append([f"{ours} over {graph}", *ratios])
        best = (comparison.best_over([ours], stock, label) for label in LABELS)
        rows.append([f"{ours} over the best stock", *best])
    return [
        Section(
            part=part,
            title=f"{name}: milliseconds of a call, median (95th percentile)",
            header=("graph", *LABELS),
            rows=comparison.table(LABELS),
        ),
        Section(
            part=part,
            title=f"{name}: times as fast (95 % interval)",
            header=("graphs", *LABELS),
            rows=rows,
            notes=notes,
        ),
    ]


def _bounds(name: str, comparison: Comparison, precisions: Sequence[str]) -> list[Bound]:
    row = ROWS[name]
    least = {
        "int8": row.int8,
        "fp32": {} if row.fp32 is None else dict.fromkeys(row.int8, row.fp32),
    }
    return [
        Bound(
            f"{name} {label} {precision.upper()} over the best stock",
            comparison.best_over([OURS[precision]], STOCK[precision], label),
            limit,
            "at least",
            "x",
        )
        for precision in precisions
        for label, limit in least[precision].items()
    ]


def _agreement(common: Common, name: str, comparison: Comparison, workload: Workload) -> list[str]:
    """Whether the graphs answer alike: each against the exported one in FP32."""
    if REFERENCE not in comparison.contenders:
        return []
    folder = common.work / "answers"
    folder.mkdir(exist_ok=True)
    files: dict[str, Path] = {}
    for graph in comparison.contenders:
        file = folder / f"graphs-{name} {graph}.npz"
        request = {"feeds": workload.request["feeds"], "outputs": str(file)}
        if comparison.ask(graph, "save_outputs", request) is not None:
            files[graph] = file
    if REFERENCE not in files:
        return []
    parts = [
        f"{graph} {compare_outputs(files[REFERENCE], file)}"
        for graph, file in files.items()
        if graph != REFERENCE
    ]
    return [f"At {workload.label}, cosine to {REFERENCE}: {'; '.join(parts)}."]


def _profiles(
    common: Common,
    name: str,
    comparison: Comparison,
    workloads: Sequence[Workload],
    listener: Listener,
) -> list[Section]:
    """Time by operator, one table per graph and shape: of several processes the fastest."""
    folder = common.work / "profiles"
    folder.mkdir(exist_ok=True)
    sections = []
    for graph, contender in comparison.contenders.items():
        for workload in workloads:
            request = {
                "contender": {"threads": common.threads, **contender.request},
                "feeds": workload.request["feeds"],
                "runs": _PROFILED_RUNS,
                "prefix": str(folder / f"{name}-{graph.replace(' ', '-')}"),
            }
            profiles = []
            for number in range(1 if common.quick else _PROFILES):
                what = f"{name}: profile {graph} {workload.label}"
                listener.begin(what, done=number, total=_PROFILES)
                job = call_apart(
                    WORKERS / "profile_graph.py", "profile", request, threads=common.threads
                )
                profiles.append(job.reply["operators"])
            operators = min(profiles, key=lambda one: sum(item["ms"] for item in one))
            total = sum(item["ms"] for item in operators)
            sections.append(
                Section(
                    part=None,
                    title=f"{name} {workload.label}, {graph}: milliseconds by operator",
                    header=("operator", "ms", "share, %", "calls"),
                    rows=[
                        (item["operator"], item["ms"], 100 * item["ms"] / total, item["calls"])
                        for item in operators
                    ],
                )
            )
    return sections


if __name__ == "__main__":
    main()
