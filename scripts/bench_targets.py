"""Targets: every engine and precision of ours against what a user would otherwise run.

Usage::

    python scripts/bench_targets.py --peers-python peers/bin/python --nncf-python nncf/bin/python
    python scripts/bench_targets.py --weights minilm --runs 2 --seconds 0.2
    python scripts/bench_targets.py --only minilm-encoder --reuse

A turn is one process that opens one contender and times it at every shape; turns are interleaved.
Ours run as ``load(bundle, target=...).run(feeds)``. The others: the original in transformers, in
FP32 and BF16; the graph that optimum exports, in OpenVINO in FP32, in BF16 (what OpenVINO chooses
where the processor has it) and quantized by NNCF after training on the text that calibrates ours;
the same graph in INT8 as optimum quantizes it for this processor, as it is and optimized, in ONNX
Runtime. OpenVINO compiles every graph, ours and the others, for each shape, and the INT8 ones for
any shape besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from measuring.checkpoints import (
    BASE_DEMO,
    demo_checkpoint,
    demo_of,
    export_command,
    random_checkpoint,
    weights_digest,
)
from measuring.children import run_command, run_worker
from measuring.figures import Bound, Samples, ratio
from measuring.machine import describe_machine, installed_versions
from measuring.options import PEERS_PYTHON, Common, Steps, benchmark, steps
from measuring.peers import Peers, find_peers
from measuring.report import Report, Section
from measuring.stock_graphs import STOCK_INT8, stock_graphs
from measuring.turns import Contender, take_turns

from bert_export.targets import TARGETS

Shape = tuple[int, int]

SHAPES: tuple[Shape, ...] = ((1, 16), (1, 128), (8, 128), (32, 64))
TASKS = {
    "encoder": ("feature-extraction", "BertModel"),
    "text-classification": ("text-classification", "BertForSequenceClassification"),
    "fill-mask": ("fill-mask", "BertForMaskedLM"),
}
WEIGHTS = ("minilm", "bert-base")
ROWS = tuple(f"{weights}-{task}" for weights in WEIGHTS for task in TASKS)
PRECISIONS = ("fp32", "bf16", "int8")

REFERENCE = "PyTorch FP32"
NNCF = "OpenVINO, NNCF INT8"
OURS = "ours, "
OURS_OPENVINO = f"{OURS}openvino INT8"
ANY_SHAPE = ", any shape"
"""Behind the name of what OpenVINO compiled once, not for each shape."""
_LEAST_SPEED_UP, _LEVEL = 6.5, 0.97
_OVER_NNCF = {"encoder": _LEVEL, "text-classification": 1.10, "fill-mask": 1.30}
"""At least, of our INT8 in OpenVINO: pruned heads compute less."""
_CALIBRATION_ROWS = 300
_LEAST_RUNS = 4

NNCF_PYTHON = click.option(
    "--nncf-python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="BERT_EXPORT_NNCF_PYTHON",
    help="Interpreter of an environment with nncf and openvino.",
)


@dataclass(frozen=True, slots=True)
class Runner:
    """What a turn opens.

    Args:
        kind: A key of ``worker_targets.OPENERS``.
        path: Of the bundle, the graph or the checkpoint.
        precision: That the engine is told; ``None`` for what it chooses.
        target: Of the bundle.
        fixed: Whether OpenVINO compiles it for each shape.
    """

    kind: str
    path: Path
    precision: str | None = None
    target: str | None = None
    fixed: bool = False


@dataclass(slots=True)
class Row:
    """Weights with a head, and everything that runs them."""

    name: str
    weights: str
    task: str
    architecture: str
    runners: dict[str, Runner] = field(default_factory=dict)
    feeds: dict[Shape, Path] = field(default_factory=dict)


@benchmark(rounds=5)
@click.option("--weights", type=click.Choice(WEIGHTS), multiple=True, help="May be repeated.")
@click.option("--only", type=click.Choice(ROWS), multiple=True, help="May be repeated.")
@click.option("--reuse", is_flag=True, help="Take bundles that are there; they may be outdated.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Per shape and turn, at least.",
)
@PEERS_PYTHON
@NNCF_PYTHON
def main(
    common: Common,
    *,
    weights: Sequence[str],
    only: Sequence[str],
    reuse: bool,
    seconds: float,
    peers_python: Path | None,
    nncf_python: Path | None,
) -> Report:
    """Milliseconds per run of every target and precision, and of the alternatives."""
    peers, notes = find_peers(peers_python)
    remarks = [*notes, *_missing(nncf_python)]
    chosen = [
        name
        for name in ROWS
        if (not only or name in only) and (not weights or name.startswith(tuple(weights)))
    ]
    sections, bounds = [], []
    samples: dict[str, Samples] = {}
    with steps(len(chosen) * (_PREPARING + common.rounds * _CONTENDERS)) as step:
        for name in chosen:
            row = _make_row(common, name, peers, nncf_python, step, reuse=reuse)
            found = _measure(common, row, seconds=seconds, step=step)
            sections += _sections(row, found)
            bounds += _bounds(row, found)
            remarks += _compare(common, row)
            samples |= {f"{name}: {contender}": figures for contender, figures in found.items()}
    return Report(
        benchmark="bench_targets",
        machine=describe_machine(),
        versions=installed_versions() | (peers.versions if peers else {}),
        settings={"threads": common.threads, "runs": common.rounds, "padding": "none"},
        sections=sections,
        samples=samples,
        bounds=bounds,
        notes=remarks,
    )


_PREPARING = 12
_CONTENDERS = 12
"""About as many; the bar's length is all that depends on them."""


