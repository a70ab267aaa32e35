"""The native target: its engine against the others of the same bundle, and each operation.

Usage::

    python scripts/benchmarks/native.py --threads 1 BUNDLE...
    python scripts/benchmarks/native.py --quick BUNDLE

Each BUNDLE holds the targets native, openvino and onnxruntime in one precision, made by one command
such as ``bert-export --task feature-extraction --int8 --target native --target openvino --target
onnxruntime``. All run the same arrays: padded ones of the usual shapes, and ragged ones, whose rows
have a quarter to all of the longest one's tokens. What is timed for native includes taking the
padding away and putting it back.

The operations are timed by a program that is built with CMake below ``--work``: the fastest call
of each, in processor time, with trillions of operations a second where products are most of it. A
second program tells what the instructions give at most, from registers alone; a table sets a layer
of MiniLM beside that.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from bert_export.bundle import read_manifest
from bert_export.errors import MeasurementError, one_line
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.comparison import Comparison
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.shapes import LABELS, shape_workloads

NATIVE = "native"
OTHERS = ("openvino", "onnxruntime")
SOURCES = Path(__file__).parent / "cpp"
PROGRAMS = ("instruction_peak", "native_operations")
LINEAR, ATTENTION = "peak of linear layers", "peak of attention"
"""Names of the first program's lines."""
LAYER = {
    "queries 128x384x384": 3,  # and keys and values
    "attention, a head of 128x32": 12,
    "attention output 128x384x384": 1,
    "norm and bytes 128x384": 2,
    "inner with GELU 128x384x1536": 1,
    "output 128x1536x384": 1,
}
"""The operations of a layer of MiniLM over a text of 128 tokens, and how often each."""
LEAST_SPEED_UP = {384: 2.3, 768: 1.7}
"""Over the fastest other engine, on a processor with AMX, by hidden size."""
_SECONDS = {True: 0.02, False: 0.5}
"""Of processor time for each operation, quick or not."""


@benchmark("scripts/benchmarks/native.py")
@click.argument(
    "bundles",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    nargs=-1,
    required=True,
)
def main(common: Common, listener: Listener, *, bundles: Sequence[Path]) -> Report:
    """Measure the native target against the other engines of each bundle."""
    listener.begin("building", done=0, total=1 + len(bundles))
    operations = read_operations(_run_operations(common.work, seconds=_SECONDS[common.quick]))
    comparisons: dict[str, Comparison] = {}
    for bundle in bundles:
        for kind in ("padded", "ragged"):
            comparisons[f"{bundle.name} {kind}"] = _compare(
                common, listener, bundle, ragged=kind == "ragged"
            )
    return Report(
        benchmark="native",
        machine=describe_machine(),
        versions=installed_versions(),
        settings=common.settings,
        sections=[
            *(_speed_section(name, comparison) for name, comparison in comparisons.items()),
            operations_section(operations),
            layer_section(operations),
        ],
        figures={name: comparison.results for name, comparison in comparisons.items()}
        | {"operations": operations},
        bounds=_bounds(bundles, comparisons, amx="amx" in operations),
    )


def _compare(common: Common, listener: Listener, bundle: Path, *, ragged: bool) -> Comparison:
    """Time a bundle's engines at the usual shapes."""
    comparison = Comparison(common.under)
    for target in (NATIVE, *OTHERS):
        request = {"kind": "bundle", "path": str(bundle), "target": target}
        comparison.add(target, lambda request=request: request)  # type: ignore[misc]
    workloads = shape_workloads(
        bundle,
        common.work,
        f"native-{bundle.name}-{'ragged' if ragged else 'padded'}",
        ragged=ragged,
        masked=read_manifest(bundle).task == "fill-mask",
    )
    comparison.time(workloads, listener)
    return comparison


def _speed_section(name: str, comparison: Comparison) -> Section:
    """Milliseconds of each engine, and how many times as fast native is."""
    rows: list[list[Cell]] = []
    for label in LABELS:
        timings = [comparison.results[target].timings.get(label) for target in (NATIVE, *OTHERS)]
        rows.append(
            [
                label,
                *(None if timing is None else 1e3 * timing.pass_seconds for timing in timings),
                *(comparison.ratio(NATIVE, target, label) for target in OTHERS),
            ]
        )
    milliseconds = [f"{target}, ms" for target in (NATIVE, *OTHERS)]
    ratios = [f"{NATIVE} over {target}" for target in OTHERS]
    return Section(part=name, title=name, header=["shape", *milliseconds, *ratios], rows=rows)


