"""Both heads of pre-training: masked words and next sentence."""

from __future__ import annotations

from bert_export.tasks.interface import BATCH, SEQUENCE, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import Count, PostProcessing, Truncation
from bert_export.tasks.task import Task, always

__all__ = ["TASK", "PretrainingPostProcessing"]


class PretrainingPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """How many words are reported, and how pairs are cut: cutting one could lose a mask.

    Args:
        top_k: Candidates per mask, best first.
        truncation: Which text gives way.
    """

    top_k: Count = 5
    truncation: Truncation = "none"


TASK = Task(
    name="pretraining",
    aliases=("pre-training",),
    pipeline_tag=None,
    summary="masked words and next sentence, both heads of pre-training",
    head="BertForPreTraining",
    architectures=("BertForPreTraining",),
    interface=always(
        GraphInterface(
            token_inputs(),
            (
                GraphTensor("prediction_logits", (BATCH, SEQUENCE, "vocabulary")),
                GraphTensor("seq_relationship_logits", (BATCH, 2)),
            ),
        )
    ),
    scored_positions="every_token",
    masked_texts=True,
    text_forms=("pair",),
    postprocessing=PretrainingPostProcessing,
    pipeline="pretraining:PretrainingPipeline",
    scorer=always("words:PretrainingScorer"),
    metric=always("masked-token accuracy"),
    agreement=always("token"),
    shortest_row=5,
    required=("text", "text_pair"),
    optional=("label",),
    unseen=("demo:gutenberg",),
    demo="gutenberg",
    example={
        "text": "He knocked three times and [MASK].",
        "text_pair": "At last the [MASK] was opened by an old woman.",
    },
)
