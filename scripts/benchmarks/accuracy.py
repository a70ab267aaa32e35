"""Accuracy: what INT8 costs on real heads, ours and that of the tools that a user has today.

Usage::

    python scripts/benchmarks/accuracy.py
    python scripts/benchmarks/accuracy.py --only snips --limit 200    # a quick look
    python scripts/benchmarks/accuracy.py --fine-tuned                # fully trained heads instead

The heads are the demonstrations, or with ``--fine-tuned`` fully fine-tuned ones, which are trained
from the open data when they are not in the work folder yet. Test sets are the data sets' own.
Every contender has the same weights, and its answers are made by the same pipelines; foreign graphs
are made of the plain export with the same calibration rows as ours. The contender with a budget is
given the test set itself: what is shown is whether ``--max-drop`` keeps what it promises. Formats
of other processors are scored on this one, which computes ours exactly, if slower; without VNNI the
other tools' 8-bit weights saturate, as they do for their users. A metric moves by whole answers, so
beside a difference stands its standard error by the choice of examples, and beside the metric how
far the outputs are from FP32's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import click

from bert_export.errors import MeasurementError
from bert_export.evaluation.jackknife import standard_error
from bert_export.measuring.child import call_apart
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Listener
from bert_export.runtime.processor import detect_processor
from scripts.benchmarks.common.bounds import Bound, quotient
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.places import DATA, WORKERS
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.accuracy import (
    BUDGET,
    CONTENDERS,
    DYNAMIC,
    FP32,
    MADE_FOR,
    NNCF,
    OURS,
    STATIC,
    Workshop,
    float_share,
)
from scripts.benchmarks.making.heads import HEADS

MAX_LOSS, MAX_MEAN_LOSS, BUDGET_LOSS, LEAST_COSINE = 0.5, 0.2, 0.1, 0.995
CHANCE = 2.0
"""Standard errors within which two contenders' points are level."""
SCORE, LOSS, CHOICE = "score", "lost, points", "standard error, points"
ERROR = "error of outputs, %"
COSINE, FLOATS = "cosine", "in float, %"
_OTHERS = (DYNAMIC, STATIC, NNCF)
_PACKAGES = ("bert-export", "numpy", "onnxruntime", "openvino", "tokenizers", "torch")


@dataclass(slots=True)
class Scored:
    """A head's contenders on its test set.

    Args:
        metric: The figure that counts.
        figures: By contender and name.
        replicates: The figure that counts without each group of the records, by contender.
    """

    metric: str = ""
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    replicates: dict[str, Sequence[float]] = field(default_factory=dict)

    def figure(self, contender: str, what: str) -> float | None:
        """A figure; ``None`` where it was not measured."""
        return self.figures.get(contender, {}).get(what)

    def loss(self, contender: str) -> float | None:
        """Points of the metric lost against FP32; less than 0 where it gains."""
        exact, score = self.figure(FP32, SCORE), self.figure(contender, SCORE)
        return None if exact is None or score is None else 100 * (exact - score)

    def apart(self, contender: str, other: str) -> float | None:
        """Standard error of the points between two, by the choice of examples."""
        if contender not in self.replicates or other not in self.replicates:
            return None
        error = standard_error(self.replicates[contender], self.replicates[other])
        return None if error is None else 100 * error

    def errors(self) -> dict[str, float]:
        """Standard errors of the points that each loses, and of those between ours and each."""
        pairs = {(contender, FP32) for contender in self.figures if contender != FP32}
        pairs |= {(contender, OURS) for contender, _ in pairs if contender != OURS}
        errors = {
            f"{contender} against {other}": self.apart(contender, other)
            for contender, other in sorted(pairs)
        }
        return {pair: error for pair, error in errors.items() if error is not None}


