"""Which of several continuations fits a prompt."""

from __future__ import annotations

from bert_export.tasks.interface import (
    BATCH,
    CHOICES,
    SEQUENCE,
    GraphInterface,
    GraphTensor,
    token_inputs,
)
from bert_export.tasks.postprocessing import PostProcessing, Truncation
from bert_export.tasks.task import Task, always

__all__ = ["TASK", "MultipleChoicePostProcessing"]


class MultipleChoicePostProcessing(PostProcessing, frozen=True, kw_only=True):
    """How pairs are cut.

    Args:
        truncation: Which of prompt and choice gives way.
    """

    truncation: Truncation = "longest_first"


TASK = Task(
    name="multiple-choice",
    aliases=("mcq", "swag"),
    summary="which of several continuations fits a prompt",
    head="BertForMultipleChoice",
    architectures=("BertForMultipleChoice",),
    interface=always(
        GraphInterface(
            token_inputs(axes=(BATCH, CHOICES, SEQUENCE)),
            (GraphTensor("logits", (BATCH, CHOICES)),),
        )
    ),
    scored_positions="first_token",
    text_forms=("choices",),
    postprocessing=MultipleChoicePostProcessing,
    pipeline="multiple_choice:MultipleChoicePipeline",
    scorer=always("choices:ChoiceScorer"),
    metric=always("choice accuracy"),
    agreement=always("label"),
    shortest_row=5,
    required=("prompt", "choices"),
    optional=("label",),
    unseen=("demo:codah",),
    demo="codah",
    example={
        "prompt": "The kettle began to whistle. Maria",
        "choices": ["poured the tea.", "swam across it.", "planted the kettle.", "read it twice."],
    },
)
