"""Targets: every engine and precision of ours against what a user would otherwise run.

Usage::

    python scripts/benchmarks/targets.py
    python scripts/benchmarks/targets.py --weights minilm --quick
    python scripts/benchmarks/targets.py --only minilm-encoder --write

Ours run as ``load(bundle, target=...).run(feeds)``. The others: the original in transformers, in
FP32 and BF16; the graph that optimum exports, in OpenVINO in FP32, in BF16 (what OpenVINO chooses
where the processor has it) and quantized by NNCF after training on the text that calibrates ours;
the same graph in INT8 as optimum quantizes it for this processor, as it is and optimized, in ONNX
Runtime. OpenVINO compiles every graph, ours and the others', for each shape, and the INT8 ones for
any shape besides. Environments of the others are made below ``--work`` unless they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bert_export.exporter.auto_target import candidates
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import (
    Comparison,
    announcer,
    compare_outputs,
    named_failures,
)
from scripts.benchmarks.common.options import Announce, Common, benchmark
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.checkpoints import export_bundle, measured_checkpoint
from scripts.benchmarks.making.shapes import LABELS, SHAPES, shape_workloads
from scripts.benchmarks.making.stock_graphs import NNCF_INT8, STOCK_INT8, StockGraphs

TASKS = {
    "encoder": "feature-extraction",
    "text-classification": "text-classification",
    "fill-mask": "fill-mask",
}
WEIGHTS = ("minilm", "bert-base")
ROWS: Mapping[str, tuple[str, str]] = {
    f"{weights}-{kind}": (weights, kind) for weights in WEIGHTS for kind in TASKS
}
"""By the name that tables show: the weights, and a key of :data:`TASKS`."""
PRECISIONS = ("fp32", "bf16", "int8")

REFERENCE = "PyTorch FP32"
NNCF = f"OpenVINO, {NNCF_INT8}"
OURS = "ours, "
OURS_OPENVINO = f"{OURS}openvino INT8"
ANY_SHAPE = ", any shape"
"""Behind the name of what OpenVINO compiled once, not for each shape."""
_LEAST_SPEED_UP, _LEVEL = 6.5, 0.97
_OVER_NNCF = {"encoder": _LEVEL, "text-classification": 1.10, "fill-mask": 1.30}
"""At least, of our INT8 in OpenVINO: pruned heads compute less."""


@benchmark("scripts/benchmarks/targets.py")
@click.option("--weights", type=click.Choice(WEIGHTS), multiple=True, help="May be repeated.")
@click.option("--only", type=click.Choice(list(ROWS)), multiple=True, help="May be repeated.")
@click.option(
    "--contender",
    "beginnings",
    multiple=True,
    help="How names of contenders begin; PyTorch FP32 is always there.  [default: all]",
)
def main(
    common: Common,
    listener: Listener,
    *,
    weights: Sequence[str],
    only: Sequence[str],
    beginnings: Sequence[str],
) -> Report:
    """Milliseconds per call of every target and precision, and of the alternatives."""
    machine = describe_machine()
    chosen = [
        name
        for name, (own, _) in ROWS.items()
        if (not only or name in only) and (not weights or own in weights)
    ]
    sections: list[Section] = []
    bounds: list[Bound] = []
    comparisons: dict[str, Comparison] = {}
    for name in chosen:
        comparison = _compare_row(common, name, beginnings, listener)
        sections += _sections(
            name,
            comparison,
            _agreement(common, name, comparison),
            part=None if beginnings else name,
        )
        bounds += _bounds(name, comparison)
        comparisons[name] = comparison
    return Report(
        benchmark="targets",
        machine=machine,
        versions=installed_versions(),
        settings=common.settings | {"padding": "none"},
        sections=sections,
        figures={name: comparison.results for name, comparison in comparisons.items()},
        bounds=bounds,
        notes=named_failures(comparisons),
    )


def _compare_row(
    common: Common, name: str, beginnings: Sequence[str], listener: Listener
) -> Comparison:
    """Make a row's contenders and time them."""
    weights, kind = ROWS[name]
    task = TASKS[kind]

    def is_asked_for(contender: str) -> bool:
        return not beginnings or contender.startswith(tuple(beginnings))

    announce = announcer(listener, name)
    announce("checkpoint")
    model = measured_checkpoint(weights, task, common.work, threads=common.threads)
    comparison = Comparison(common.under)

    def add(contender: str, make: Callable[[], Mapping[str, Any]]) -> None:
        if is_asked_for(contender) or contender == REFERENCE:
            comparison.add(contender, make)

    for precision, dtype in ((REFERENCE, "float32"), ("PyTorch BF16", "bfloat16")):
        request = {
            "kind": "transformers",
            "path": str(model),
            "task": task,
            "precision": dtype,
        }
        add(precision, lambda request=request: request)  # type: ignore[misc]
    for contender, request in _ours(common, name, task, model, is_asked_for, announce).items():
        add(contender, lambda request=request: request)  # type: ignore[misc]
    bundle = _bundle(common, name, PRECISIONS[-1])
    if not bundle.is_dir():  # the rows' tokens are ours, whoever is timed
        _export(common, name, task, model, PRECISIONS[-1])
    stock = StockGraphs(
        task,
        model,
        common.work,
        common.environments,
        threads=common.threads,
        announce=announce,
    )
    for contender, make in stock_contenders(stock, bundle, SHAPES).items():
        add(contender, make)
    workloads = shape_workloads(
        bundle, common.work, f"targets-{name}", ragged=False, masked=task == "fill-mask"
    )
    comparison.time(workloads, listener)
    for contender in comparison.results:
        announce(f"answers of {contender}")
        comparison.ask(
            contender,
            "save_outputs",
            {
                "feeds": workloads[0].request["feeds"],
                "outputs": str(_outputs_file(common, name, contender)),
            },
        )
    return comparison


