"""New tokens a second of a causal BERT of base size.

Usage::

    python scripts/benchmarks/generation.py                 # 64 tokens behind 64
    python scripts/benchmarks/generation.py --tokens 128 --new 32

Contenders: our INT8 in the native target (``bert-export cpp --native`` builds what runs it) and in
ONNX Runtime, our FP32, the INT8 graph without its cache, which runs all tokens again
for each new one, and the original's ``generate`` in FP32 with its cache. Weights are random, which
changes no speed. One prompt, and eight at once.

A step of one text reads every weight once and uses it once, so memory bounds it: INT8 reads a
quarter of the bytes. With eight texts a weight is used eight times, and computing counts more.
"""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Contender, Listener, Measured
from bert_export.measuring.workloads import Workload
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import Comparison, named_failures
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.places import WORKERS
from scripts.benchmarks.common.report import Report, Section
from scripts.benchmarks.making.checkpoints import CAUSAL, export_bundle, random_checkpoint

TASK = "text-generation"
NATIVE, INT8, FP32 = "ours INT8, native", "ours INT8", "ours FP32"
RECOMPUTE, ORIGINAL = "ours INT8, no cache", "transformers FP32"
ROWS = (1, 8)
LEAST = {
    (1, NATIVE, INT8): 1.4,
    (1, NATIVE, ORIGINAL): 6.0,
    (1, NATIVE, RECOMPUTE): 8.0,
    (8, NATIVE, ORIGINAL): 4.0,
}
"""Tokens a second of one contender over another's, by rows."""

_BUNDLES = {
    NATIVE: ("int8", "native"),
    INT8: ("int8", "onnxruntime"),
    FP32: ("fp32", "onnxruntime"),
}
"""Precision and target."""


@benchmark("scripts/benchmarks/generation.py", seconds=20.0)
@click.option("--tokens", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--new", type=click.IntRange(min=1), default=64, show_default=True)
def main(common: Common, listener: Listener, *, tokens: int, new: int) -> Report:
    """New tokens per second, with and without a cache, and of the original."""
    new = min(new, 4) if common.quick else new
    comparison = _contenders(common, listener)
    workloads = [
        Workload(
            label=_label(rows),
            rows=rows * new,
            request={"rows": rows, "tokens": tokens, "new": new},
        )
        for rows in ROWS
    ]
    comparison.time(workloads, listener)
    return Report(
        benchmark="generation",
        machine=describe_machine(),
        versions=installed_versions(),
        settings=common.settings | {"tokens": tokens, "new tokens": new},
        sections=[_section(comparison, rows) for rows in ROWS],
        figures={TASK: comparison.results},
        bounds=bounds(comparison),
        notes=[*named_failures({TASK: comparison}), _agreement(comparison, workloads[1].request)],
    )


def _label(rows: int) -> str:
    return "one text" if rows == 1 else f"{rows} texts"


def _contenders(common: Common, listener: Listener) -> Comparison:
    listener.begin("checkpoint and bundles", done=0, total=1)
    model = random_checkpoint(CAUSAL, common.work, threads=common.threads)
    comparison = Comparison(common.under)
    requests = {}
    for name, (precision, target) in _BUNDLES.items():
        label = precision if target == "onnxruntime" else f"{precision}-{target}"
        folder = common.work / "bundles" / f"{TASK}-base-{label}"
        requests[name] = {"kind": "bundle", "path": str(folder)}
        if common.reuse and folder.is_dir():
            continue
        export_bundle(
            TASK,
            model,
            folder,
            precision=precision,
            threads=common.threads,
            options=("--target", target),
        )
    requests |= {
        RECOMPUTE: {"kind": "recompute", "path": requests[INT8]["path"]},
        ORIGINAL: {"kind": "transformers", "path": str(model)},
    }
    for name, request in requests.items():
        comparison.results[name] = Measured()
        comparison.contenders[name] = Contender(
            name=name, worker=WORKERS / "generate.py", request=request
        )
    return comparison


def _agreement(comparison: Comparison, request: dict[str, Any]) -> str:
    """Whether FP32 gives the original's tokens."""
    ours, theirs = (comparison.ask(name, "tokens", request) for name in (FP32, ORIGINAL))
    if ours is None or theirs is None:
        return "The tokens of FP32 and of the original are not compared."
    same = np.mean(np.asarray(ours["tokens"]) == np.asarray(theirs["tokens"]))
    return f"{100 * same:.2f} % of the tokens of FP32 are the original's."


def _section(comparison: Comparison, rows: int) -> Section:
    label = _label(rows)
    return Section(
        part=label,
        title=f"{label}: medians, and how many times as fast native INT8 is",
        header=("contender", "new tokens/s", "peak, MB", "native INT8, times as fast"),
        rows=comparison.rates_table(NATIVE, label),
    )


def bounds(comparison: Comparison) -> list[Bound]:
    """What must hold."""
    return [
        Bound(
            f"{_label(rows)}, {name} over {other}",
            comparison.ratio(name, other, _label(rows)),
            least,
            "at least",
            "x",
        )
        for (rows, name, other), least in LEAST.items()
    ]


if __name__ == "__main__":
    main()
