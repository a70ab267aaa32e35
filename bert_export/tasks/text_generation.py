"""Text continued token by token by a causal BERT."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from bert_export.tasks.checkpoint_facts import CheckpointFacts
from bert_export.tasks.interface import (
    BATCH,
    SEQUENCE,
    GraphInterface,
    GraphTensor,
    cached_interface,
    token_inputs,
)
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
        num_beams: Texts that a beam search keeps side by side; 1 for none.
        length_penalty: A beam's score is divided by its new tokens to the power of this.
        early_stopping: Whether a beam search ends with as many ended texts as beams; ``never`` goes
            on as long as a better one could come.
        repetition_penalty: Above 1 makes tokens that are in the text less likely.
        no_repeat_ngram_size: Tokens of an n-gram that may come only once; 0 for no bound.
        min_new_tokens: Tokens that come before the end may.
        num_return_sequences: Continuations of each prompt.
        return_full_text: Whether an answer starts with its prompt.
        truncation: Whether a prompt that is too long loses its end.
    """

    max_new_tokens: Positive = 256
    do_sample: bool = False
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    top_k: Count = 50
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    num_beams: Positive = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    no_repeat_ngram_size: Count = 0
    min_new_tokens: Count = 0
    num_return_sequences: Positive = 1
    return_full_text: bool = True
    truncation: Truncation = "none"


def _interface(facts: CheckpointFacts) -> GraphInterface:
    """The next word's scores, and the keys and values of all tokens so far."""
    return cached_interface(
        GraphInterface(token_inputs(), (GraphTensor("logits", (BATCH, SEQUENCE, "vocabulary")),)),
        layers=facts.layers,
        heads=facts.heads,
        head_size=facts.head_size,
    )


TASK = Task(
    name="text-generation",
    aliases=("causal-lm", "clm", "generation", "language-modeling"),
    summary="text continued token by token by a causal BERT",
    head="BertLMHeadModel",
    architectures=("BertLMHeadModel", "BertForCausalLM"),
    interface=_interface,
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
    demo="novels",
    representative=True,
    example={"text": "Once upon a time"},
)
