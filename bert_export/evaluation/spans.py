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
from bert_export.evaluation.labels import Notes
from bert_export.evaluation.scorer import Answered, AnyPipeline, Scorer, gold_labels

__all__ = ["SpanScorer", "normalize_answer", "word_f1"]

_MAX_ANSWER_LEN = 30
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(answer: str) -> str:
    """An answer in lower case, without punctuation and articles, with single spaces.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, and the evaluation script of SQuAD.
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def word_f1(answer: str, gold: str) -> float:
    """F1 of the words of two answers; 1 if both are empty."""
    words, gold_words = normalize_answer(answer).split(), normalize_answer(gold).split()
    if not words or not gold_words:
        return float(words == gold_words)
    shared = sum((Counter(words) & Counter(gold_words)).values())
    return 2 * shared / (len(words) + len(gold_words))


def _gold_answers(answers: Sequence[str]) -> tuple[str, ...]:
    """The answers with a word left after normalization, or "no answer", as in SQuAD's script."""
    return tuple(answer for answer in answers if normalize_answer(answer)) or ("",)


class SpanScorer(Scorer):
    """SQuAD's F1 and exact match with the best of a record's answers.

    The pipeline answers with up to 30 tokens, as SQuAD's reference does. "No answer" competes if a
    record of the data has none.
    """

    agreement_kind = "answer F1 against the reference's answers"
    field = "answers"
    needs = "the field answers in every record"

    def settings(self, pipeline: AnyPipeline, data: DataSet) -> Any:
        has_unanswerable = any(
            not record["answers"]["text"] for record in data.records if "answers" in record
        )
        return replace(
            pipeline.default_settings(),
            max_answer_len=_MAX_ANSWER_LEN,
            handle_impossible_answer=has_unanswerable,
        )

    def gold(
        self, labels: Sequence[str], data: DataSet, notes: Notes
    ) -> list[tuple[str, ...]] | None:
        return gold_labels(data, "answers", lambda answers, _: _gold_answers(answers["text"]))

    def answer(self, answered: Answered) -> str:
        return str(answered.decoded["answer"])

    def as_gold(self, answers: Sequence[str]) -> list[tuple[str, ...]]:
        return [(answer,) for answer in answers]

    def score(self, gold: Sequence[Sequence[str]], answers: Sequence[str]) -> dict[str, float]:
        f1s = [
            max(word_f1(answer, text) for text in texts)
            for texts, answer in zip(gold, answers, strict=True)
        ]
        exact_matches = [
            any(normalize_answer(answer) == normalize_answer(text) for text in texts)
            for texts, answer in zip(gold, answers, strict=True)
        ]
        scores = {self.metric: float(np.mean(f1s)), "exact match": float(np.mean(exact_matches))}
        answerable = [f1 for f1, texts in zip(f1s, gold, strict=True) if any(texts)]
        if 0 < len(answerable) < len(f1s):
            scores["answered F1"] = float(np.mean(answerable))
        return scores
