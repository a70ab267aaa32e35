"""An accuracy budget: INT8 where the answers stay as good as they were asked to stay.

First the sensitivity of the outputs by each group alone is measured, in a single pass over a sample
of the data through one graph with a switch per group. Then come the few configurations that
:mod:`bert_export.quantization.mixed_precision.search` asks about: each is made as it would be
written, and what its engines lose on all the data, through the pipeline that answers for users, is
what counts; how sure that is stands in :mod:`bert_export.exporter.drop`. Nothing depends on the
clock or on chance, so the same inputs give the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from bert_export.bundle import MixedPrecisionRecord, QuantizationGroupRecord, SearchRecord
from bert_export.datasets import DataSet
from bert_export.errors import BudgetError
from bert_export.evaluation.answering import answer_examples
from bert_export.evaluation.distance import Distance, sample_rows
from bert_export.evaluation.jackknife import leave_out_agreement, leave_out_groups
from bert_export.evaluation.scorer import AnyPipeline, Examples
from bert_export.evaluation.scorers import find_scorer
from bert_export.exporter.calibrate import Calibrated, scheme_of
from bert_export.exporter.drop import (
    Drop,
    Score,
    check_decides,
    examples_needed,
    paired_drop,
)
from bert_export.exporter.engine import open_trial
from bert_export.exporter.progress import Fact, Progress
from bert_export.exporter.refusal import REFUSALS, Refusals
from bert_export.exporter.source import Source
from bert_export.passes.open_graph import open_graph
from bert_export.quantization.mixed_precision.search import (
    SearchResult,
    allowed_drop,
    search_mixed_precision,
)
from bert_export.quantization.mixed_precision.switchable_graph import (
    QuantizationGroup,
    SwitchableSession,
    build_switchable_graph,
)
from bert_export.runtime.batching import Advance, batches_of
from bert_export.runtime.sessions.session import Outputs
from bert_export.targets import DEFAULT_TARGET, Target, find_target

__all__ = [
    "REASON",
    "Budget",
    "budget_of",
    "keep_budget",
    "keep_known_layers",
    "measure_sensitivities",
]

REASON = "INT8 here costs more accuracy than the budget allows"
"""Why the plan says that a layer is in float."""

_SAMPLE_TOKENS = 2048
_NOT_WRITTEN = (
    "No bundle was written; pass --keep-best to take that, raise --max-drop, calibrate "
    "on text like your own, or export with --fp32"
)
_NOT_BUILT = (
    "The bundle is as it was; export all targets anew, so that the layers in float are chosen for "
    "all of them"
)


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

    @property
    def allowed(self) -> float:
        """The largest measured drop that keeps the budget."""
        return allowed_drop(self.max_drop)


def budget_of(source: Source) -> Budget | None:
    """The budget that is asked for, if one is."""
    request = source.request
    if request.max_drop is None or source.eval_data is None:
        return None
    return Budget(request.max_drop, source.eval_data, request.keep_best)


def keep_budget(
    calibrated: Calibrated, *, folder: Path, progress: Progress, refusals: Refusals
) -> Calibrated:
    """Leave in float what costs more accuracy than the budget of the request allows.

    FP32 is what everything is measured against, and keeps it. Of BF16 and FP16 nothing is left in
    FP32: a target keeps the budget as it is, or not.

    Args:
        calibrated: In INT8 throughout, where the precision is INT8.
        folder: In which graphs are written for as long as they are open.
        progress: Hears of the stage ``search``.
        refusals: What becomes of targets that do not keep the budget. Where they are tolerated and
            the targets do not keep it together in INT8, each is tried alone, and those that do are
            tried together.

    Returns:
        The same where there is no budget; else with the targets that keep it, in INT8 with the
        layers excluded and the search.

    Raises:
        BudgetError: The budget cannot be kept, and the best that was found is not to be taken.
        DatasetError: A record of the data does not fit the task, or the data cannot decide the
            budget.
        BertExportError: A target is refused.
    """
    source = calibrated.float_graph.source
    precision, budget = source.request.precision, budget_of(source)
    if budget is None or precision == "fp32":
        return calibrated
    if precision != "int8":
        return _keep_those_within(calibrated, budget, folder, progress, refusals)
    with progress.stage("search") as facts:
        search = _Search(calibrated, budget, folder=folder, advance=progress.advance)
        targets, record = _search_for_targets(search, calibrated.targets, refusals)
        _tell(facts, record)
    searched = replace(calibrated, targets=targets, search=record)
    return searched.with_excluded_layers(dict.fromkeys(record.excluded_layers, REASON))


def _keep_those_within(
    calibrated: Calibrated, budget: Budget, folder: Path, progress: Progress, refusals: Refusals
) -> Calibrated:
    """The same with the targets whose engines keep the budget as they are."""
    precision = calibrated.float_graph.source.request.precision.upper()
    with progress.stage("search") as facts:
        meter = _Meter(calibrated, budget, folder=folder, advance=progress.advance)

        def check(target: Target) -> SearchRecord:
            drop = meter.drop(calibrated, target)
            configuration = MixedPrecisionRecord(
                excluded=(),
                score=meter.baseline.value - drop.value,
                drop=drop.value,
                float_share=1.0,
                drop_error=drop.error,
            )
            met = drop.value <= budget.allowed
            record = meter.record((), (configuration,), chosen=0, met=met)
            if not met:
                raise BudgetError(
                    f"{precision} does not keep the {record.metric} on {record.data}",
                    expected=_bound_text(record),
                    got=f"{100 * drop.value:.3g} points{_error_text(configuration)}",
                    fix="Raise --max-drop, or name another precision",
                    search=record,
                )
            return record

        kept = refusals.each(calibrated.targets, check)
        facts["precision"] = precision
        _tell_drop(facts, max(kept.values(), key=lambda record: record.path[0].drop))
    targets = tuple(target for target in calibrated.targets if target.name in kept)
    return replace(calibrated, targets=targets)


def keep_known_layers(
    calibrated: Calibrated, known: SearchRecord, *, folder: Path, progress: Progress
) -> Calibrated:
    """Leave in float what an earlier search left in float, and measure the new engines with it.

    Args:
        calibrated: In INT8 throughout, for targets that the search did not know.
        known: The search of the bundle that the targets come to.
        folder: In which graphs are written for as long as they are open.
        progress: Hears of the stage ``search``.

    Returns:
        The same with the layers excluded; its search holds what was measured of the new engines.

    Raises:
        BudgetError: An engine does not keep the budget with these layers in float.
        DatasetError: A record of the data does not fit the task, or the data cannot decide the
            budget.
    """
    budget = budget_of(calibrated.float_graph.source)
    assert budget is not None, "a bundle with a search has the request of one"
    excluded = calibrated.with_excluded_layers(dict.fromkeys(known.excluded_layers, REASON))
    with progress.stage("search") as facts:
        meter = _Meter(calibrated, budget, folder=folder, advance=progress.advance)
        drops = [meter.drop(excluded, target) for target in excluded.targets]
        worst = max(drops, key=lambda drop: drop.value)
        measured = msgspec.structs.replace(
            known.path[known.chosen],
            score=meter.baseline.value - worst.value,
            drop=worst.value,
            drop_error=worst.error,
        )
        met = worst.value <= budget.allowed
        record = meter.record(known.groups, (measured,), chosen=0, met=met)
        _check_met(record, budget, fix=_NOT_BUILT)
        _tell(facts, record)
    return replace(excluded, search=record)


def measure_sensitivities(
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
    batches = batches_of(rows)
    distances = [Distance() for _ in range(groups)]
    total, done = len(batches) * (groups + 1), 0
    for batch in batches:
        exact: list[Outputs] = []
        for group in range(-1, groups):
            session.switch_to_int8([group] if group >= 0 else [])
            parts = pipeline.run_rows(batch)
            if group < 0:
                exact = parts
            else:
                for part, in_float in zip(parts, exact, strict=True):
                    for name, array in part.items():
                        distances[group].observe(name, array, in_float[name])
            done += 1
            if advance is not None:
                advance(done, total)
    return [distance.share for distance in distances]


class _Meter:
    """Scores engines on the budget's data; float is scored first, and is the baseline.

    Args:
        calibrated: Whose float graph is compared with.
        budget: With the data.
        folder: In which graphs are written for as long as they are open.
        advance: Called with (rows done, rows in all).
    """

    def __init__(
        self, calibrated: Calibrated, budget: Budget, *, folder: Path, advance: Advance
    ) -> None:
        self._float_graph, self._folder, self._advance = calibrated.float_graph, folder, advance
        self._budget = budget
        threads = self._float_graph.source.request.threads
        graph = open_graph(self._float_graph.model, folder=folder, threads=threads)
        with self._float_graph.open_pipeline(graph) as pipeline:
            self._scorer = find_scorer(pipeline)
            self.examples = self._scorer.prepare(pipeline, budget.data, budget.seed)
            self._exact = answer_examples(pipeline, self._scorer, self.examples, advance)
        self._labelled = self.examples.gold is not None
        self.baseline = self._score(self._exact)

    def record(
        self,
        groups: tuple[QuantizationGroupRecord, ...],
        path: tuple[MixedPrecisionRecord, ...],
        *,
        chosen: int,
        met: bool,
    ) -> SearchRecord:
        """What the manifest says of configurations that were scored here."""
        data, scorer = self._budget.data, self._scorer
        return SearchRecord(
            data=data.source,
            sha256=data.sha256,
            examples=len(data),
            seed=self._budget.seed,
            metric=scorer.metric if self._labelled else scorer.agreement_kind,
            labelled=self._labelled,
            budget=self._budget.max_drop,
            baseline=self.baseline.value,
            groups=groups,
            path=path,
            chosen=chosen,
            met=met,
            warnings=_search_warnings(path, chosen, len(data), self._budget),
        )

    def drop(self, calibrated: Calibrated, target: Target) -> Drop:
        """What a target's engine loses.

        Raises:
            DatasetError: The data cannot tell whether that is within the budget.
        """
        with (
            open_trial(calibrated, target, folder=self._folder) as session,
            self._float_graph.open_pipeline(session) as pipeline,
        ):
            answers = answer_examples(pipeline, self._scorer, self.examples, self._advance)
        drop = paired_drop(
            self.baseline,
            self._score(answers),
            examples=len(self._budget.data),
            counts_answers=self._scorer.counts_answers,
        )
        check_decides(self._budget.data, drop, self._budget.max_drop)
        return drop

    def _score(self, answers: Sequence[object]) -> Score:
        scorer, seed = self._scorer, self._budget.seed
        if self._labelled:
            return Score(
                scorer.score(self.examples.gold, answers)[scorer.metric],
                leave_out_groups(scorer, self.examples, answers, seed),
            )
        return Score(
            scorer.agreement(answers, self._exact),
            leave_out_agreement(scorer, answers, self._exact, seed),
        )


class _Search:
    """Searches the layers that must stay in float; what it has measured once, it remembers.

    Args:
        calibrated: In INT8 throughout.
        budget: To be kept.
        folder: In which graphs are written for as long as they are open.
        advance: Called with (graph runs done, in all) while the sensitivities are measured, and
            with (rows done, rows in all) for every configuration.
    """

    def __init__(
        self, calibrated: Calibrated, budget: Budget, *, folder: Path, advance: Advance
    ) -> None:
        self._calibrated, self.budget = calibrated, budget
        self._meter = _Meter(calibrated, budget, folder=folder, advance=advance)
        float_graph = calibrated.float_graph
        switchable, self._groups = build_switchable_graph(
            float_graph.model,
            calibrated.int8,
            scheme_of(float_graph, find_target(DEFAULT_TARGET)),
        )
        threads = float_graph.source.request.threads
        session = SwitchableSession(switchable, len(self._groups), folder=folder, threads=threads)
        del switchable
        with float_graph.open_pipeline(session) as pipeline:
            self._sensitivities = measure_sensitivities(
                pipeline, session, len(self._groups), self._meter.examples, advance=advance
            )
        self._costs = _costs(self._groups, self._meter.examples)
        self._drops: dict[tuple[str, tuple[int, ...]], Drop] = {}

    def run(self, targets: Sequence[Target]) -> SearchRecord:
        """The search for some of the targets: every configuration counts by its worst engine."""
        drops: dict[tuple[int, ...], Drop] = {}

        def measure(excluded: tuple[int, ...]) -> float:
            """The drop of the worst engine; once one breaks the budget, the rest is not asked."""
            worst = Drop(-np.inf, 0.0)
            for target in targets:
                worst = max(worst, self._drop(target, excluded), key=lambda drop: drop.value)
                if worst.value > self.budget.allowed:
                    break
            drops[excluded] = worst
            return worst.value

        result = search_mixed_precision(
            self._sensitivities, self._costs, measure, budget=self.budget.allowed
        )
        record = self._meter.record(
            self._group_records(),
            _configurations(result, drops, self._meter.baseline.value),
            chosen=result.configurations.index(result.best),
            met=result.met,
        )
        _check_met(record, self.budget, fix=_NOT_WRITTEN)
        return record

    def _drop(self, target: Target, excluded: tuple[int, ...]) -> Drop:
        key = target.name, excluded
        if key not in self._drops:
            layers = [layer for group in excluded for layer in self._groups[group].layers]
            trial = self._calibrated.with_excluded_layers(dict.fromkeys(layers, REASON))
            self._drops[key] = self._meter.drop(trial, target)
        return self._drops[key]

    def _group_records(self) -> tuple[QuantizationGroupRecord, ...]:
        total = sum(self._costs)
        return tuple(
            QuantizationGroupRecord(layers=group.layers, sensitivity=sensitivity, cost=cost / total)
            for group, sensitivity, cost in zip(
                self._groups, self._sensitivities, self._costs, strict=True
            )
        )


def _search_for_targets(
    search: _Search, targets: Sequence[Target], refusals: Refusals
) -> tuple[tuple[Target, ...], SearchRecord]:
    """The targets that keep the budget together, and the search that says with which layers."""
    try:
        return tuple(targets), search.run(targets)
    except REFUSALS:
        if len(targets) == 1 or not any(map(refusals.tolerates, targets)):
            raise
    alone = refusals.each(targets, lambda target: search.run([target]))
    together = [target for target in targets if target.name in alone]
    while True:
        try:
            return tuple(together), search.run(together)
        except REFUSALS as error:  # each keeps it alone, and they do not together
            if len(together) == 1:
                raise
            refusals.add(together.pop(), error)


def _check_met(search: SearchRecord, budget: Budget, *, fix: str) -> None:
    """Refuse a budget that is not kept, unless the best that was found is to be taken."""
    if search.met or budget.keep_best:
        return
    best, layers = search.path[search.chosen], search.excluded_layers
    raise BudgetError(
        f"INT8 does not keep the {search.metric} on {search.data}",
        expected=_bound_text(search),
        got=f"{100 * best.drop:.3g} points at best{_error_text(best)}, with "
        + (f"{', '.join(layers)} in float" if layers else "every layer in INT8"),
        fix=fix,
        search=search,
    )


def _bound_text(search: SearchRecord) -> str:
    return f"a drop of at most {100 * search.budget:g} points"


def _error_text(configuration: MixedPrecisionRecord) -> str:
    error = configuration.drop_error
    return "" if error is None else f" (standard error {100 * error:.2g})"


def _tell(facts: dict[str, Fact], search: SearchRecord) -> None:
    _tell_drop(facts, search)
    facts["layers in float"] = ", ".join(search.excluded_layers) or "none"


def _tell_drop(facts: dict[str, Fact], search: SearchRecord) -> None:
    chosen = search.path[search.chosen]
    facts["drop"] = chosen.drop
    facts["metric"] = search.metric
    if chosen.drop_error is not None:
        facts["standard error"] = f"{100 * chosen.drop_error:.2f} points"


def _search_warnings(
    path: Sequence[MixedPrecisionRecord], chosen: int, examples: int, budget: Budget
) -> tuple[str, ...]:
    """Layers that are in float for a difference that may be chance."""
    everywhere = path[0]
    error = everywhere.drop_error
    excess = everywhere.drop - budget.max_drop
    if everywhere.excluded or not path[chosen].excluded or error is None or excess > error:
        return ()
    needed = examples_needed(examples, error, excess)
    warning = (
        f"INT8 everywhere loses {100 * everywhere.drop:.2f} points, above the budget of "
        f"{100 * budget.max_drop:g} by less than the standard error of {100 * error:.2f}: layers "
        f"may be in float by chance, which about {needed} would tell"
    )
    return (warning,)


def _costs(groups: tuple[QuantizationGroup, ...], examples: Examples) -> list[float]:
    """Multiplications of each group for a row of mean length."""
    lengths = [len(row) for rows in examples.rows for row in rows]
    tokens = sum(lengths) / len(lengths)
    return [group.multiplications * (tokens if group.per_token else 1.0) for group in groups]


def _configurations(
    result: SearchResult, drops: Mapping[tuple[int, ...], Drop], baseline: float
) -> tuple[MixedPrecisionRecord, ...]:
    return tuple(
        MixedPrecisionRecord(
            excluded=configuration.excluded,
            score=baseline - configuration.drop,
            drop=configuration.drop,
            float_share=configuration.cost,
            drop_error=drops[configuration.excluded].error,
        )
        for configuration in result.configurations
    )
