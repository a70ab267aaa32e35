"""The scorer that a task names."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from bert_export.evaluation.scorer import AnyPipeline, Scorer

__all__ = ["find_scorer"]


def find_scorer(pipeline: AnyPipeline) -> Scorer:
    """The scorer of a pipeline's answers, by its task and its kind of labels."""
    task, facts = pipeline.definition, pipeline.facts
    module, name = task.scorer(facts).split(":")
    scorer_class = getattr(import_module(f"bert_export.evaluation.{module}"), name)
    return cast("Scorer", scorer_class(task.metric(facts)))