@benchmark("scripts/benchmarks/accuracy.py")
@click.option("--only", type=click.Choice(list(HEADS)), multiple=True, help="May be repeated.")
@click.option(
    "--contender",
    "asked",
    type=click.Choice(CONTENDERS[1:]),
    multiple=True,
    help="May be repeated.  [default: all that can be made and differ on this processor]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Test records of each head, at most.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DATA,
    help="Folder of the open data sets.  [default: the one beside the checkout]",
)
@click.option("--fine-tuned", is_flag=True, help="Fully fine-tuned heads.")
@click.option(
    "--epochs",
    type=click.FloatRange(min=0, min_open=True),
    help="Of that training.  [default: those of the demonstration]",
)
def main(
    common: Common,
    listener: Listener,
    *,
    only: Sequence[str],
    asked: Sequence[str],
    limit: int | None,
    data: Path,
    fine_tuned: bool,
    epochs: float | None,
) -> Report:
    """The task's metric of every head, by contender."""
    if not data.is_dir():
        raise click.UsageError(f"no folder of data sets at {data}. Pass --data.")
    machine = describe_machine()
    others = [name for name in CONTENDERS if name != MADE_FOR[detect_processor()]]
    contenders = [name for name in CONTENDERS if name == FP32 or name in (asked or others)]
    shop = Workshop(
        common.work,
        data,
        common.threads,
        limit,
        fine_tuned,
        epochs,
        common.environments,
    )
    names = [name for name in only or HEADS if not fine_tuned or HEADS[name].recipe is not None]
    heads: dict[str, Scored] = {}
    for index, name in enumerate(names):

        def announce(what: str, index: int = index) -> None:
            listener.begin(what, done=index, total=len(names))

        requests = shop.make(name, HEADS[name], contenders, announce)
        heads[name] = scored = Scored()
        for contender, request in requests.items():
            announce(f"{name}: {contender}")
            try:
                _score(request, scored, contender, common.threads)
            except MeasurementError as error:
                shop.notes.append(f"{name}: {contender} was not scored: {error}")
    return Report(
        benchmark="accuracy, fine-tuned" if fine_tuned else "accuracy",
        machine=machine,
        versions=installed_versions(_PACKAGES),
        settings={
            "heads": "fully fine-tuned" if fine_tuned else "demonstrations",
            "test records": limit or "all",
            "threads": common.threads,
        },
        sections=[
            section if limit is None and not asked else replace(section, part=None)
            for section in _sections(heads, whole=not only)
        ],
        figures={
            name: {"figures": scored.figures, "standard errors": scored.errors()}
            for name, scored in heads.items()
        },
        bounds=_bounds(heads),
        notes=shop.notes,
    )


def _score(request: Mapping[str, Any], scored: Scored, contender: str, threads: int) -> None:
    """Let a process answer the whole test set."""
    result = call_apart(WORKERS / "score.py", "score", request, threads=threads).reply
    scored.metric, scored.replicates[contender] = result["metric"], result["replicates"]
    scored.figures[contender] = {SCORE: result["score"], ERROR: 100 * result["error"]}
    if result["agreement"] is not None:
        scored.figures[contender][COSINE] = result["agreement"]
    share = float_share(Path(request["path"])) if request["kind"] == "bundle" else None
    if share is not None:
        scored.figures[contender][FLOATS] = 100 * share


def _mean_loss(heads: Mapping[str, Scored], contender: str) -> float | None:
    losses = [scored.loss(contender) for scored in heads.values()]
    known = [loss for loss in losses if loss is not None]
    return mean(known) if known and len(known) == len(losses) else None


def _sections(heads: Mapping[str, Scored], *, whole: bool) -> list[Section]:
    """Tables over all heads, for the page where all are in them, and one per head."""
    over_all = [_losses(heads), _chances(heads), _errors(heads)]
    if not whole:
        over_all = [replace(section, part=None) for section in over_all]
    return [*over_all, *(_section(name, scored) for name, scored in heads.items())]


def _section(name: str, scored: Scored) -> Section:
    rows: list[list[Cell]] = [
        [
            contender,
            scored.figure(contender, SCORE),
            scored.loss(contender),
            scored.apart(contender, FP32),
            *(scored.figure(contender, what) for what in (ERROR, COSINE, FLOATS)),
        ]
        for contender in scored.figures
    ]
    return Section(
        part=name,
        title=f"{name}: {scored.metric}",
        header=("contender", SCORE, LOSS, CHOICE, ERROR, COSINE, FLOATS),
        rows=rows,
    )


