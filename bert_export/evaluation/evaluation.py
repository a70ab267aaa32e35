"""The library call behind ``bert-export evaluate``: a bundle's scores on a file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bert_export.datasets import DataSet, Records, read_dataset
from bert_export.datasets.columns import suggest_field, usual_column
from bert_export.datasets.label_map import LabelMap, read_label_map
from bert_export.errors import DatasetError, InputError
from bert_export.evaluation.answering import answer_examples
from bert_export.evaluation.distance import measure_distance, sample_rows
from bert_export.evaluation.jackknife import leave_out_groups, standard_error
from bert_export.evaluation.scorer import AnyPipeline, Examples, Scorer
from bert_export.evaluation.scorers import find_scorer
from bert_export.runtime.batching import Advance
from bert_export.runtime.checks import check_whole
from bert_export.runtime.loading import load
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.tasks import find_task

__all__ = ["Evaluation", "Reference", "evaluate", "unlabelled"]


@dataclass(frozen=True, slots=True)
class Reference:
    """The comparison with another engine's answers to the same rows.

    Args:
        name: The other bundle, as given.
        agreement: How far the answers agree; 1 if all are the same.
        kind: What the agreement is, in words.
        output_error: Root mean square difference of the outputs, as a share of the standard
            deviation of the reference's, on an even sample of the rows; 0 if they are the same.
        scores: The reference's own scores; empty without labels.
        gain: The bundle's score minus the reference's, in the task's metric; ``None`` without
            labels.
        gain_error: Standard error of the gain by the choice of examples. ``None`` without labels,
            or with one record.
    """

    name: str
    agreement: float
    kind: str
    output_error: float
    scores: Mapping[str, float]
    gain: float | None
    gain_error: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of a bundle's answers.

    Args:
        task: The task.
        metric: Name of the task's metric.
        scores: Scores by name, the task's metric first; shares in [0, 1], or correlations. Empty if
            the data has no labels.
        standard_error: Standard error of the metric by the choice of examples; ``None`` without
            labels, or with one record.
        replicates: The metric with one group of records left out at a time. The standard error
            comes from them. The groups depend on the data and the seed alone, not on the bundle.
        examples: How many records were answered.
        truncated: How many texts (or other items of the task) lost tokens to truncation.
        seconds: Time that the answers took, without tokenization.
        data: The file, as given.
        sha256: sha256 of the file.
        seed: Seed of everything that was drawn.
        reference: The comparison, if one was asked for.
        notes: What labels of the data were taken as the bundle's without being asked, such as names
            in another letter case; a sentence each.
    """

    task: str
    metric: str
    scores: Mapping[str, float]
    standard_error: float | None
    replicates: tuple[float, ...]
    examples: int
    truncated: int
    seconds: float
    data: str
    sha256: str
    seed: int
    reference: Reference | None
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """The score in the task's metric.

        Raises:
            DatasetError: The data has no labels.
        """
        if not self.scores:
            raise DatasetError(f"data {self.data} has no labels, so there is no {self.metric}")
        return self.scores[self.metric]


