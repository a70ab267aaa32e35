"""The scorer that a task names."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from bert_export.datasets import DataSet
from bert_export.evaluation.labels import Notes
from bert_export.evaluation.scorer import AnyPipeline, Scorer
from bert_export.tasks import CheckpointFacts, Task

__all__ = ["check_labels", "find_scorer", "scorer_for"]


def find_scorer(pipeline: AnyPipeline) -> Scorer:
    """The scorer of a pipeline's answers, by its task and its kind of labels."""
    return scorer_for(pipeline.definition, pipeline.facts)


def check_labels(task: Task, facts: CheckpointFacts, data: DataSet) -> tuple[str, ...]:
    """Refuse data that cannot be scored, before anything that takes time.

    Args:
        task: What answers.
        facts: Of the head, with its labels.
        data: The records.

    Returns:
        What labels are matched without being asked, a sentence each.

    Raises:
        DatasetError: Some records have labels and some have none, or the head has not such a label.
        InputError: The label map leads to a label that the head has not.
    """
    notes = Notes()
    scorer_for(task, facts).gold(facts.labels, data, notes)
    return notes.sentences


def scorer_for(task: Task, facts: CheckpointFacts) -> Scorer:
    """The scorer of a task's answers, by the kind of labels that a checkpoint has."""
    module, name = task.scorer(facts).split(":")
    scorer_class = getattr(import_module(f"bert_export.evaluation.{module}"), name)
    return cast("Scorer", scorer_class(task.metric(facts)))
