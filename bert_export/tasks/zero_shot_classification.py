"""Labels that were never trained, scored by a natural-language-inference head."""

from __future__ import annotations

from typing import Self

from bert_export.tasks.checkpoint_facts import CheckpointFacts
from bert_export.tasks.interface import BATCH, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import Count, Truncation
from bert_export.tasks.task import Task, always
from bert_export.tasks.text_classification import ClassifierPostProcessing, agreement_of_labels

__all__ = ["TASK", "ZeroShotClassificationPostProcessing"]


class ZeroShotClassificationPostProcessing(ClassifierPostProcessing, frozen=True, kw_only=True):
    """How hypotheses are phrased, weighed and cut.

    Args:
        hypothesis_template: The hypothesis, with a placeholder for the label.
        multi_label: Whether every label is scored for itself.
        entailment_id: Of the head's label that says that a hypothesis holds; ``null``: the first
            whose name starts with "entail".
        truncation: Which text gives way: never the hypothesis.
    """

    hypothesis_template: str = "This example is {}."
    multi_label: bool = False
    entailment_id: Count | None = None
    truncation: Truncation = "only_first"

    @classmethod
    def from_checkpoint(cls, facts: CheckpointFacts) -> Self:
        """The defaults, and the id of the entailment where the config says it."""
        return cls(
            problem_type=facts.problem_type,
            activation_fn=facts.activation_fn,
            entailment_id=facts.entailment_id,
        )


TASK = Task(
    name="zero-shot-classification",
    aliases=("zero-shot",),
    summary="labels given at call time, scored by an NLI head",
    head="BertForSequenceClassification",
    interface=always(GraphInterface(token_inputs(), (GraphTensor("logits", (BATCH, "labels")),))),
    scored_positions="first_token",
    text_forms=("pair",),
    postprocessing=ZeroShotClassificationPostProcessing,
    pipeline="zero_shot_classification:ZeroShotClassificationPipeline",
    scorer=always("choices:ZeroShotScorer"),
    metric=always("accuracy"),
    agreement=agreement_of_labels,
    shortest_row=5,
    required=("text", "candidate_labels"),
    optional=("label",),
    demo="taxinli",
    example={
        "text": "The striker scored twice in the second half.",
        "candidate_labels": ["sport", "politics", "cooking"],
    },
)
