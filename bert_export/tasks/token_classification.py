"""A tag per token, grouped into entities."""

from __future__ import annotations

from typing import Literal

from bert_export.tasks.interface import BATCH, SEQUENCE, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import Count, PostProcessing, Truncation
from bert_export.tasks.task import Task, always

__all__ = ["TASK", "Aggregation", "TokenClassificationPostProcessing"]

Aggregation = Literal["none", "simple", "first", "average", "max"]
"""How tokens become entities: not at all, neighbours of one type, or after the tokens of a word
agreed on the label of its first token, of their mean, of the surest."""


class TokenClassificationPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """How tokens are grouped, and how texts are cut.

    Args:
        aggregation_strategy: How tokens become entities.
        ignore_labels: Labels that are left out of the answer, after the grouping.
        stride: Tokens that two windows of a long text share; ``null`` cuts the text instead.
        delimiter: What stands between words that came split, in the text that offsets count in.
        truncation: Which end a text loses that is cut.
    """

    aggregation_strategy: Aggregation = "none"
    ignore_labels: tuple[str, ...] = ("O",)
    stride: Count | None = None
    delimiter: str = " "
    truncation: Truncation = "longest_first"


TASK = Task(
    name="token-classification",
    aliases=("named-entity-recognition", "ner", "pos", "tagging"),
    summary="a tag per token, grouped into entities",
    head="BertForTokenClassification",
    architectures=("BertForTokenClassification",),
    interface=always(
        GraphInterface(token_inputs(), (GraphTensor("logits", (BATCH, SEQUENCE, "labels")),))
    ),
    scored_positions="every_token",
    text_offsets=True,
    postprocessing=TokenClassificationPostProcessing,
    pipeline="token_classification:TokenClassificationPipeline",
    scorer=always("tagging:TaggingScorer"),
    metric=always("entity F1"),
    agreement=always("token"),
    shortest_row=3,
    required=(),
    optional=("text", "tokens", "tags"),
    unseen=("demo:wnut17",),
    demo="wnut17",
    example={"text": "Ada Lovelace met Charles Babbage in London."},
    command_options={"aggregation_strategy": "first"},
)
