"""The native target beside the fastest of everything else: our engines, other tools' INT8, BF16.

Usage::

    python scripts/benchmarks/native_peers.py --threads 1 --write
    python scripts/benchmarks/native_peers.py --threads 2 --weights bert-base --write

MiniLM, and random weights of BERT-base's size, as encoders. The others: our INT8 in OpenVINO,
compiled for each shape and for any, and in ONNX Runtime; NNCF's INT8 in OpenVINO and optimum's in
ONNX Runtime; BF16 in OpenVINO, of our graph and of the exported one, and in PyTorch. All get the
same arrays, none of them padded. Environments of the others are made below ``--work`` unless they
are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import Comparison, announcer, named_failures
from scripts.benchmarks.common.options import Announce, Common, benchmark
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.checkpoints import export_bundle, measured_checkpoint
from scripts.benchmarks.making.shapes import LABELS, SHAPES, shape_workloads
from scripts.benchmarks.making.stock_graphs import StockGraphs
from scripts.benchmarks.targets import ANY_SHAPE, NNCF, stock_contenders

TASK = "feature-extraction"
NATIVE = "native INT8"
LEAST: Mapping[str, tuple[Sequence[str], float]] = {
    "minilm": (LABELS, 2.3),
    "bert-base": (LABELS[:3], 1.7),
}
"""By weights: the shapes, and how many times as fast as the fastest other native is, with AMX."""
BESIDE = {
    "openvino INT8": NNCF,
    f"openvino INT8{ANY_SHAPE}": NNCF + ANY_SHAPE,
    "onnxruntime INT8": "ONNX Runtime, optimum optimized INT8",
    "openvino BF16": "openvino INT8",
}
"""What else is set beside each other: our other engines and those of other tools, and BF16."""


@benchmark("scripts/benchmarks/native_peers.py")
@click.option("--weights", type=click.Choice(list(LEAST)), multiple=True, help="May be repeated.")
def main(common: Common, listener: Listener, *, weights: Sequence[str]) -> Report:
    """Measure the native target against the fastest of all others."""
    machine = describe_machine()
    comparisons: dict[str, Comparison] = {
        name: _compare(common, listener, name) for name in weights or LEAST
    }
    return Report(
        benchmark="native",
        machine=machine,
        versions=installed_versions(),
        settings=common.settings,
        sections=[
            section(name, common.threads, comparison) for name, comparison in comparisons.items()
        ],
        figures={name: comparison.results for name, comparison in comparisons.items()},
        bounds=[
            bound
            for name, comparison in comparisons.items()
            for bound in bounds(name, comparison, str(machine["processor"]))
        ],
        notes=named_failures(comparisons),
    )


def _compare(common: Common, listener: Listener, weights: str) -> Comparison:
    """Make the contenders of some weights, and time them."""
    announce = announcer(listener, weights)
    announce("checkpoint")
    model = measured_checkpoint(weights, TASK, common.work, threads=common.threads)
    labels = LEAST[weights][0]
    shapes = [shape for shape, label in zip(SHAPES, LABELS, strict=True) if label in labels]
    int8 = _export(common, weights, model, "int8", announce)
    comparison = Comparison(common.under)
    for name, request in _ours(int8, _export(common, weights, model, "bf16", announce), shapes):
        comparison.add(name, lambda request=request: request)  # type: ignore[misc]
    torch = {
        "kind": "transformers",
        "path": str(model),
        "task": TASK,
        "precision": "bfloat16",
    }
    comparison.add("PyTorch BF16", lambda: torch)
    stock = StockGraphs(
        TASK, model, common.work, common.environments, threads=common.threads, announce=announce
    )
    for name, make in stock_contenders(stock, int8, shapes).items():
        if not name.endswith("FP32"):
            comparison.add(name, make)
    workloads = shape_workloads(
        int8, common.work, f"native-peers-{weights}", ragged=False, masked=False
    )
    comparison.time([one for one in workloads if one.label in labels], listener)
    return comparison


_TARGETS = {"int8": ("native", "openvino", "onnxruntime"), "bf16": ("openvino",)}


def _export(common: Common, weights: str, model: Path, precision: str, announce: Announce) -> Path:
    """Our bundle with every engine of a precision that is timed."""
    bundle = common.work / "bundles" / f"native-{weights}-{precision}"
    if not (common.reuse and bundle.is_dir()):
        announce(f"export {precision}")
        export_bundle(
            TASK,
            model,
            bundle,
            precision=precision,
            threads=common.threads,
            options=[part for target in _TARGETS[precision] for part in ("--target", target)],
        )
    return bundle


def _ours(
    int8: Path, bf16: Path, shapes: Sequence[tuple[int, int]]
) -> list[tuple[str, dict[str, Any]]]:
    """Names and requests of our engines, native first."""

    def request(bundle: Path, target: str, **options: Any) -> dict[str, Any]:
        return {"kind": "bundle", "path": str(bundle), "target": target, **options}

    return [
        (NATIVE, request(int8, "native")),
        ("openvino INT8", request(int8, "openvino", shapes=shapes)),
        (f"openvino INT8{ANY_SHAPE}", request(int8, "openvino")),
        ("onnxruntime INT8", request(int8, "onnxruntime")),
        ("openvino BF16", request(bf16, "openvino", shapes=shapes)),
    ]


def section(weights: str, threads: int, comparison: Comparison) -> Section:
    """Milliseconds of every contender, and how many times as fast native is."""
    labels = LEAST[weights][0]
    rows: list[list[Cell]] = []
    for name in comparison.results:
        row: list[Cell] = [name]
        for label in labels:
            row += [
                comparison.milliseconds(name, label),
                None if name == NATIVE else comparison.ratio(NATIVE, name, label),
            ]
        rows.append(row)
    for own, other in BESIDE.items():
        row = [f"{own} over {other}"]
        for label in labels:
            row += [None, comparison.ratio(own, other, label)]
        rows.append(row)
    best: list[Cell] = ["the fastest of them"]
    others = [name for name in comparison.results if name != NATIVE]
    for label in labels:
        best += [
            comparison.fastest(others, label),
            comparison.best_over([NATIVE], others, label),
        ]
    header = ["contender"]
    for label in labels:
        header += [f"{label}, ms", "native, times as fast"]
    counted = f"{threads} thread" + ("s" if threads > 1 else "")
    return Section(
        part=f"{weights}, {counted}",
        title=f"{weights}, {counted}: milliseconds of a call, and native over it",
        header=header,
        rows=[*rows, best],
        notes=comparison.failures,
    )


def bounds(weights: str, comparison: Comparison, processor: str) -> list[Bound]:
    """What native promises where the processor has AMX."""
    if processor != "AMX":
        return []
    labels, least = LEAST[weights]
    others = [name for name in comparison.results if name != NATIVE]
    return [
        Bound(
            f"{weights} {label}, native over the fastest other",
            comparison.best_over([NATIVE], others, label),
            least,
            "at least",
            "x",
        )
        for label in labels
    ]


if __name__ == "__main__":
    main()
