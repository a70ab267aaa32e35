"""Whether the second text follows the first."""

from __future__ import annotations

from bert_export.tasks.interface import BATCH, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import PostProcessing, Truncation
from bert_export.tasks.task import Task, always

__all__ = ["TASK", "NextSentencePredictionPostProcessing"]


class NextSentencePredictionPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """How pairs are cut.

    Args:
        truncation: Which text gives way.
    """

    truncation: Truncation = "longest_first"


TASK = Task(
    name="next-sentence-prediction",
    aliases=("next-sentence", "nsp"),
    pipeline_tag=None,
    summary="whether the second text follows the first",
    head="BertForNextSentencePrediction",
    architectures=("BertForNextSentencePrediction",),
    interface=always(GraphInterface(token_inputs(), (GraphTensor("logits", (BATCH, 2)),))),
    scored_positions="first_token",
    text_forms=("pair",),
    postprocessing=NextSentencePredictionPostProcessing,
    pipeline="next_sentence_prediction:NextSentencePredictionPipeline",
    scorer=always("choices:NextSentenceScorer"),
    metric=always("next-sentence accuracy"),
    agreement=always("label"),
    shortest_row=5,
    required=("text", "text_pair"),
    optional=("label",),
    unseen=("demo:gutenberg",),
    demo="gutenberg",
    example={
        "text": "He knocked three times and waited.",
        "text_pair": "At last the door was opened by an old woman.",
    },
)
