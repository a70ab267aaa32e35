"""The masked-language-model head: which word stands behind ``[MASK]``."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["MASKED_POSITIONS", "TASK"]

MASKED_POSITIONS = "masked_positions"
"""Graph input, where the graph scores masks only: ``row * S + column``, int64 (M,), in order."""

TASK = Task(
    name="fill-mask",
    summary="the words that fit behind [MASK]",
    head="BertForMaskedLM",
    architectures=("BertForMaskedLM",),
    outputs=(Output("logits", ("batch", "sequence", "vocabulary")),),
    pipeline="fill_mask:FillMaskPipeline",
    metric="masked-token accuracy",
    agreement="mask",
    required=("text",),
    demo="gutenberg",
    example={"text": "She opened the old [MASK] and began to read."},
)
