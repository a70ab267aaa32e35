"""The span of a context that answers a question."""

from __future__ import annotations

from typing import Literal

from bert_export.tasks.interface import BATCH, SEQUENCE, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import Count, Positive, PostProcessing
from bert_export.tasks.task import Task, always

__all__ = ["TASK", "Method", "QuestionAnsweringPostProcessing"]

Method = Literal["pipeline", "squad_v2"]
"""How logits become answers: as upstream's pipeline does, or as SQuAD v2's reference does."""


class QuestionAnsweringPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """How the context is cut into windows, and how answers are decoded.

    Args:
        top_k: Answers at most.
        doc_stride: Tokens that neighbouring windows share; half of ``max_seq_len`` where that is
            less.
        max_answer_len: Tokens of an answer at most, with ``pipeline``.
        squad_v2_max_answer_len: The same with ``squad_v2``.
        max_seq_len: Tokens of a window at most; the tokenizer's limit where that is less.
        max_question_len: Tokens kept of a question that leaves its context too little room.
        handle_impossible_answer: Whether "no answer" competes (``pipeline``).
        align_to_words: Whether an answer is widened to whole words (``pipeline``).
        method: How logits become answers.
        n_best_size: Starts, ends and spans that are considered (``squad_v2``).
        null_score_diff_threshold: "No answer" wins when its logits exceed those of the best span
            by more than this (``squad_v2``).
    """

    top_k: Positive = 1
    doc_stride: Count = 128
    max_answer_len: Positive = 15
    squad_v2_max_answer_len: Positive = 30
    max_seq_len: Positive = 384
    max_question_len: Positive = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    method: Method = "pipeline"
    n_best_size: Positive = 20
    null_score_diff_threshold: float = 0.0


TASK = Task(
    name="question-answering",
    aliases=("extractive-qa", "extractive-question-answering", "qa", "squad"),
    summary="the span of a context that answers a question",
    head="BertForQuestionAnswering",
    architectures=("BertForQuestionAnswering",),
    interface=always(
        GraphInterface(
            token_inputs(),
            (
                GraphTensor("start_logits", (BATCH, SEQUENCE)),
                GraphTensor("end_logits", (BATCH, SEQUENCE)),
            ),
        )
    ),
    scored_positions="every_token",
    text_forms=("pair",),
    text_offsets=True,
    postprocessing=QuestionAnsweringPostProcessing,
    pipeline="question_answering:QuestionAnsweringPipeline",
    scorer=always("spans:SpanScorer"),
    metric=always("answer F1"),
    agreement=always("span"),
    shortest_row=5,
    required=("question", "context"),
    optional=("answers",),
    unseen=("demo:spans",),
    demo="spans",
    representative=True,
    example={
        "question": "What data do you collect?",
        "context": "When you open an account we collect your email address and your postal code. "
        "Records are deleted after two years.",
    },
)
