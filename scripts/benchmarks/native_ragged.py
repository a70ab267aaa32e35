"""The native target on texts of unequal length: many short ones, and batches of all lengths.

Usage::

    python scripts/benchmarks/native_ragged.py --threads 1 --write BUNDLE

BUNDLE embeds sentences and holds the targets native, openvino and onnxruntime in INT8. Measured:

- *texts*: real short texts, tokenizing included, a slice of them in a call, so that turns lie close
  together; the padded engines get each slice sorted by length, as our pipelines do.
- *batches*: arrays of rows whose lengths are drawn from 5 to 500 tokens. The padded engines run the
  arrays as they are; native takes the padding away and puts it back, which is timed with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from bert_export.measuring.child import call_apart
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from bert_export.measuring.workloads import Workload
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import Comparison
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.places import WORKERS
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.texts import read_texts

NATIVE, OPENVINO, ONNXRUNTIME = "native", "openvino", "onnxruntime"
EACH, LENGTHS, ROWS, BATCHES = 250, (5, 500), 8, 8
"""Short texts of a slice; tokens of a row at least and at most; rows of a batch; batches."""
SHORT = f"short texts, {EACH} a call"
MIXED = f"batches of {ROWS} rows of {LENGTHS[0]} to {LENGTHS[1]} tokens"
PADDED = (OPENVINO, ONNXRUNTIME)
LEAST_TEXTS = {"AMX": 1.8, "AVX512-VNNI": 1.3}
"""Over our OpenVINO bundle, by kind of processor."""
LEAST_MIXED = 2.0
"""Over the fastest engine of padded batches."""


@benchmark("scripts/benchmarks/native_ragged.py")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=3000, show_default=True)
def main(common: Common, listener: Listener, *, bundle: Path, count: int) -> Report:
    """Measure the native target on texts of unequal length."""
    machine = describe_machine()
    texts, source = read_texts(min(count, EACH) if common.quick else count)
    comparison = Comparison(common.under)
    for target in (NATIVE, *PADDED):
        request = {"kind": "bundle", "path": str(bundle), "target": target}
        comparison.add(target, lambda request=request: request)  # type: ignore[misc]
    comparison.time(_workloads(common, bundle, texts), listener)
    words = sum(len(text.split()) for text in texts) / len(texts)
    return Report(
        benchmark="native_ragged",
        machine=machine,
        versions=installed_versions(),
        settings=common.settings
        | {"texts": f"{len(texts)} of {source}", "words per text": round(words, 1)},
        sections=[section(comparison, common.threads)],
        figures=comparison.results,
        bounds=bounds(comparison, str(machine["processor"])),
        notes=comparison.failures,
    )


def _workloads(common: Common, bundle: Path, texts: Sequence[str]) -> list[Workload]:
    folder = common.work / "ragged"
    folder.mkdir(parents=True, exist_ok=True)
    short, batches = folder / "short.json", folder / "batches.npz"
    short.write_text(json.dumps(texts), encoding="utf-8")
    request = {
        "bundle": str(bundle),
        "lengths": LENGTHS,
        "rows": ROWS,
        "count": BATCHES,
        "batches": str(batches),
    }
    call_apart(WORKERS / "feeds.py", "write_mixed", request, threads=1)
    return [
        Workload(label=SHORT, rows=len(texts), request={"texts": str(short), "each": EACH}),
        Workload(label=MIXED, rows=ROWS * BATCHES, request={"batches": str(batches)}),
    ]


def section(comparison: Comparison, threads: int) -> Section:
    """Texts a second of each engine, and how many times as fast native is."""
    names = list(comparison.results)
    rows: list[list[Cell]] = []
    for label in (SHORT, MIXED):
        timings = [comparison.results[name].timings.get(label) for name in names]
        rows.append(
            [
                label,
                *(None if timing is None else timing.rows_per_second for timing in timings),
                *(comparison.ratio(NATIVE, name, label) for name in names if name != NATIVE),
            ]
        )
    counted = f"{threads} thread" + ("s" if threads > 1 else "")
    return Section(
        part=counted,
        title=f"{counted}: texts a second, and native over each engine",
        header=[
            "texts",
            *(f"{name}, a second" for name in names),
            *(f"native over {name}" for name in names if name != NATIVE),
        ],
        rows=rows,
    )


def bounds(comparison: Comparison, processor: str) -> list[Bound]:
    """What native promises on such a processor."""
    found = []
    least = LEAST_TEXTS.get(processor)
    if least is not None:
        ratio = comparison.ratio(NATIVE, OPENVINO, SHORT)
        found.append(Bound(f"{SHORT}: native over openvino", ratio, least, "at least", "x"))
    ratio = comparison.best_over([NATIVE], PADDED, MIXED)
    what = f"{MIXED}: native over the fastest padded engine"
    found.append(Bound(what, ratio, LEAST_MIXED, "at least", "x"))
    return found


if __name__ == "__main__":
    main()