Operations = Mapping[str, Mapping[str, tuple[float, float]]]
"""By instruction set and operation: microseconds, and trillions of operations a second."""


def _run_operations(work: Path, *, seconds: float) -> str:
    """What the programs print, which are built first.

    Raises:
        MeasurementError: CMake, the compiler or a program fails.
    """
    cmake = shutil.which("cmake")
    if cmake is None:
        raise MeasurementError("program cmake is not installed", expected="CMake on PATH")
    folder = work / "cpp"
    configure = (cmake, "-S", str(SOURCES), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release")
    build = (cmake, "--build", str(folder), "--parallel", "2", "--target", *PROGRAMS)
    printed = ""
    for command in (
        configure,
        build,
        *((str(folder / program), str(seconds)) for program in PROGRAMS),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MeasurementError(
                f"programs {' and '.join(PROGRAMS)} cannot be built or run",
                got=one_line(done.stderr, keep_end=True),
            )
        printed += done.stdout if command not in (configure, build) else ""
    return printed


def read_operations(output: str) -> Operations:
    """The lines of the programs, by instruction set and operation."""
    operations: dict[str, dict[str, tuple[float, float]]] = {}
    for line in output.splitlines():
        isa, name, microseconds, tops = line.split("|")
        operations.setdefault(isa, {})[name] = (float(microseconds), float(tops))
    return operations


def peak_of(operation: str) -> str:
    """Whose peak an operation is measured by."""
    return ATTENTION if operation.startswith("attention,") else LINEAR


def operations_section(operations: Operations) -> Section:
    """A row per operation, and three columns per instruction set."""
    names = list(next(iter(operations.values()), {}))
    header = ["operation"]
    for isa in operations:
        header += [f"{isa}, us", "TOP/s", "% of the peak"]
    rows: list[list[Cell]] = []
    for name in names:
        row: list[Cell] = [name]
        for own in operations.values():
            microseconds, tops = own[name]
            if name in (LINEAR, ATTENTION):
                row += [None, tops, 100.0]
            else:
                row += [microseconds, tops or None, 100 * tops / own[peak_of(name)][1] or None]
        rows.append(row)
    return Section(part="native-operations", title="Operations", header=header, rows=rows)


def layer_section(operations: Operations) -> Section:
    """Where the time of a layer goes with the fastest instruction set, and what its peak leaves."""
    isa, own = list(operations.items())[-1]
    whole = sum(own[name][0] * times for name, times in LAYER.items())
    rows: list[list[Cell]] = []
    least = 0.0
    for name, times in LAYER.items():
        microseconds, tops = own[name]
        used, at_peak = microseconds * times, microseconds * times * tops / own[peak_of(name)][1]
        least += at_peak
        rows.append([name, float(times), used, 100 * used / whole, at_peak, used - at_peak])
    rows.append(["the layer", None, whole, 100.0, least, whole - least])
    return Section(
        part="layer",
        title=f"A layer of MiniLM over 128 tokens, {isa}, operations timed one by one",
        header=["operation", "times", "us", "% of the layer", "us at the peak", "us beyond it"],
        rows=rows,
        notes=[
            "Beyond the peak: loads, stores, scales, biases, GELU, softmax and the outputs' format."
        ],
    )


def _bounds(
    bundles: Sequence[Path], comparisons: Mapping[str, Comparison], *, amx: bool
) -> list[Bound]:
    """On a processor with AMX, for each shape of the padded batches."""
    bounds: list[Bound] = []
    for bundle in bundles if amx else ():
        limit = LEAST_SPEED_UP.get(read_manifest(bundle).model.hidden_size)
        if limit is None:
            continue
        comparison = comparisons[f"{bundle.name} padded"]
        bounds += [
            Bound(
                f"{bundle.name} {label}, native over the fastest other engine",
                comparison.best_over([NATIVE], OTHERS, label),
                limit,
                "at least",
                "x",
            )
            for label in LABELS
        ]
    return bounds


if __name__ == "__main__":
    main()
