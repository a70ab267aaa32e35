"""Whether the second text follows the first."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="next-sentence-prediction",
    summary="whether the second text follows the first",
    head="BertForNextSentencePrediction",
    architectures=("BertForNextSentencePrediction",),
    outputs=(Output("logits", ("batch", 2)),),
    pipeline="next_sentence_prediction:NextSentencePredictionPipeline",
    metric="accuracy",
    agreement="label",
    required=("text", "text_pair"),
    optional=("label",),
    demo="gutenberg",
    example={
        "text": "He knocked three times and waited.",
        "text_pair": "At last the door was opened by an old woman.",
    },
)
