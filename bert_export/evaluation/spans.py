"""Scorer of question-answering heads: SQuAD's F1 and exact match."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bert_export.datasets import DataSet
from bert_export.evaluation.scorer import Answered, AnyPipeline, Scorer, gold_labels

__all__ = ["SpanScorer", "normalize_answer", "word_f1"]

_MAX_ANSWER_LEN = 30
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(answer: str) -> str:
    """Lower case, without punctuation and articles, with single spaces.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, and the evaluation script of SQuAD.
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def word_f1(answer: str, gold: str) -> float:
    """F1 of the words of two answers; of two empty ones 1."""
    ours, theirs = normalize_answer(answer).split(), normalize_answer(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def _given(answers: Sequence[str]) -> tuple[str, ...]:
    """Those that hold a word that counts; "no answer" where none does, as in SQuAD's script."""
    return tuple(answer for answer in answers if normalize_answer(answer)) or ("",)


class SpanScorer(Scorer):
    """The best of the given answers counts; "no answer" competes where a record has none.

    Answers are those of the pipeline, of up to 30 tokens as in SQuAD's reference.
    """

    agreement_kind = "answer F1 against the reference's answers"
    needs = "the field answers in every record"

    def settings(self, pipeline: AnyPipeline, data: DataSet) -> Any:
        silent = any(
            not record["answers"]["text"] for record in data.records if "answers" in record
        )
        return replace(
            pipeline.default_settings(),
            max_answer_len=_MAX_ANSWER_LEN,
            handle_impossible_answer=silent,
        )

    def gold(self, pipeline: AnyPipeline, data: DataSet) -> list[tuple[str, ...]] | None:
        return gold_labels(data, "answers", lambda answers, _: _given(answers["text"]))

    def answer(self, answered: Answered) -> str:
        return str(answered.decoded["answer"])

    def as_gold(self, answers: Sequence[str]) -> list[tuple[str, ...]]:
        return [(answer,) for answer in answers]

    def score(self, gold: Sequence[Sequence[str]], answers: Sequence[str]) -> dict[str, float]:
        overlap = [
            max(word_f1(answer, text) for text in texts)
            for texts, answer in zip(gold, answers, strict=True)
        ]
        exact = [
            any(normalize_answer(answer) == normalize_answer(text) for text in texts)
            for texts, answer in zip(gold, answers, strict=True)
        ]
        figures = {self.metric: float(np.mean(overlap)), "exact match": float(np.mean(exact))}
        answered = [one for one, texts in zip(overlap, gold, strict=True) if any(texts)]
        if 0 < len(answered) < len(overlap):
            figures["answered F1"] = float(np.mean(answered))
        return figures