def _losses(heads: Mapping[str, Scored]) -> Section:
    others = _contenders(heads)
    rows: list[list[Cell]] = [
        [name, scored.figure(FP32, SCORE), *map(scored.loss, others)]
        for name, scored in heads.items()
    ]
    rows.append(["mean", None, *(_mean_loss(heads, contender) for contender in others)])
    return Section(
        part="points lost",
        title="Points lost against FP32",
        header=("head", FP32, *others),
        rows=rows,
    )


def _chances(heads: Mapping[str, Scored]) -> Section:
    others = [name for name in _contenders(heads) if name != OURS]
    return Section(
        part="standard errors",
        title=f"Standard error of the points between {OURS} and each other",
        header=("head", *others),
        rows=[
            (name, *(scored.apart(OURS, contender) for contender in others))
            for name, scored in heads.items()
        ],
    )


def _errors(heads: Mapping[str, Scored]) -> Section:
    others = _contenders(heads)
    return Section(
        part="error of outputs",
        title="Error of the outputs against FP32, % of their spread",
        header=("head", *others),
        rows=[
            (name, *(scored.figure(contender, ERROR) for contender in others))
            for name, scored in heads.items()
        ],
    )


def _contenders(heads: Mapping[str, Scored]) -> list[str]:
    return [
        name for name in CONTENDERS[1:] if any(name in scored.figures for scored in heads.values())
    ]


def _least(values: Mapping[str, float | None]) -> tuple[str, float] | None:
    """The smallest of those that were measured, and its name."""
    known = [(name, value) for name, value in values.items() if value is not None]
    return min(known, key=lambda pair: pair[1], default=None)


def _bounds(heads: Mapping[str, Scored]) -> list[Bound]:
    bounds = [bound for name, scored in heads.items() for bound in _bounds_of_head(name, scored)]
    ours = _mean_loss(heads, OURS)
    if ours is not None:
        bounds.append(Bound(f"mean: {OURS} loses", ours, MAX_MEAN_LOSS, "at most", "points"))
    best = _least({other: _mean_loss(heads, other) for other in _OTHERS})
    if ours is not None and best is not None:
        bounds.append(
            Bound(
                f"mean: {OURS} loses more than the best of the others ({best[0]})",
                ours - best[1],
                0.0,
                "at most",
                "points",
            )
        )
    return bounds


def _bounds_of_head(name: str, scored: Scored) -> Iterator[Bound]:
    ours = scored.loss(OURS)
    if OURS in scored.figures:
        yield Bound(f"{name}: {OURS} loses", ours, MAX_LOSS, "at most", "points")
        cosine = scored.figure(OURS, COSINE)
        if cosine is not None:
            what = f"{name}: mean cosine with FP32"
            yield Bound(what, cosine, LEAST_COSINE, "at least", "")
    best = _least({other: scored.loss(other) for other in _OTHERS})
    if ours is not None and best is not None:
        yield Bound(
            f"{name}: {OURS} loses more than the best of the others ({best[0]})",
            0.0 if ours <= best[1] else quotient(ours - best[1], scored.apart(OURS, best[0])),
            CHANCE,
            "at most",
            "standard errors",
        )
    error = scored.figure(OURS, ERROR)
    closest = _least({other: scored.figure(other, ERROR) for other in _OTHERS})
    if error is not None and closest is not None:
        what = f"{name}: {OURS}'s error of outputs over the best of the others' ({closest[0]})"
        yield Bound(what, quotient(error, closest[1]), 1.0, "at most", "times")
    if BUDGET in scored.figures:
        kept = scored.loss(BUDGET)
        yield Bound(f"{name}: {BUDGET} loses", kept, BUDGET_LOSS, "at most", "points")


if __name__ == "__main__":
    main()