def evaluate(
    bundle: str | Path | AnyPipeline,
    data: str | Path | DataSet | Records,
    *,
    fields: Mapping[str, str] | None = None,
    label_map: LabelMap | None = None,
    task: str | None = None,
    target: str | None = None,
    against: str | Path | AnyPipeline | None = None,
    seed: int = 0,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    advance: Advance | None = None,
) -> Evaluation:
    """Score a bundle's answers.

    Args:
        bundle: The folder, or an opened pipeline, which stays open.
        data: A file or records in memory, as :func:`bert_export.datasets.read_dataset` takes them:
            a list of mappings, a table of pandas, a data set of the datasets library. Or a data set
            that was read.
        fields: By field, the column that holds it where it has another name.
        label_map: The bundle's label, by name or id, by the data's; or a file that says so.
        task: Another task that the bundle's head serves.
        target: Which of the bundle's engines answers; its default when ``None``.
        against: A bundle of the same checkpoint, such as the FP32 one, to compare with.
        seed: Seed of masks and cuts, where the scorer makes them.
        threads: Threads inside an operator.
        providers: ONNX Runtime execution providers.
        advance: Called with (rows done, rows in all) after every batch. The rows that ``against``
            answers and those of the comparison count too.

    Returns:
        The scores and where they come from.

    Raises:
        DatasetError: The data is malformed, does not fit the task, has labels that the bundle has
            not, or has none and ``against`` is not given.
        InputError: ``seed`` is negative, ``against`` has another task, other labels or another
            tokenizer, or ``fields`` or ``label_map`` name what is not there.
        MissingExtraError: A metric or a kind of file needs a package that is not installed.
        BundleError: A bundle is damaged.
    """
    seed = check_whole("seed", seed, least=0)
    options = {"task": task, "threads": threads, "providers": providers}
    with contextlib.ExitStack() as stack:
        pipeline = _open(stack, bundle, target=target, **options)
        dataset = _read(pipeline, data, fields, label_map)
        scorer = find_scorer(pipeline)
        examples = scorer.prepare(pipeline, dataset, seed)
        if examples.gold is None and against is None:
            raise unlabelled(scorer, dataset, fix="Label it, or compare with a bundle by --against")
        rows = sum(map(len, examples.rows))
        sample = [] if against is None else sample_rows(examples)
        total = rows if against is None else 2 * rows + len(sample)
        # The bundle's own answers.
        start = time.perf_counter()
        answers = answer_examples(pipeline, scorer, examples, _shifted(advance, 0, total))
        seconds = time.perf_counter() - start
        scored = _score(scorer, examples, answers, seed)
        # The other bundle's answers to the same rows, and the distance of the outputs.
        reference = None
        if against is not None:
            other = _open(stack, against, target=None, **options)
            _check_comparable(pipeline, other)
            other_answers = answer_examples(other, scorer, examples, _shifted(advance, rows, total))
            distance = measure_distance(
                pipeline, other, sample, advance=_shifted(advance, 2 * rows, total)
            )
            other_scored = _score(scorer, examples, other_answers, seed)
            reference = Reference(
                name=str(against) if isinstance(against, str | Path) else other.task,
                agreement=scorer.agreement(answers, other_answers),
                kind=scorer.agreement_kind,
                output_error=distance.root,
                scores=other_scored.scores,
                gain=_gain(scorer.metric, scored, other_scored),
                gain_error=standard_error(scored.replicates, other_scored.replicates),
            )
        return Evaluation(
            task=pipeline.task,
            metric=scorer.metric,
            scores=scored.scores,
            standard_error=standard_error(scored.replicates),
            replicates=scored.replicates,
            examples=len(dataset),
            truncated=examples.truncated,
            seconds=seconds,
            data=dataset.source,
            sha256=dataset.sha256,
            seed=seed,
            reference=reference,
            notes=examples.notes,
        )


@dataclass(frozen=True, slots=True)
class _Scored:
    """An engine's scores on all records, and its metric with each group of records left out."""

    scores: Mapping[str, float]
    replicates: tuple[float, ...]


def _score(scorer: Scorer, examples: Examples, answers: Sequence[Any], seed: int) -> _Scored:
    if examples.gold is None:
        return _Scored({}, ())
    return _Scored(
        scorer.score(examples.gold, answers), leave_out_groups(scorer, examples, answers, seed)
    )


def _gain(metric: str, scored: _Scored, reference: _Scored) -> float | None:
    return scored.scores[metric] - reference.scores[metric] if reference.scores else None


def unlabelled(scorer: Scorer, data: DataSet, *, fix: str) -> DatasetError:
    """The error of data without labels, where answers must be scored."""
    columns = data.columns or tuple(
        dict.fromkeys(name for record in data.records for name in record)
    )
    other_name = usual_column(scorer.field, columns) if scorer.field else None
    return DatasetError(
        f"data {data.source} has no labels to score answers with",
        expected=scorer.needs,
        got=", ".join(columns),
        fix=f"{fix}. {suggest_field(scorer.field, columns)}" if other_name else fix,
    )


def _read(
    pipeline: AnyPipeline,
    data: str | Path | DataSet | Records,
    fields: Mapping[str, str] | None,
    label_map: LabelMap | None,
) -> DataSet:
    task = find_task(pipeline.task)
    if not isinstance(data, DataSet):
        return read_dataset(task, data, fields=fields, label_map=label_map)
    if fields:
        raise InputError(
            "fields have no use for a data set that was read",
            expected="fields where it is read",
            got=", ".join(fields),
        )
    return data if label_map is None else replace(data, label_map=read_label_map(task, label_map))


def _open(
    stack: contextlib.ExitStack, bundle: str | Path | AnyPipeline, **options: Any
) -> AnyPipeline:
    if isinstance(bundle, Pipeline):
        return bundle
    return stack.enter_context(load(bundle, **options))


def _shifted(advance: Advance | None, before: int, total: int) -> Advance | None:
    """The progress of one part of the work, told as progress of the whole."""
    if advance is None:
        return None
    return lambda done, _: advance(before + done, total)


def _check_comparable(pipeline: AnyPipeline, reference: AnyPipeline) -> None:
    """Refuse a reference that takes other rows or gives another kind of answer."""
    for what, expected, got in (
        ("task", pipeline.task, reference.task),
        ("labels", pipeline.labels, reference.labels),
        ("tokenizer", _tokenizer_facts(pipeline), _tokenizer_facts(reference)),
    ):
        if expected != got:
            raise InputError(
                f"bundle to compare with has another {what}", expected=expected, got=got
            )


def _tokenizer_facts(pipeline: AnyPipeline) -> tuple[Any, ...]:
    record = pipeline.manifest.tokenizer
    file = pipeline.manifest.files.get(record.file)
    return record.max_length, None if file is None else file.sha256