def _missing(nncf_python: Path | None) -> list[str]:
    notes = []
    if find_spec("openvino") is None:
        notes.append("OpenVINO was not measured: pip install 'bert-export[openvino]'.")
    if nncf_python is None:
        notes.append(
            "NNCF was not measured. Make an environment for it with\n"
            "    python -m venv nncf && nncf/bin/pip install nncf openvino onnx\n"
            "and pass --nncf-python nncf/bin/python."
        )
    return notes


def _make_row(
    common: Common,
    name: str,
    peers: Peers | None,
    nncf_python: Path | None,
    step: Steps,
    *,
    reuse: bool,
) -> Row:
    """Checkpoint, bundles, feeds and foreign graphs."""
    weights = next(weights for weights in WEIGHTS if name.startswith(weights))
    row = Row(name, weights, *TASKS[name.removeprefix(f"{weights}-")])
    step(f"{name}: checkpoint")
    model = _checkpoint(common, row)
    row.runners[REFERENCE] = Runner("torch", model, "float32")
    row.runners["PyTorch BF16"] = Runner("torch", model, "bfloat16")
    bundle = _add_ours(common, row, model, step, reuse=reuse)
    row.feeds = _make_feeds(common, row, bundle)
    if peers is not None:
        _add_stock(common, row, model, bundle, peers, nncf_python, step)
    return row


def _checkpoint(common: Common, row: Row) -> Path:
    if row.weights == "bert-base":
        return random_checkpoint(row.architecture, common.work, threads=common.threads)
    demo = BASE_DEMO if row.task == "feature-extraction" else demo_of(row.task)
    if demo is None:
        raise click.ClickException(f"there is no demonstration checkpoint for {row.task}")
    return demo_checkpoint(demo, common.work, threads=common.threads)


def _add_ours(common: Common, row: Row, model: Path, step: Steps, *, reuse: bool) -> Path:
    """One bundle per precision with all targets that run here; gives the INT8 one."""
    folder = common.work / "bundles"
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder
    for precision in PRECISIONS:
        targets = _targets(precision)
        if not targets:
            continue
        step(f"{row.name}: export {precision}")
        bundle = folder / f"targets-{row.name}-{precision}"
        if not (reuse and bundle.is_dir()):
            command = export_command(
                row.task, model, bundle, precision=precision, threads=common.threads
            )
            named = [argument for target in targets for argument in ("--target", target)]
            run_command([*command, *named], threads=common.threads)
        for target in targets:
            row.runners[f"{OURS}{target} {precision.upper()}"] = Runner(
                "bundle", bundle, target=target, fixed=target == "openvino"
            )
    if OURS_OPENVINO in row.runners:
        row.runners[OURS_OPENVINO + ANY_SHAPE] = replace(row.runners[OURS_OPENVINO], fixed=False)
    return bundle


