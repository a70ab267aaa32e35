"""Graphs: ours against the stock ones of the same weights, on ONNX Runtime's CPU provider.

Usage::

    python scripts/bench_graphs.py --peers-python peers/bin/python
    python scripts/bench_graphs.py --only minilm-encoder --ragged
    python scripts/bench_graphs.py --only minilm-encoder --profile

A turn is one process that opens one graph and times it at every shape; turns are interleaved. Ours
run as ``load(bundle).run(feeds)``; the stock graphs with ONNX Runtime's own session settings. INT8
is compared with the faster of two stock graphs: the export quantized with optimum's dynamic preset
for this processor, and the stock optimizer's graph quantized dynamically (which optimum's command
fails at). FP32 is compared with the fastest of the export and the stock optimizer's levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
from measuring.checkpoints import (
    BASE_DEMO,
    demo_checkpoint,
    demo_of,
    export_bundle,
    random_checkpoint,
)
from measuring.children import run_worker
from measuring.figures import Bound, Samples, ratio
from measuring.machine import describe_machine, installed_versions
from measuring.options import PEERS_PYTHON, Common, Steps, benchmark, steps
from measuring.peers import Peers, find_peers
from measuring.report import Report, Section
from measuring.stock_graphs import STOCK_FP32, STOCK_INT8, stock_graphs
from measuring.turns import Contender, take_turns

Shape = tuple[int, int]

SHAPES: tuple[Shape, ...] = ((1, 16), (1, 128), (8, 128), (32, 64))
OURS = {"int8": "ours INT8", "fp32": "ours FP32"}
STOCK = {"int8": STOCK_INT8, "fp32": STOCK_FP32}
REFERENCE = "exported FP32"
_CLASSIFIER_LABELS = 7
_PROFILED_RUNS = 10


@dataclass(frozen=True, slots=True)
class Row:
    """Weights with a head, and how much faster we must be.

    Args:
        weights: ``bert-base`` (random) or ``minilm``.
        task: Of both sides.
        architecture: Of the random checkpoint.
        int8: Least speed-up by shape.
        fp32: Least speed-up at every shape; ``None`` where none is asked for.
    """

    weights: str
    task: str
    architecture: str
    int8: Mapping[Shape, float]
    fp32: float | None


ROWS: Mapping[str, Row] = {
    "bert-base-encoder": Row(
        "bert-base", "feature-extraction", "BertModel", {(1, 128): 1.20, (8, 128): 1.30}, 1.05
    ),
    "minilm-encoder": Row(
        "minilm",
        "feature-extraction",
        "BertModel",
        {(1, 16): 1.30, (1, 128): 1.40, (8, 128): 1.55, (32, 64): 1.55},
        1.05,
    ),
    "minilm-text-classification": Row(
        "minilm",
        "text-classification",
        "BertForSequenceClassification",
        {(8, 128): 1.75},
        1.15,
    ),
    "bert-base-fill-mask": Row("bert-base", "fill-mask", "BertForMaskedLM", {(8, 128): 1.60}, None),
}


@dataclass(frozen=True, slots=True)
class Graph:
    """One contender of a row: an ONNX file or a bundle, and the feeds that fit it."""

    path: Path
    is_bundle: bool
    feeds: Mapping[Shape, Path]


@benchmark(rounds=5)
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
@click.option("--reuse", is_flag=True, help="Take bundles that are there; they may be outdated.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Per shape and turn, at least.",
)
@click.option("--profile", is_flag=True, help="Show each INT8 graph's time by operator instead.")
@PEERS_PYTHON
def main(
    common: Common,
    *,
    only: Sequence[str],
    precisions: Sequence[str],
    ragged: bool,
    reuse: bool,
    seconds: float,
    profile: bool,
    peers_python: Path | None,
) -> Report:
    """Milliseconds per run of our graphs and of the stock ones."""
    peers, notes = find_peers(peers_python)
    machine = describe_machine()
    samples: dict[str, Samples] = {}
    sections, bounds, remarks = [], [], list(notes)
    names = list(only) or list(ROWS)
    stock = sum(len(STOCK[precision]) for precision in precisions) if peers else 0
    turns = (len(precisions) + stock) * common.rounds * (len(SHAPES) if profile else 1)
    made = len(STOCK_FP32) + len(STOCK_INT8) if peers else 0
    with steps(len(names) * (1 + len(precisions) + made + turns)) as step:
        for name in names:
            row = ROWS[name]
            graphs = _make_graphs(
                common, name, row, precisions, peers, step, ragged=ragged, reuse=reuse
            )
            if profile:
                sections += _profile(common, name, graphs, step)
                continue
            found = _measure(common, name, graphs, seconds=seconds, step=step)
            sections.append(_section(name, found, precisions))
            bounds += _bounds(name, row, found, precisions)
            remarks += _compare(common, name, graphs)
            samples |= {f"{name}: {graph}": figures for graph, figures in found.items()}
    return Report(
        benchmark="bench_graphs",
        machine=machine,
        versions=installed_versions() | (peers.versions if peers else {}),
        settings={
            "threads": common.threads,
            "runs": common.rounds,
            "padding": "ragged" if ragged else "none",
        },
        sections=sections,
        samples=samples,
        bounds=bounds,
        notes=remarks,
    )


def _checkpoint(common: Common, row: Row) -> Path:
    if row.weights == "bert-base":
        return random_checkpoint(row.architecture, common.work, threads=common.threads)
    if row.task == "feature-extraction":
        return demo_checkpoint(BASE_DEMO, common.work, threads=common.threads)
    demo = demo_of(row.task)
    if demo is not None:
        return demo_checkpoint(demo, common.work, threads=common.threads)
    return demo_checkpoint(
        BASE_DEMO, common.work, threads=common.threads, random_labels=_CLASSIFIER_LABELS
    )


def _make_graphs(
    common: Common,
    name: str,
    row: Row,
    precisions: Sequence[str],
    peers: Peers | None,
    step: Steps,
    *,
    ragged: bool,
    reuse: bool,
) -> dict[str, Graph]:
    """Bundles and stock graphs of a row, with feeds."""
    step(f"{name}: checkpoint")
    model = _checkpoint(common, row)
    graphs: dict[str, Graph] = {}
    feeds: dict[Shape, Path] = {}
    for precision in precisions:
        step(f"{name}: export {OURS[precision]}")
        bundle = common.work / "bundles" / f"{name}-{precision}"
        if not (reuse and bundle.is_dir()):
            export_bundle(row.task, model, bundle, precision=precision, threads=common.threads)
        feeds = _make_feeds(common, f"{name}-{precision}", row, bundle, ragged=ragged)
        graphs[OURS[precision]] = Graph(bundle, is_bundle=True, feeds=feeds)
    if peers is not None:
        made = stock_graphs(
            peers, row.task, model, common.work, threads=common.threads, announce=step
        )
        wanted = {graph for precision in precisions for graph in STOCK[precision]}
        graphs |= {
            graph: Graph(path, is_bundle=False, feeds=feeds)
            for graph, path in made.items()
            if graph in wanted
        }
    return graphs


def _make_feeds(
    common: Common, name: str, row: Row, bundle: Path, *, ragged: bool
) -> dict[Shape, Path]:
    folder = common.work / "feeds"
    folder.mkdir(exist_ok=True)
    files = {shape: folder / f"{name}-{shape[0]}x{shape[1]}.npz" for shape in SHAPES}
    request = {
        "bundle": str(bundle),
        "shapes": list(files),
        "files": [str(file) for file in files.values()],
        "ragged": ragged,
        "masked": row.task == "fill-mask",
    }
    run_worker("worker_feeds", request, threads=common.threads)
    return files


def _label(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"


def _answers_file(common: Common, name: str, graph: str) -> Path:
    return common.work / "answers" / f"{name} {graph}.npz"


def _request(graph: Graph, shapes: Sequence[Shape], seconds: float) -> dict[str, object]:
    return {
        "kind": "measure",
        "graph": str(graph.path),
        "is_bundle": graph.is_bundle,
        "shapes": list(shapes),
        "files": [str(graph.feeds[shape]) for shape in shapes],
        "answers": [None for _ in shapes],
        "seconds": seconds,
        "profile": None,
    }


def _measure(
    common: Common, name: str, graphs: Mapping[str, Graph], *, seconds: float, step: Steps
) -> dict[str, Samples]:
    """Milliseconds by shape of every graph; answers at the first shape are kept."""
    (common.work / "answers").mkdir(exist_ok=True)

    def turn(graph: str) -> dict[str, float]:
        step(f"{name}: {graph}")
        kept = [str(_answers_file(common, name, graph)), *[None for _ in SHAPES[1:]]]
        request = _request(graphs[graph], SHAPES, seconds) | {"answers": kept}
        messages, _ = run_worker("worker_graphs", request, threads=common.threads)
        return {_label(tuple(message["shape"])): 1000 * message["seconds"] for message in messages}

    contenders = [Contender(graph, partial(turn, graph)) for graph in graphs]
    return take_turns(contenders, rounds=common.rounds)


def _best(samples: Mapping[str, Samples], graphs: Sequence[str], shape: Shape) -> float | None:
    """Median of the fastest of the graphs that were measured."""
    medians = [samples[graph].median(_label(shape)) for graph in graphs if graph in samples]
    return min((found for found in medians if found is not None), default=None)


def _speed_up(samples: Mapping[str, Samples], precision: str, shape: Shape) -> float | None:
    ours = samples[OURS[precision]].median(_label(shape))
    return ratio(_best(samples, STOCK[precision], shape), ours)


def _section(name: str, samples: Mapping[str, Samples], precisions: Sequence[str]) -> Section:
    labels = [_label(shape) for shape in SHAPES]
    rows: list[tuple[str | float | None, ...]] = [
        (graph, *map(found.median, labels)) for graph, found in samples.items()
    ]
    for precision in precisions:
        ours = samples[OURS[precision]]
        for stock in STOCK[precision]:
            if stock in samples:
                over = [ratio(samples[stock].median(label), ours.median(label)) for label in labels]
                rows.append((f"{OURS[precision]}, times faster than {stock}", *over))
        best = [_speed_up(samples, precision, shape) for shape in SHAPES]
        rows.append((f"{OURS[precision]}, times faster than the best stock", *best))
    return Section(f"{name}: medians, ms", ("graph", *labels), rows)


def _bounds(
    name: str, row: Row, samples: Mapping[str, Samples], precisions: Sequence[str]
) -> list[Bound]:
    least = {
        "int8": row.int8,
        "fp32": {} if row.fp32 is None else dict.fromkeys(row.int8, row.fp32),
    }
    return [
        Bound(
            f"{name} {_label(shape)} {precision.upper()} over the best stock",
            _speed_up(samples, precision, shape),
            limit,
            "at least",
            "x",
        )
        for precision in precisions
        for shape, limit in least[precision].items()
    ]


def _compare(common: Common, name: str, graphs: Mapping[str, Graph]) -> list[str]:
    """Whether the graphs answer alike: each against the exported one in FP32."""
    if REFERENCE not in graphs:
        return []
    parts = []
    for graph in graphs:
        if graph == REFERENCE:
            continue
        request = {
            "kind": "compare",
            "reference": str(_answers_file(common, name, REFERENCE)),
            "candidate": str(_answers_file(common, name, graph)),
        }
        messages, _ = run_worker("worker_graphs", request, threads=common.threads)
        parts += [
            f"{graph} {message['output']} cosine {message['cosine']:.4f}, largest difference "
            f"{message['difference']:.2g}"
            if message["event"] == "alike"
            else f"{graph} {message['output']} has another shape"
            for message in messages
        ]
    return [f"{name}, {_label(SHAPES[0])} compared with {REFERENCE}: {'; '.join(parts)}."]


def _profile(common: Common, name: str, graphs: Mapping[str, Graph], step: Steps) -> list[Section]:
    """Time by operator, one table per graph and shape: of the turns, the one that took least."""
    folder = common.work / "profiles"
    folder.mkdir(exist_ok=True)
    sections = []
    for graph, contender in graphs.items():
        for shape in SHAPES:
            repeated = [shape] * _PROFILED_RUNS
            request = _request(contender, repeated, 0.0)
            request["profile"] = str(folder / f"{name}-{graph.replace(' ', '-')}")
            turns = []
            for _ in range(common.rounds):
                step(f"{name}: profile {graph} {_label(shape)}")
                messages, _usage = run_worker("worker_graphs", request, threads=common.threads)
                turns.append(messages[-1]["operators"])
            operators = min(turns, key=lambda turn: sum(operator["ms"] for operator in turn))
            total = sum(operator["ms"] for operator in operators)
            sections.append(
                Section(
                    f"{name} {_label(shape)}, {graph}: ms per run by operator",
                    ("operator", "ms", "share, %", "calls"),
                    [
                        (item["operator"], item["ms"], 100 * item["ms"] / total, item["calls"])
                        for item in operators
                    ],
                )
            )
    return sections


if __name__ == "__main__":
    main()