def _ours(
    common: Common,
    name: str,
    task: str,
    model: Path,
    is_asked_for: Callable[[str], bool],
    announce: Announce,
) -> dict[str, dict[str, Any]]:
    """Requests of our contenders: one bundle per precision with all targets that run here."""
    requests: dict[str, dict[str, Any]] = {}
    for precision in PRECISIONS:
        own: dict[str, dict[str, Any]] = {}
        for target in targets_of(precision):
            request = {
                "kind": "bundle",
                "path": str(_bundle(common, name, precision)),
                "target": target,
            }
            fixed = request | ({"shapes": SHAPES} if target == "openvino" else {})
            own[f"{OURS}{target} {precision.upper()}"] = fixed
            if target == "openvino" and precision == "int8":
                own[OURS_OPENVINO + ANY_SHAPE] = request
        asked = {
            contender: request for contender, request in own.items() if is_asked_for(contender)
        }
        if asked and not (common.reuse and _bundle(common, name, precision).is_dir()):
            announce(f"export {precision}")
            _export(common, name, task, model, precision)
        requests |= asked
    return requests


def _export(common: Common, name: str, task: str, model: Path, precision: str) -> None:
    options = [part for target in targets_of(precision) for part in ("--target", target)]
    export_bundle(
        task,
        model,
        _bundle(common, name, precision),
        precision=precision,
        threads=common.threads,
        options=options,
    )


def _bundle(common: Common, name: str, precision: str) -> Path:
    return common.work / "bundles" / f"targets-{name}-{precision}"


def targets_of(precision: str) -> list[str]:
    """Targets of this machine's processor that are installed."""
    return [target.name for target in candidates(precision) if not target.gpu]


