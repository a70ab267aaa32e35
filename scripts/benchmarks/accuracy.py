"""Accuracy: what INT8 costs on real heads, ours and that of the tools that a user has today.

Usage::

    python scripts/bench_accuracy.py                             # FP32, ours, ONNX Runtime's two
    python scripts/bench_accuracy.py --nncf-python nncf/bin/python
    python scripts/bench_accuracy.py --only snips --limit 200    # a quick look
    python scripts/bench_accuracy.py --fine-tuned                # fully trained heads instead

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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import click
from measuring.accuracy import (
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
from measuring.children import run_worker
from measuring.figures import Bound, Samples, ratio
from measuring.heads import HEADS
from measuring.machine import describe_machine, installed_versions
from measuring.options import Common, benchmark, steps
from measuring.report import Report, Section
from measuring.turns import Contender, take_turns

from bert_export.evaluation.jackknife import standard_error
from bert_export.runtime.processor import detect_processor

MAX_LOSS, MAX_MEAN_LOSS, BUDGET_LOSS, LEAST_COSINE = 0.5, 0.2, 0.1, 0.995
CHANCE = 2.0
"""Standard errors within which two contenders' points are level."""
SCORE, LOSS, CHOICE = "score", "lost, points", "standard error, points"
ERROR = "error of outputs, %"
SECONDS, COSINE, FLOATS = "seconds", "cosine", "in float, %"
_OTHERS = (DYNAMIC, STATIC, NNCF)
_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_PACKAGES = ("bert-export", "numpy", "onnxruntime", "openvino", "tokenizers", "torch")
_NO_NNCF = (
    "NNCF was not measured: no --nncf-python was given. Make an environment for it with\n"
    "    python -m venv nncf && nncf/bin/pip install nncf openvino numpy\n"
    "and pass --nncf-python nncf/bin/python."
)

Figures = Mapping[str, Samples]


@dataclass(slots=True)
class Scored:
    """A head's contenders on its test set.

    Args:
        metric: The figure that counts.
        figures: By contender.
        replicates: The figure that counts without each group of the records, by contender.
    """

    metric: str = ""
    figures: Figures = field(default_factory=dict)
    replicates: dict[str, Sequence[float]] = field(default_factory=dict)

    def median(self, contender: str, what: str) -> float | None:
        """A figure; ``None`` where it was not measured."""
        return self.figures[contender].median(what) if contender in self.figures else None

    def loss(self, contender: str) -> float | None:
        """Points of the metric lost against FP32; less than 0 where it gains."""
        exact, score = self.median(FP32, SCORE), self.median(contender, SCORE)
        return None if exact is None or score is None else 100 * (exact - score)

    def apart(self, contender: str, other: str) -> float | None:
        """Standard error of the points between two, by the choice of examples."""
        if contender not in self.replicates or other not in self.replicates:
            return None
        error = standard_error(self.replicates[contender], self.replicates[other])
        return None if error is None else 100 * error

    def errors(self) -> Samples:
        """Standard errors of the points that each loses, and of those between ours and each."""
        samples = Samples()
        pairs = {(contender, FP32) for contender in self.figures if contender != FP32}
        pairs |= {(contender, OURS) for contender, _ in pairs if contender != OURS}
        for contender, other in sorted(pairs):
            error = self.apart(contender, other)
            if error is not None:
                samples.add({f"{contender} against {other}": error})
        return samples


@benchmark(rounds=1)
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
    default=_DATA,
    help="Folder of the open data sets.  [default: the one beside the checkout]",
)
@click.option("--fine-tuned", is_flag=True, help="Fully fine-tuned heads.")
@click.option(
    "--epochs",
    type=click.FloatRange(min=0, min_open=True),
    help="Of that training.  [default: those of the demonstration]",
)
@click.option(
    "--nncf-python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="BERT_EXPORT_NNCF_PYTHON",
    help="Interpreter of an environment with nncf and openvino.",
)
def main(
    common: Common,
    *,
    only: Sequence[str],
    asked: Sequence[str],
    limit: int | None,
    data: Path,
    fine_tuned: bool,
    epochs: float | None,
    nncf_python: Path | None,
) -> Report:
    """The task's metric of every head, by contender."""
    if not data.is_dir():
        raise click.UsageError(f"no folder of data sets at {data}. Pass --data.")
    machine = describe_machine()
    others = [name for name in CONTENDERS if name != MADE_FOR[detect_processor()]]
    wanted = [name for name in CONTENDERS if name == FP32 or name in (asked or others)]
    if nncf_python is None:
        wanted = [name for name in wanted if name != NNCF]
    shop = Workshop(
        common.work,
        data,
        common.threads,
        limit,
        fine_tuned,
        epochs,
        None if nncf_python is None else str(nncf_python),
    )
    names = [name for name in only or HEADS if not fine_tuned or HEADS[name].recipe is not None]
    found: dict[str, Scored] = {}
    with steps(len(names) * len(wanted) * (1 + common.rounds)) as step:
        for name in names:
            requests = shop.make(name, HEADS[name], wanted, step)
            found[name] = scored = Scored()
            scored.figures = take_turns(
                [
                    Contender(
                        contender, partial(_score, request, scored, contender, common.threads)
                    )
                    for contender, request in requests.items()
                ],
                rounds=common.rounds,
                announce=lambda contender, name=name: step(f"{name}: {contender}"),  # type: ignore[misc]
            )
    return Report(
        benchmark="bench_accuracy",
        machine=machine,
        versions=installed_versions(_PACKAGES),
        settings={
            "heads": "fully fine-tuned" if fine_tuned else "demonstrations",
            "test records": limit or "all",
            "threads": common.threads,
            "runs": common.rounds,
        },
        sections=[
            *(_section(name, scored) for name, scored in found.items()),
            _losses(found),
            _chances(found),
            _errors(found),
        ],
        samples={
            f"{name}: {contender}": samples
            for name, scored in found.items()
            for contender, samples in scored.figures.items()
        }
        | {f"{name}: standard errors": scored.errors() for name, scored in found.items()},
        bounds=_bounds(found),
        notes=[*shop.notes, *([_NO_NNCF] if nncf_python is None else [])],
    )


