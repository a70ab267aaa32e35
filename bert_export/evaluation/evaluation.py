"""The library call behind the command: a bundle's figures on a file, and what they come from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_export.datasets import DataSet, read_dataset
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
    """Another engine's answers to the same rows.

    Args:
        name: The bundle, as given.
        agreement: How far the answers are the same; 1 where all are.
        kind: What that figure is, in words.
        output_error: Root mean square of the outputs' difference from the reference's as a share of
            their standard deviation, on an even sample of the rows; 0 where they are the same.
        scores: The reference's own figures; empty without labels.
        gain: Of the bundle over the reference, in the figure that counts; ``None`` without labels.
        gain_error: Standard error of the gain: on other examples of the same kind it would be off
            by about so much. ``None`` without labels, or with one record.
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
    """What a bundle's answers are worth.

    Args:
        task: That was asked.
        metric: The figure that counts.
        scores: Figures by name, the one that counts first; shares in [0, 1], or correlations.
            Empty where the data has no labels.
        standard_error: Of the figure that counts, by the choice of examples; ``None`` without
            labels, or with one record.
        replicates: The figure that counts with one group of the records left out at a time, which
            the standard error comes from; the same groups for every bundle that is scored on the
            data with the same seed.
        examples: Records.
        truncated: Texts, or whatever else a record's rows stand for, that were longer than the
            model takes and lost their end before they were answered.
        seconds: That the answering took, tokenization not included.
        data: The file, as given.
        sha256: Of the file.
        seed: Of whatever was drawn.
        reference: The comparison that was asked for.
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

    @property
    def score(self) -> float:
        """The figure that counts.

        Raises:
            DatasetError: The data has no labels.
        """
        if not self.scores:
            raise DatasetError(f"data {self.data} has no labels, so there is no {self.metric}")
        return self.scores[self.metric]


def evaluate(
    bundle: str | Path | AnyPipeline,
    data: str | Path | DataSet,
    *,
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
        data: A file as :func:`bert_export.datasets.read_dataset` takes it, or what that gave.
        task: Another task that the bundle's head serves.
        target: Which of the bundle's engines answers; its default when ``None``.
        against: A bundle of the same checkpoint, such as the FP32 one, that answers the same rows.
        seed: Of masks and cuts, where the tool makes them.
        threads: Threads inside an operator.
        providers: ONNX Runtime execution providers.
        advance: Called with (rows done, rows in all) after every batch; what ``against`` answers
            and the comparison count too.

    Returns:
        Figures and where they come from.

    Raises:
        DatasetError: The file is malformed, does not fit the task, or has no labels and
            ``against`` is not given.
        InputError: ``seed`` is negative, or ``against`` has another task, other labels or another
            tokenizer.
        MissingExtraError: A metric or a kind of file needs a package that is not installed.
        BundleError: A bundle is damaged.
    """
    seed = check_whole("seed", seed, least=0)
    options = {"task": task, "threads": threads, "providers": providers}
    with contextlib.ExitStack() as stack:
        pipeline = _open(stack, bundle, target=target, **options)
        dataset = (
            data if isinstance(data, DataSet) else read_dataset(find_task(pipeline.task), data)
        )
        scorer = find_scorer(pipeline)
        examples = scorer.prepare(pipeline, dataset, seed)
        if examples.gold is None and against is None:
            raise unlabelled(scorer, dataset, fix="Label it, or compare with a bundle by --against")
        rows = sum(map(len, examples.rows))
        sample = [] if against is None else sample_rows(examples)
        total = rows if against is None else 2 * rows + len(sample)
        start = time.perf_counter()
        answers = answer_examples(pipeline, scorer, examples, _shifted(advance, 0, total))
        seconds = time.perf_counter() - start
        ours = _figures(scorer, examples, answers, seed)
        reference = None
        if against is not None:
            other = _open(stack, against, target=None, **options)
            _check_alike(pipeline, other)
            theirs = answer_examples(other, scorer, examples, _shifted(advance, rows, total))
            distance = measure_distance(
                pipeline, other, sample, advance=_shifted(advance, 2 * rows, total)
            )
            exact = _figures(scorer, examples, theirs, seed)
            reference = Reference(
                name=str(against) if isinstance(against, str | Path) else other.task,
                agreement=scorer.agreement(answers, theirs),
                kind=scorer.agreement_kind,
                output_error=distance.root,
                scores=exact.scores,
                gain=_gain(scorer.metric, ours, exact),
                gain_error=standard_error(ours.left_out, exact.left_out),
            )
        return Evaluation(
            task=pipeline.task,
            metric=scorer.metric,
            scores=ours.scores,
            standard_error=standard_error(ours.left_out),
            replicates=ours.left_out,
            examples=len(dataset),
            truncated=examples.truncated,
            seconds=seconds,
            data=dataset.source,
            sha256=dataset.sha256,
            seed=seed,
            reference=reference,
        )


@dataclass(frozen=True, slots=True)
class _Figures:
    """An engine's figures on all records, and the one that counts without each group of them."""

    scores: Mapping[str, float]
    left_out: tuple[float, ...]


def _figures(scorer: Scorer, examples: Examples, answers: Sequence[Any], seed: int) -> _Figures:
    if examples.gold is None:
        return _Figures({}, ())
    return _Figures(
        scorer.score(examples.gold, answers), leave_out_groups(scorer, examples, answers, seed)
    )


def _gain(metric: str, ours: _Figures, exact: _Figures) -> float | None:
    return ours.scores[metric] - exact.scores[metric] if exact.scores else None


def unlabelled(scorer: Scorer, data: DataSet, *, fix: str) -> DatasetError:
    """The error of data that answers cannot be scored with."""
    return DatasetError(
        f"data {data.source} has no labels to score answers with",
        expected=scorer.needs,
        got=", ".join(dict.fromkeys(name for record in data.records for name in record)),
        fix=fix,
    )


def _open(
    stack: contextlib.ExitStack, bundle: str | Path | AnyPipeline, **options: Any
) -> AnyPipeline:
    if isinstance(bundle, Pipeline):
        return bundle
    return stack.enter_context(load(bundle, **options))


def _shifted(advance: Advance | None, before: int, total: int) -> Advance | None:
    """Progress of one part of the work as progress of the whole."""
    if advance is None:
        return None
    return lambda done, _: advance(before + done, total)


def _check_alike(ours: AnyPipeline, theirs: AnyPipeline) -> None:
    """Two bundles of the same checkpoint take the same rows and give the same kind of answer."""
    for what, left, right in (
        ("task", ours.task, theirs.task),
        ("labels", ours.labels, theirs.labels),
        ("tokenizer", _tokenizer_facts(ours), _tokenizer_facts(theirs)),
    ):
        if left != right:
            raise InputError(f"bundle to compare with has another {what}", expected=left, got=right)


def _tokenizer_facts(pipeline: AnyPipeline) -> tuple[Any, ...]:
    record = pipeline.manifest.tokenizer
    file = pipeline.manifest.files.get(record.file)
    return record.max_length, None if file is None else file.sha256
