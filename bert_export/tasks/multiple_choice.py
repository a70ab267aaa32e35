"""Which of several continuations fits a prompt."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="multiple-choice",
    summary="which of several continuations fits a prompt",
    head="BertForMultipleChoice",
    architectures=("BertForMultipleChoice",),
    outputs=(Output("logits", ("batch", "choices")),),
    pipeline="multiple_choice:MultipleChoicePipeline",
    metric="choice accuracy",
    agreement="label",
    required=("prompt", "choices"),
    optional=("label",),
    demo="codah",
    example={
        "prompt": "The kettle began to whistle. Maria",
        "choices": ["poured the tea.", "swam across it.", "planted the kettle.", "read it twice."],
    },
)