def _score(
    request: Mapping[str, Any], scored: Scored, contender: str, threads: int
) -> dict[str, float]:
    """One turn: a process that answers the whole test set."""
    messages, _ = run_worker("worker_accuracy", request, threads=threads)
    result = messages[-1]
    scored.metric, scored.replicates[contender] = result["metric"], result["replicates"]
    figures = {
        SCORE: result["score"],
        ERROR: 100 * result["error"],
        SECONDS: result["seconds"],
    }
    if result["agreement"] is not None:
        figures[COSINE] = result["agreement"]
    share = float_share(Path(request["path"])) if request["kind"] == "bundle" else None
    return figures if share is None else figures | {FLOATS: 100 * share}


def _mean_loss(found: Mapping[str, Scored], contender: str) -> float | None:
    losses = [scored.loss(contender) for scored in found.values()]
    known = [loss for loss in losses if loss is not None]
    return mean(known) if known and len(known) == len(losses) else None


def _section(name: str, scored: Scored) -> Section:
    ours = scored.median(OURS, SECONDS)
    return Section(
        f"{name}: {scored.metric}",
        ("contender", SCORE, LOSS, CHOICE, ERROR, COSINE, SECONDS, "time over ours INT8", FLOATS),
        [
            (
                contender,
                samples.median(SCORE),
                scored.loss(contender),
                scored.apart(contender, FP32),
                samples.median(ERROR),
                samples.median(COSINE),
                samples.median(SECONDS),
                ratio(samples.median(SECONDS), ours),
                samples.median(FLOATS),
            )
            for contender, samples in scored.figures.items()
        ],
    )


def _losses(found: Mapping[str, Scored]) -> Section:
    others = _contenders(found)
    rows: list[tuple[str | float | None, ...]] = [
        (name, scored.median(FP32, SCORE), *map(scored.loss, others))
        for name, scored in found.items()
    ]
    rows.append(("mean", None, *(_mean_loss(found, contender) for contender in others)))
    return Section("points lost against FP32", ("head", FP32, *others), rows)


def _chances(found: Mapping[str, Scored]) -> Section:
    others = [name for name in _contenders(found) if name != OURS]
    return Section(
        f"standard error of the points between {OURS} and each other",
        ("head", *others),
        [
            (name, *(scored.apart(OURS, contender) for contender in others))
            for name, scored in found.items()
        ],
    )


def _errors(found: Mapping[str, Scored]) -> Section:
    others = _contenders(found)
    return Section(
        "error of the outputs against FP32, % of their spread",
        ("head", *others),
        [
            (name, *(scored.median(contender, ERROR) for contender in others))
            for name, scored in found.items()
        ],
    )


def _contenders(found: Mapping[str, Scored]) -> list[str]:
    return [
        name for name in CONTENDERS[1:] if any(name in scored.figures for scored in found.values())
    ]


def _least(values: Mapping[str, float | None]) -> tuple[str, float] | None:
    """The smallest of those that were measured, and its name."""
    known = [(name, value) for name, value in values.items() if value is not None]
    return min(known, key=lambda pair: pair[1], default=None)


def _bounds(found: Mapping[str, Scored]) -> list[Bound]:
    bounds = [bound for name, scored in found.items() for bound in _bounds_of_head(name, scored)]
    ours = _mean_loss(found, OURS)
    if ours is not None:
        bounds.append(Bound(f"mean: {OURS} loses", ours, MAX_MEAN_LOSS, "at most", "points"))
    best = _least({other: _mean_loss(found, other) for other in _OTHERS})
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
        cosine = scored.median(OURS, COSINE)
        if cosine is not None:
            what = f"{name}: mean cosine with FP32"
            yield Bound(what, cosine, LEAST_COSINE, "at least", "")
    best = _least({other: scored.loss(other) for other in _OTHERS})
    if ours is not None and best is not None:
        yield Bound(
            f"{name}: {OURS} loses more than the best of the others ({best[0]})",
            0.0 if ours <= best[1] else ratio(ours - best[1], scored.apart(OURS, best[0])),
            CHANCE,
            "at most",
            "standard errors",
        )
    error = scored.median(OURS, ERROR)
    closest = _least({other: scored.median(other, ERROR) for other in _OTHERS})
    if error is not None and closest is not None:
        what = f"{name}: {OURS}'s error of outputs over the best of the others' ({closest[0]})"
        yield Bound(what, ratio(error, closest[1]), 1.0, "at most", "times")
    if BUDGET in scored.figures:
        kept = scored.loss(BUDGET)
        yield Bound(f"{name}: {BUDGET} loses", kept, BUDGET_LOSS, "at most", "points")


if __name__ == "__main__":
    main()
