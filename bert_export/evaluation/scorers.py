"""The scorer of a pipeline's answers, as its task names it."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from bert_export.evaluation.scorer import AnyPipeline, Scorer

__all__ = ["find_scorer"]


def find_scorer(pipeline: AnyPipeline) -> Scorer:
    """The scorer of a pipeline's answers: that of its task, and of what its labels are."""
    task, facts = pipeline.definition, pipeline.facts
    module, name = task.scorer(facts).split(":")
    kind = getattr(import_module(f"bert_export.evaluation.{module}"), name)
    return cast("Scorer", kind(task.metric(facts)))