def _targets(precision: str) -> list[str]:
    """Those for this machine's processor that are installed."""
    return [
        target.name
        for target in TARGETS.values()
        if precision in target.precisions
        and not target.gpu
        and (target.extra is None or find_spec(target.extra) is not None)
    ]


def _make_feeds(common: Common, row: Row, bundle: Path) -> dict[Shape, Path]:
    folder = common.work / "feeds"
    folder.mkdir(exist_ok=True)
    files = {shape: folder / f"targets-{row.name}-{_label(shape)}.npz" for shape in SHAPES}
    request = {
        "bundle": str(bundle),
        "shapes": list(files),
        "files": [str(file) for file in files.values()],
        "ragged": False,
        "masked": row.task == "fill-mask",
    }
    run_worker("worker_feeds", request, threads=common.threads)
    return files


def _add_stock(
    common: Common,
    row: Row,
    model: Path,
    bundle: Path,
    peers: Peers,
    nncf_python: Path | None,
    step: Steps,
) -> None:
    """Optimum's graphs, in ONNX Runtime and in OpenVINO."""
    graphs = stock_graphs(
        peers, row.task, model, common.work, threads=common.threads, announce=step
    )
    for name in STOCK_INT8:
        row.runners[f"ONNX Runtime, optimum {name}"] = Runner("onnxruntime", graphs[name])
    if find_spec("openvino") is None:
        return
    exported = graphs["exported FP32"]
    row.runners["OpenVINO FP32"] = Runner("openvino", exported, "f32", fixed=True)
    row.runners["OpenVINO BF16"] = Runner("openvino", exported, "bf16", fixed=True)
    if nncf_python is not None:
        step(f"{row.name}: NNCF")
        quantized = _nncf(common, row, model, bundle, exported, nncf_python)
        row.runners[NNCF] = Runner("openvino", quantized, fixed=True)
        row.runners[NNCF + ANY_SHAPE] = Runner("openvino", quantized)


def _nncf(
    common: Common, row: Row, model: Path, bundle: Path, exported: Path, python: Path
) -> Path:
    """NNCF's graph of the same weights, calibrated on the same text."""
    folder = common.work / "nncf" / f"{model.name}-{row.task}-{weights_digest(model)}"
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "model.xml"
    if not output.is_file():
        rows = folder / "rows.npz"
        request = {"bundle": str(bundle), "output": str(rows), "most": _CALIBRATION_ROWS}
        run_worker("worker_calibration_rows", request, threads=common.threads)
        request = {"graph": str(exported), "rows": str(rows), "output": str(output)}
        run_worker("worker_nncf_quantize", request, threads=common.threads, python=str(python))
    return output


