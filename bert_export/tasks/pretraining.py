"""Both heads of pre-training: masked words and next sentence."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="pretraining",
    summary="masked words and next sentence, both heads of pre-training",
    head="BertForPreTraining",
    architectures=("BertForPreTraining",),
    outputs=(
        Output("prediction_logits", ("batch", "sequence", "vocabulary")),
        Output("seq_relationship_logits", ("batch", 2)),
    ),
    pipeline="pretraining:PretrainingPipeline",
    metric="masked-token accuracy",
    agreement="token",
    required=("text", "text_pair"),
    optional=("label",),
    demo="gutenberg",
    example={
        "text": "He knocked three times and [MASK].",
        "text_pair": "At last the [MASK] was opened by an old woman.",
    },
)