def stock_contenders(
    stock: StockGraphs, bundle: Path, shapes: Sequence[tuple[int, int]]
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Makers of the others' graphs: optimum's in ONNX Runtime, optimum's and NNCF's in OpenVINO.

    Args:
        stock: Makes them.
        bundle: Ours, whose calibration text NNCF gets.
        shapes: Rows and tokens that OpenVINO compiles its graphs for.
    """

    def openvino(make: Callable[[], Path], **options: Any) -> Callable[[], dict[str, Any]]:
        return lambda: {"kind": "openvino", "path": str(make()), **options}

    return {
        **{f"ONNX Runtime, optimum {name}": stock.maker(name) for name in STOCK_INT8},
        "OpenVINO FP32": openvino(stock.exported, precision="f32", shapes=shapes),
        "OpenVINO BF16": openvino(stock.exported, precision="bf16", shapes=shapes),
        NNCF: openvino(lambda: stock.nncf(bundle), shapes=shapes),
        NNCF + ANY_SHAPE: openvino(lambda: stock.nncf(bundle)),
    }


def _outputs_file(common: Common, name: str, contender: str) -> Path:
    folder = common.work / "answers"
    folder.mkdir(exist_ok=True)
    return folder / f"targets-{name} {contender}.npz"


def _sides(comparison: Comparison) -> tuple[list[str], list[str]]:
    """Names of ours, and of the others."""
    ours = [name for name in comparison.results if name.startswith(OURS)]
    return ours, [name for name in comparison.results if name not in ours]


def _sections(
    name: str, comparison: Comparison, notes: Sequence[str], *, part: str | None
) -> list[Section]:
    ours, others = _sides(comparison)
    best = {label: comparison.fastest(ours, label) for label in LABELS}

    def over(other: str) -> list[Cell]:
        ratios: list[Cell] = []
        for label, own in best.items():
            ratios.append(None if own is None else comparison.ratio(own, other, label))
        return ratios

    def over_nncf(form: str) -> list[Cell]:
        pair = (OURS_OPENVINO + form, NNCF + form)
        return [comparison.ratio(*pair, label) for label in LABELS]

    rows: list[list[Cell]] = [
        ["our best", *(None if own is None else own.removeprefix(OURS) for own in best.values())],
        *([f"over {other}", *over(other)] for other in others),
        ["over the best of them", *(comparison.best_over(ours, others, label) for label in LABELS)],
        ["our OpenVINO INT8 over NNCF's", *over_nncf("")],
        [f"our OpenVINO INT8 over NNCF's{ANY_SHAPE}", *over_nncf(ANY_SHAPE)],
    ]
    header = ("contender", *LABELS)
    return [
        Section(
            part=part,
            title=f"{name}: milliseconds of a call, median (95th percentile)",
            header=header,
            rows=comparison.table(LABELS),
        ),
        Section(
            part=part,
            title=f"{name}: our best, times as fast (95 % interval)",
            header=header,
            rows=rows,
            notes=notes,
        ),
    ]


def _bounds(name: str, comparison: Comparison) -> list[Bound]:
    ours, others = _sides(comparison)
    kind = ROWS[name][1]
    bounds = []
    for label in LABELS:
        if kind == "encoder":
            ratio = comparison.best_over(ours, [REFERENCE], label)
            what = f"{name} {label}: best over {REFERENCE}"
            bounds.append(Bound(what, ratio, _LEAST_SPEED_UP, "at least", "x"))
        ratio = comparison.best_over(ours, others, label)
        what = f"{name} {label}: best over the best peer"
        bounds.append(Bound(what, ratio, _LEVEL, "at least", "x"))
        ratio = comparison.ratio(OURS_OPENVINO, NNCF, label)
        what = f"{name} {label}: OpenVINO INT8 over NNCF"
        bounds.append(Bound(what, ratio, _OVER_NNCF[kind], "at least", "x"))
    return bounds


def _agreement(common: Common, name: str, comparison: Comparison) -> list[str]:
    """Whether the contenders answer alike: each against PyTorch in FP32."""
    reference = _outputs_file(common, name, REFERENCE)
    if comparison.results[REFERENCE].failure is not None:
        return []
    parts = [
        f"{contender} {compare_outputs(reference, _outputs_file(common, name, contender))}"
        for contender, result in comparison.results.items()
        if contender != REFERENCE and result.failure is None
    ]
    return [f"At {LABELS[0]}, cosine to {REFERENCE}: {'; '.join(parts)}."]


if __name__ == "__main__":
    main()
