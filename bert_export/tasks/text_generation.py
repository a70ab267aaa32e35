"""Text continued token by token by a causal BERT."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bert_export.tasks.interface import BATCH, SEQUENCE, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import Count, Positive, PostProcessing, Truncation
from bert_export.tasks.task import Task, always

__all__ = ["TASK", "TextGenerationPostProcessing"]


class TextGenerationPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """How a text is continued.

    Args:
        max_new_tokens: Tokens that a prompt grows by at most.
        do_sample: Whether tokens are drawn; the likeliest is taken otherwise.
        temperature: Logits are divided by it before a token is drawn.
        top_k: Only that many of the likeliest tokens may be drawn; 0 for all.
        top_p: Only the likeliest tokens that together reach this probability may be drawn.
        return_full_text: Whether an answer starts with its prompt.
        truncation: Whether a prompt that is too long loses its end.
    """

    max_new_tokens: Positive = 256
    do_sample: bool = False
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    top_k: Count = 50
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    return_full_text: bool = True
    truncation: Truncation = "none"


TASK = Task(
    name="text-generation",
    aliases=("causal-lm", "clm", "generation", "language-modeling"),
    summary="text continued token by token by a causal BERT",
    head="BertLMHeadModel",
    architectures=("BertLMHeadModel", "BertForCausalLM"),
    interface=always(
        GraphInterface(token_inputs(), (GraphTensor("logits", (BATCH, SEQUENCE, "vocabulary")),))
    ),
    scored_positions="last_token",
    text_forms=(),
    postprocessing=TextGenerationPostProcessing,
    pipeline="text_generation:TextGenerationPipeline",
    scorer=always("words:NextWordScorer"),
    metric=always("next-token accuracy"),
    agreement=always("token"),
    shortest_row=3,
    required=("text",),
    unseen=("demo:gutenberg",),
    demo=None,
    example={"text": "Once upon a time"},
)
