"""The span of a context that answers a question."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="question-answering",
    summary="the span of a context that answers a question",
    head="BertForQuestionAnswering",
    architectures=("BertForQuestionAnswering",),
    outputs=(
        Output("start_logits", ("batch", "sequence")),
        Output("end_logits", ("batch", "sequence")),
    ),
    pipeline="question_answering:QuestionAnsweringPipeline",
    metric="answer F1",
    agreement="span",
    required=("question", "context"),
    optional=("answers",),
    demo="spans",
    example={
        "question": "What data do you collect?",
        "context": "When you open an account we collect your email address and your postal code. "
        "Records are deleted after two years.",
    },
)
