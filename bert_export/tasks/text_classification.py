"""One label, several labels or a score for a text or a pair of texts."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="text-classification",
    summary="a label, several labels or a score for a text or a pair",
    head="BertForSequenceClassification",
    architectures=("BertForSequenceClassification",),
    outputs=(Output("logits", ("batch", "labels")),),
    pipeline="text_classification:TextClassificationPipeline",
    metric="accuracy",
    agreement="label",
    required=("text",),
    optional=("text_pair", "label", "labels"),
    demo="snips",
    example={"text": "Book a table for four at the Italian place on Friday."},
)
