"""Labels that were never trained, scored by a natural-language-inference head."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="zero-shot-classification",
    summary="labels given at call time, scored by an NLI head",
    head="BertForSequenceClassification",
    outputs=(Output("logits", ("batch", "labels")),),
    pipeline="zero_shot_classification:ZeroShotClassificationPipeline",
    metric="accuracy",
    agreement="label",
    required=("text", "candidate_labels"),
    optional=("label",),
    demo="taxinli",
    example={
        "text": "The striker scored twice in the second half.",
        "candidate_labels": ["sport", "politics", "cooking"],
    },
)
