"""The masked-language-model head: which word stands behind ``[MASK]``."""

from __future__ import annotations

from bert_export.tasks.interface import BATCH, SEQUENCE, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import Count, TextPostProcessing
from bert_export.tasks.task import Task, always

__all__ = ["TASK", "FillMaskPostProcessing"]


class FillMaskPostProcessing(TextPostProcessing, frozen=True, kw_only=True):
    """How many words are reported, and how texts are cut: cutting one could lose a mask.

    Args:
        top_k: Candidates per mask, best first.
    """

    top_k: Count = 5


TASK = Task(
    name="fill-mask",
    aliases=("masked-language-modeling", "masked-lm", "mlm"),
    summary="the words that fit behind [MASK]",
    head="BertForMaskedLM",
    architectures=("BertForMaskedLM",),
    interface=always(
        GraphInterface(token_inputs(), (GraphTensor("logits", (BATCH, SEQUENCE, "vocabulary")),))
    ),
    scored_positions="masks",
    masked_texts=True,
    postprocessing=FillMaskPostProcessing,
    pipeline="fill_mask:FillMaskPipeline",
    scorer=always("words:MaskedWordScorer"),
    metric=always("masked-token accuracy"),
    agreement=always("mask"),
    shortest_row=3,
    required=("text",),
    unseen=("demo:gutenberg",),
    demo="gutenberg",
    representative=True,
    example={"text": "She opened the old [MASK] and began to read."},
)
