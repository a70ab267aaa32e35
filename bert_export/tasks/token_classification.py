"""A tag per token, grouped into entities."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="token-classification",
    summary="a tag per token, grouped into entities",
    head="BertForTokenClassification",
    architectures=("BertForTokenClassification",),
    outputs=(Output("logits", ("batch", "sequence", "labels")),),
    pipeline="token_classification:TokenClassificationPipeline",
    metric="entity F1",
    agreement="token",
    required=(),
    optional=("text", "tokens", "tags"),
    demo="wnut17",
    example={"text": "Ada Lovelace met Charles Babbage in London."},
    example_options={"aggregation_strategy": "simple"},
)
