"""The table of scorers by task."""

from __future__ import annotations

from collections.abc import Mapping

from bert_export.evaluation.choices import ChoiceScorer, NextSentenceScorer, ZeroShotScorer
from bert_export.evaluation.classification import (
    MultiLabelScorer,
    RegressionScorer,
    SingleLabelScorer,
)
from bert_export.evaluation.scorer import AnyPipeline, Scorer
from bert_export.evaluation.spans import SpanScorer
from bert_export.evaluation.tagging import TaggingScorer
from bert_export.evaluation.vectors import EmbeddingScorer, FeatureScorer
from bert_export.evaluation.words import MaskedWordScorer, NextWordScorer, PretrainingScorer

__all__ = ["SCORERS", "find_scorer"]

SCORERS: Mapping[str, Scorer] = {
    "feature-extraction": FeatureScorer(),
    "sentence-embedding": EmbeddingScorer(),
    "fill-mask": MaskedWordScorer(),
    "text-classification": SingleLabelScorer(),
    "zero-shot-classification": ZeroShotScorer(),
    "token-classification": TaggingScorer(),
    "question-answering": SpanScorer(),
    "multiple-choice": ChoiceScorer(),
    "next-sentence-prediction": NextSentenceScorer(),
    "pretraining": PretrainingScorer(),
    "text-generation": NextWordScorer(),
}


def find_scorer(pipeline: AnyPipeline) -> Scorer:
    """The scorer of a pipeline's answers: that of its task, and of what its labels are."""
    if pipeline.task == "text-classification":
        problem = pipeline.manifest.postprocessing.get("problem_type")
        if problem == "multi_label_classification":
            return MultiLabelScorer()
        if problem == "regression" or len(pipeline.labels) == 1:
            return RegressionScorer()
    return SCORERS[pipeline.task]
