"""An accuracy budget: INT8 where the answers stay as good as they were asked to stay.

First the sensitivity of the outputs by each group alone is measured, in a single pass over a sample
of the data through one graph with a switch per group. Then come the few configurations that
:mod:`bert_export.quantization.mixed_precision.search` asks about: each is made as it would be
written, and what its engines lose on all the data, through the pipeline that answers for users, is
what counts. Nothing depends on the clock or on chance, so the same inputs give the same plan.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from bert_export.bundle import MixedPrecisionRecord, QuantizationGroupRecord, SearchRecord
from bert_export.datasets import DataSet
from bert_export.errors import BudgetError, InputError
from bert_export.evaluation.answering import answer_examples
from bert_export.evaluation.distance import Distance, sample_rows
from bert_export.evaluation.scorer import AnyPipeline, Examples
from bert_export.evaluation.scorers import find_scorer
from bert_export.quantization.mixed_precision.search import Path as SearchPath
from bert_export.quantization.mixed_precision.search import search_mixed_precision
from bert_export.quantization.mixed_precision.switchable_graph import (
    QuantizationGroup,
    SwitchableSession,
    build_switchable_graph,
    open_graph,
)
from bert_export.quantization.preparation import Preparation
from bert_export.quantization.weights.number_formats import Scheme
from bert_export.runtime.batching import Advance, batch_rows
from bert_export.runtime.sessions.session import Outputs, Session

__all__ = [
    "Budget",
    "check_budget",
    "check_options",
    "measure_disturbances",
    "search_excluded_layers",
]

REASON = "INT8 here costs more accuracy than the budget allows"
"""Why the plan says that a layer is in float."""

_SAMPLE_TOKENS = 2048
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Budget:
    """What INT8 may cost.

    Args:
        max_drop: Of the task's metric, or without labels of the agreement with float: 0.005 is
            half a point.
        data: What it is measured on.
        keep_best: Whether the best that was found is taken where the budget cannot be kept.
        seed: Of masks that the tool makes.
    """

    max_drop: float
    data: DataSet
    keep_best: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop < 1:
            raise InputError(
                "max_drop is out of bounds",
                expected="a share from 0 to below 1, such as 0.005 for half a point",
                got=self.max_drop,
            )

    @property
    def allowed(self) -> float:
        """The largest difference of two figures that keeps it, with what rounding may add."""
        return self.max_drop + _ROUNDING


def check_options(
    precision: str, *, max_drop: float | None, eval_data: object | None, keep_best: bool
) -> None:
    """Refuse options of a budget that do not belong together.

    Raises:
        InputError: One of the drop and the data is missing, or the precision is not INT8.
    """
    given = max_drop is not None or eval_data is not None or keep_best
    if given and precision != "int8":
        raise InputError(
            f"accuracy budget has no use in {precision}",
            expected="precision int8",
            got=precision,
            fix="Add --int8 or drop --max-drop",
        )
    if given and (max_drop is None or eval_data is None):
        raise InputError(
            "accuracy budget is incomplete",
            expected="both a largest drop and data to measure it on",
            got="no drop" if max_drop is None else "no data",
            fix="Pass --max-drop and --eval",
        )


def search_excluded_layers(
    model: ir.Model,
    preparation: Preparation,
    scheme: Scheme,
    budget: Budget,
    *,
    open_: Callable[[Session], AnyPipeline],
    engines: Callable[[Preparation], Generator[Session]],
    folder: Path,
    threads: int | None = None,
    advance: Advance | None = None,
) -> SearchRecord:
    """Find the layers that must stay in float so that the budget holds.

    Args:
        model: The prepared float graph; not changed.
        preparation: What calibration found.
        scheme: Number formats of the engine that is measured.
        budget: What INT8 may cost, and on which data.
        open_: Gives the task's pipeline over a session.
        engines: Gives a session over the finished graph of every target, one after another.
        folder: Where the graph is written while it is opened.
        threads: Threads inside an operator.
        advance: Called with (graph runs done, in all) while the sensitivities are measured, and
            with (rows done, rows in all) for every configuration.

    Returns:
        The whole search; see :func:`check_budget`.

    Raises:
        InputError: The INT8 is dynamic.
        DatasetError: A record does not fit the task.
    """
    if preparation.options.mode != "static":
        raise InputError(
            "accuracy budget does not fit dynamic INT8",
            expected="mode static",
            got=preparation.options.mode,
            fix="Leave out --int8-mode or --max-drop",
        )
    with open_(open_graph(model, folder=folder, threads=threads)) as pipeline:
        scorer = find_scorer(pipeline)
        examples = scorer.prepare(pipeline, budget.data, budget.seed)
        exact = answer_examples(pipeline, scorer, examples, advance)
    labelled = examples.gold is not None
    baseline = scorer.score(examples.gold, exact)[scorer.metric] if labelled else 1.0
    switched, groups = build_switchable_graph(model, preparation, scheme)
    session = SwitchableSession(switched, len(groups), folder=folder, threads=threads)
    del switched
    with open_(session) as pipeline:
        sensitivities = measure_disturbances(
            pipeline, session, len(groups), examples, advance=advance
        )
    scores: dict[tuple[int, ...], float] = {}

    def score(pipeline: AnyPipeline) -> float:
        answers = answer_examples(pipeline, scorer, examples, advance)
        if labelled:
            return scorer.score(examples.gold, answers)[scorer.metric]
        return scorer.agreement(answers, exact)

    def measure(excluded: tuple[int, ...]) -> float:
        """The drop of the worst engine; once one breaks the budget, the others are not asked."""
        layers = [layer for group in excluded for layer in groups[group].layers]
        worst = np.inf
        with closing(
            engines(preparation.with_excluded_layers(dict.fromkeys(layers, REASON)))
        ) as opened:
            for engine in opened:
                with open_(engine) as pipeline:
                    worst = min(worst, score(pipeline))
                if baseline - worst > budget.allowed:
                    break
        scores[excluded] = worst
        return baseline - worst

    costs = _costs(groups, examples)
    path = search_mixed_precision(sensitivities, costs, measure, budget=budget.allowed)
    return SearchRecord(
        data=budget.data.source,
        sha256=budget.data.sha256,
        examples=len(budget.data),
        seed=budget.seed,
        metric=scorer.metric if labelled else scorer.agreement_kind,
        labelled=labelled,
        budget=budget.max_drop,
        baseline=baseline,
        groups=tuple(
            QuantizationGroupRecord(
                layers=group.layers, sensitivity=sensitivity, cost=cost / sum(costs)
            )
            for group, sensitivity, cost in zip(groups, sensitivities, costs, strict=True)
        ),
        path=_mixtures(path, scores),
        chosen=path.configurations.index(path.best),
        met=path.met,
    )


def check_budget(search: SearchRecord, *, keep_best: bool) -> Mapping[str, str]:
    """The layers to leave in float, with the reason for the plan.

    Raises:
        BudgetError: The budget is not kept, and the best that was found is not to be taken.
    """
    if not search.met and not keep_best:
        best, layers = search.path[search.chosen], search.excluded_layers
        raise BudgetError(
            f"INT8 does not keep the {search.metric} on {search.data}",
            expected=f"a drop of at most {100 * search.budget:g} points",
            got=f"{100 * best.drop:.3g} points at best, with "
            + (f"{', '.join(layers)} in float" if layers else "every layer in INT8"),
            fix="No bundle was written; pass --keep-best to take that, raise --max-drop, calibrate "
            "on text like your own, or export with --fp32",
            search=search,
        )
    return dict.fromkeys(search.excluded_layers, REASON)


def measure_disturbances(
    pipeline: AnyPipeline,
    session: SwitchableSession,
    groups: int,
    examples: Examples,
    *,
    advance: Advance | None = None,
) -> list[float]:
    """How much each group in INT8, all others in float, disturbs the outputs.

    Args:
        pipeline: Over the session.
        session: With a switch per group.
        groups: How many there are.
        examples: Of which an even sample of some thousand tokens is taken.
        advance: Called with (graph runs done, in all).

    Returns:
        Per group the squared error of every output as a share of its variance over the sample,
        averaged over the outputs; padding left out.
    """
    rows = sample_rows(examples, _SAMPLE_TOKENS)
    batches = batch_rows([len(row) for row in rows])
    distances = [Distance() for _ in range(groups)]
    total, done = len(batches) * (groups + 1), 0
    for batch in batches:
        own = [rows[index] for index in batch]
        exact: list[Outputs] = []
        for group in range(-1, groups):
            session.choose([group] if group >= 0 else [])
            parts = pipeline.run_rows(own)
            if group < 0:
                exact = parts
            else:
                for part, wanted in zip(parts, exact, strict=True):
                    for name, array in part.items():
                        distances[group].observe(name, array, wanted[name])
            done += 1
            if advance is not None:
                advance(done, total)
    return [distance.share for distance in distances]


def _costs(groups: tuple[QuantizationGroup, ...], examples: Examples) -> list[float]:
    """Multiplications of each group for a row of mean length."""
    lengths = [len(row) for rows in examples.rows for row in rows]
    tokens = sum(lengths) / len(lengths)
    return [group.products * (tokens if group.per_token else 1.0) for group in groups]


def _mixtures(
    path: SearchPath, scores: Mapping[tuple[int, ...], float]
) -> tuple[MixedPrecisionRecord, ...]:
    return tuple(
        MixedPrecisionRecord(
            excluded=configuration.excluded,
            score=scores[configuration.excluded],
            drop=configuration.drop,
            float_share=configuration.cost,
        )
        for configuration in path.configurations
    )
