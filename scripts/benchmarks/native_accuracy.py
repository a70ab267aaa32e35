"""The native target's answers beside ONNX Runtime's: the same plan in two engines.

Usage::

    python scripts/benchmarks/native_accuracy.py
    python scripts/benchmarks/native_accuracy.py --only snips --limit 200

For every demonstration head one export writes both engines in INT8, over the same weights and
scales, and both answer the head's whole test set. Their outputs differ by rounding alone: native
multiplies queries, keys and values in BF16. A metric moves by whole answers, up as well as down, so
beside a difference stands its standard error by the choice of examples, and beside the metric how
far the outputs are from FP32's and from each other's. With ``--reuse`` a head that was scored
before, on as many records, is taken as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from bert_export.measuring.child import call_apart
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from scripts.benchmarks.accuracy import ERROR, SCORE, Scored
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.options import Announce, Common, benchmark
from scripts.benchmarks.common.places import DATA, WORKERS
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.checkpoints import export_bundle
from scripts.benchmarks.making.heads import HEADS, write_test_set

FP32, OTHER, NATIVE = "FP32", "onnxruntime INT8", "native INT8"
APART = "native beside onnxruntime, %"
MOST_LOST, MOST_APART = 0.1, 2.5
"""Points that native may lose beside the other, and how far outputs may be apart, in percent."""
_ENGINES = {
    FP32: ("fp32", "onnxruntime"),
    OTHER: ("int8", "onnxruntime"),
    NATIVE: ("int8", "native"),
}
"""Precision and target of each contender."""


@benchmark("scripts/benchmarks/native_accuracy.py")
@click.option("--only", type=click.Choice(list(HEADS)), multiple=True, help="May be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="Test records of each head, at most.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DATA,
    help="Folder of the open data sets.  [default: the one beside the checkout]",
)
def main(
    common: Common,
    listener: Listener,
    *,
    only: Sequence[str],
    limit: int | None,
    data: Path,
) -> Report:
    """The task's metric of every head, by engine."""
    if not data.is_dir():
        raise click.UsageError(f"no folder of data sets at {data}. Pass --data.")
    machine = describe_machine()
    names = only or tuple(HEADS)
    heads: dict[str, Scored] = {}
    for index, name in enumerate(names):

        def announce(what: str, index: int = index) -> None:
            listener.begin(what, done=index, total=len(names))

        heads[name] = _score(common, name, limit, data, announce)
    whole = limit is None and not only
    return Report(
        benchmark="accuracy, native",
        machine=machine,
        versions=installed_versions(),
        settings={"test records": limit or "all", "threads": common.threads},
        sections=list(sections(heads, whole=whole)),
        figures={name: scored.figures for name, scored in heads.items()},
        bounds=[bound for name, scored in heads.items() for bound in bounds(name, scored)],
    )


def _score(common: Common, name: str, limit: int | None, data: Path, announce: Announce) -> Scored:
    """Export a head's bundles, and let every engine answer its test set."""
    head = HEADS[name]
    folder = common.work / "accuracy" / "native" / name
    folder.mkdir(parents=True, exist_ok=True)
    test, kept = folder / "test.jsonl", folder / "scored.json"
    records = write_test_set(head, data, test, limit)
    if common.reuse and kept.is_file():
        before = msgspec.json.decode(kept.read_bytes(), type=_Kept)
        if before.records == records:
            return Scored(before.metric, before.figures, before.replicates)
    for precision in dict.fromkeys(precision for precision, _ in _ENGINES.values()):
        if common.reuse and (folder / precision).is_dir():
            continue
        announce(f"{name}: export {precision}")
        targets = [target for own, target in _ENGINES.values() if own == precision]
        export_bundle(
            head.task,
            f"demo:{head.demo}",
            folder / precision,
            precision=precision,
            threads=common.threads,
            options=[part for target in targets for part in ("--target", target)],
        )
    scored = Scored()
    for contender, (precision, target) in _ENGINES.items():
        announce(f"{name}: {contender}")
        request = {
            "kind": "bundle",
            "path": str(folder / precision),
            "target": target,
            "beside": _ENGINES[OTHER][1] if contender == NATIVE else None,
            "fp32": str(folder / "fp32"),
            "data": str(test),
            "compare": False,
            "threads": common.threads,
        }
        _take(scored, contender, _answers(request, common.threads))
    found = _Kept(records, scored.metric, scored.figures, dict(scored.replicates))
    kept.write_bytes(msgspec.json.encode(found))
    return scored


class _Kept(msgspec.Struct):
    """What a head's run leaves for one that reuses it; see :class:`Scored`."""

    records: int
    metric: str
    figures: dict[str, dict[str, float]]
    replicates: dict[str, Sequence[float]]


def _answers(request: Mapping[str, Any], threads: int) -> Mapping[str, Any]:
    """Let a process answer the whole test set."""
    reply: Mapping[str, Any] = call_apart(
        WORKERS / "score.py", "score", request, threads=threads
    ).reply
    return reply


def _take(scored: Scored, contender: str, result: Mapping[str, Any]) -> None:
    scored.metric, scored.replicates[contender] = result["metric"], result["replicates"]
    scored.figures[contender] = {SCORE: result["score"], ERROR: 100 * result["error"]}
    if result["apart"] is not None:
        scored.figures[contender][APART] = 100 * result["apart"]


def sections(heads: Mapping[str, Scored], *, whole: bool) -> Iterator[Section]:
    """What the metric loses, and how far the outputs are off."""
    losses: list[list[Cell]] = [
        [
            f"{name}, {scored.metric}",
            scored.figure(FP32, SCORE),
            *(scored.loss(contender) for contender in (OTHER, NATIVE)),
            _lost_beside(scored),
            scored.apart(NATIVE, OTHER),
        ]
        for name, scored in heads.items()
    ]
    yield Section(
        part="points lost" if whole else None,
        title="Points of the metric lost against FP32, and by native beside onnxruntime",
        header=(
            "head and metric",
            FP32,
            OTHER,
            NATIVE,
            "native loses beside onnxruntime",
            "standard error of that",
        ),
        rows=losses,
    )
    errors: list[list[Cell]] = [
        [
            name,
            *(scored.figure(contender, ERROR) for contender in (OTHER, NATIVE)),
            scored.figure(NATIVE, APART),
        ]
        for name, scored in heads.items()
    ]
    yield Section(
        part="error of outputs" if whole else None,
        title="Root mean square of the outputs' error against FP32, % of their spread",
        header=("head", OTHER, NATIVE, APART),
        rows=errors,
    )


def _lost_beside(scored: Scored) -> float | None:
    """Points that native loses more than the other engine."""
    own, other = scored.loss(NATIVE), scored.loss(OTHER)
    return None if own is None or other is None else own - other


def bounds(name: str, scored: Scored) -> Iterator[Bound]:
    """Level within a standard error and a tenth of a point, and outputs that differ by rounding."""
    lost, error = _lost_beside(scored), scored.apart(NATIVE, OTHER)
    what = f"{name}: native loses beside onnxruntime"
    yield Bound(what, lost, MOST_LOST, "at most", "points")
    if lost is not None and error is not None:
        yield Bound(f"{what}, beside one standard error", lost, error, "at most", "points")
    apart = scored.figure(NATIVE, APART)
    yield Bound(f"{name}: outputs of both apart", apart, MOST_APART, "at most", "% of the spread")


if __name__ == "__main__":
    main()