def _label(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"


def _answers_file(common: Common, row: Row, contender: str) -> Path:
    return common.work / "answers" / f"targets-{row.name} {contender}.npz"


def _measure(common: Common, row: Row, *, seconds: float, step: Steps) -> dict[str, Samples]:
    """Milliseconds by shape of every contender; answers at the first shape are kept."""
    (common.work / "answers").mkdir(exist_ok=True)

    def turn(name: str) -> dict[str, float]:
        step(f"{row.name}: {name}")
        runner = row.runners[name]
        request: dict[str, Any] = {
            "kind": runner.kind,
            "path": str(runner.path),
            "precision": runner.precision,
            "target": runner.target,
            "fixed": runner.fixed,
            "task": row.task,
            "shapes": list(SHAPES),
            "files": [str(row.feeds[shape]) for shape in SHAPES],
            "answers": [str(_answers_file(common, row, name)), *[None for _ in SHAPES[1:]]],
            "seconds": seconds,
            "least": _LEAST_RUNS,
        }
        messages, _ = run_worker("worker_targets", request, threads=common.threads)
        return {_label(tuple(message["shape"])): 1000 * message["seconds"] for message in messages}

    return take_turns(
        [Contender(name, partial(turn, name)) for name in row.runners], rounds=common.rounds
    )


def _best(samples: Mapping[str, Samples], shape: Shape, *, ours: bool) -> tuple[str, float] | None:
    """Name and median of the fastest contender of one side."""
    medians = [
        (figures.median(_label(shape)), name)
        for name, figures in samples.items()
        if name.startswith(OURS) == ours
    ]
    measured = [(median, name) for median, name in medians if median is not None]
    return min(measured)[::-1] if measured else None


def _over(samples: Mapping[str, Samples], slower: str, shape: Shape) -> float | None:
    """How many times faster our best is than a contender."""
    best = _best(samples, shape, ours=True)
    if best is None or slower not in samples:
        return None
    return ratio(samples[slower].median(_label(shape)), best[1])


def _over_best_peer(samples: Mapping[str, Samples], shape: Shape) -> float | None:
    peer = _best(samples, shape, ours=False)
    return None if peer is None else _over(samples, peer[0], shape)


def _over_nncf(samples: Mapping[str, Samples], shape: Shape, *, form: str = "") -> float | None:
    """How many times faster our INT8 is in OpenVINO; ``form`` is behind both names."""
    ours, theirs = samples.get(OURS_OPENVINO + form), samples.get(NNCF + form)
    if ours is None or theirs is None:
        return None
    return ratio(theirs.median(_label(shape)), ours.median(_label(shape)))


def _sections(row: Row, samples: Mapping[str, Samples]) -> list[Section]:
    labels = [_label(shape) for shape in SHAPES]
    header = ("contender", *labels)
    medians: list[tuple[str | float | None, ...]] = [
        (name, *map(figures.median, labels)) for name, figures in samples.items()
    ]
    best = [_best(samples, shape, ours=True) for shape in SHAPES]
    ratios: list[tuple[str | float | None, ...]] = [
        ("our best", *(found[0].removeprefix(OURS) if found else None for found in best)),
        *(
            (f"over {name}", *(_over(samples, name, shape) for shape in SHAPES))
            for name in samples
            if not name.startswith(OURS)
        ),
        ("over the best of them", *(_over_best_peer(samples, shape) for shape in SHAPES)),
        ("our OpenVINO INT8 over NNCF's", *(_over_nncf(samples, shape) for shape in SHAPES)),
        (
            f"our OpenVINO INT8 over NNCF's{ANY_SHAPE}",
            *(_over_nncf(samples, shape, form=ANY_SHAPE) for shape in SHAPES),
        ),
    ]
    return [
        Section(f"{row.name}: medians, ms", header, medians),
        Section(f"{row.name}: our best, times faster", header, ratios),
    ]


def _bounds(row: Row, samples: Mapping[str, Samples]) -> list[Bound]:
    kind = row.name.removeprefix(f"{row.weights}-")
    bounds = []
    for shape in SHAPES:
        where = f"{row.name} {_label(shape)}"
        if kind == "encoder":
            value = _over(samples, REFERENCE, shape)
            bounds.append(
                Bound(f"{where}: best over {REFERENCE}", value, _LEAST_SPEED_UP, "at least", "x")
            )
        value = _over_best_peer(samples, shape)
        bounds.append(Bound(f"{where}: best over the best peer", value, _LEVEL, "at least", "x"))
        value = _over_nncf(samples, shape)
        bounds.append(
            Bound(f"{where}: OpenVINO INT8 over NNCF", value, _OVER_NNCF[kind], "at least", "x")
        )
    return bounds


def _compare(common: Common, row: Row) -> list[str]:
    """Whether the contenders answer alike: each against PyTorch in FP32."""
    parts = []
    for name in row.runners:
        if name == REFERENCE:
            continue
        request = {
            "kind": "compare",
            "reference": str(_answers_file(common, row, REFERENCE)),
            "candidate": str(_answers_file(common, row, name)),
        }
        messages, _ = run_worker("worker_graphs", request, threads=common.threads)
        parts += [
            f"{name} {message['cosine']:.4f}" if message["event"] == "alike" else f"{name} unlike"
            for message in messages
        ]
    return [f"{row.name}, {_label(SHAPES[0])}, cosine to {REFERENCE}: {'; '.join(parts)}."]


if __name__ == "__main__":
    main()
