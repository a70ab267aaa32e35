"""Scorers of heads that predict words: masked ones, or the one that comes next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.datasets import DataSet
from bert_export.datasets.items import read_items
from bert_export.datasets.masking import hide_rows
from bert_export.evaluation.choices import gold_verdicts
from bert_export.evaluation.labels import Notes
from bert_export.evaluation.scorer import (
    Answered,
    AnyPipeline,
    Examples,
    Scorer,
    accuracy,
)
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.text2text_generation import TextToTextPipeline
from bert_export.runtime.tokenization import Tokenizer

__all__ = [
    "AnswerWordScorer",
    "MaskedWordScorer",
    "NextWordScorer",
    "PretrainingGold",
    "PretrainingScorer",
]

_UNKNOWN = -1  # in the place of an id that the text does not tell
Ids = NDArray[np.int64]


class _MaskingScorer(Scorer):
    """Hides words of the texts and scores what a head puts in their place.

    In a text without masks, 15 % of the tokens are hidden, drawn with the seed. A text may come
    with masks of its own. What they hide is not known, so they count for agreement alone.
    """

    agreement_kind = "share of equal words"
    field = ""
    needs = "texts without masks, whose words the tool hides itself"

    def settings(self, pipeline: AnyPipeline, data: DataSet) -> Any:
        return replace(pipeline.dataset_settings(), top_k=1)

    def prepare(self, pipeline: AnyPipeline, data: DataSet, seed: int) -> Examples:
        examples = super().prepare(pipeline, data, seed)
        notes = Notes()
        rows, words = _hide([row for (row,) in examples.rows], pipeline.tokenizer, seed)
        return replace(
            examples,
            rows=tuple((row,) for row in rows),
            gold=self.masked_gold(data, words, notes),
            notes=notes.sentences,
        )

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> None:
        return None  # known once the rows are masked

    @abstractmethod
    def masked_gold(self, data: DataSet, words: Sequence[Ids], notes: Notes) -> Any | None:
        """The labels, from the ids behind each row's masks, int64 (M,); see :meth:`gold`."""


class MaskedWordScorer(_MaskingScorer):
    """The id of the token behind each mask."""

    def masked_gold(
        self, data: DataSet, words: Sequence[Ids], notes: Notes
    ) -> Sequence[Ids] | None:
        return words if any((ids != _UNKNOWN).any() for ids in words) else None

    def answer(self, answered: Answered) -> Ids:
        return np.asarray(answered.reduced[0].ids[:, 0])  # (M,)

    def score(self, gold: Sequence[Ids], answers: Sequence[Ids]) -> dict[str, float]:
        hidden_ids, answered_ids = np.concatenate(list(gold)), np.concatenate(list(answers))
        known = hidden_ids != _UNKNOWN
        if not known.any():
            return {self.metric: 1.0, "masked tokens": 0.0}  # nothing to predict
        return {
            self.metric: float((hidden_ids == answered_ids)[known].mean()),
            "masked tokens": float(known.sum()),
        }


@dataclass(frozen=True, slots=True)
class PretrainingGold:
    """The labels of both heads.

    Args:
        words: Ids behind each row's masks, int64 (M,).
        is_next: Whether the second text follows the first, per record; ``None`` if not known.
    """

    words: Sequence[Ids]
    is_next: Sequence[bool] | None


class PretrainingScorer(_MaskingScorer):
    """Masked words, as in fill-mask, and whether the second text follows the first."""

    def masked_gold(self, data: DataSet, words: Sequence[Ids], notes: Notes) -> PretrainingGold:
        return PretrainingGold(words, gold_verdicts(data, notes))

    def answer(self, answered: Answered) -> tuple[Ids, bool]:
        verdict = answered.decoded["next_sentence"]["is_next"]
        return answered.reduced[0].candidates.ids[:, 0], bool(verdict)

    def select(
        self, gold: PretrainingGold, answers: Sequence[tuple[Ids, bool]], records: Sequence[int]
    ) -> tuple[PretrainingGold, Sequence[tuple[Ids, bool]]]:
        is_next = gold.is_next
        selected = PretrainingGold(
            words=[gold.words[index] for index in records],
            is_next=None if is_next is None else [is_next[index] for index in records],
        )
        return selected, [answers[index] for index in records]

    def as_gold(self, answers: Sequence[tuple[Ids, bool]]) -> PretrainingGold:
        return PretrainingGold([ids for ids, _ in answers], [verdict for _, verdict in answers])

    def score(self, gold: PretrainingGold, answers: Sequence[tuple[Ids, bool]]) -> dict[str, float]:
        scores = MaskedWordScorer(self.metric).score(gold.words, [ids for ids, _ in answers])
        if gold.is_next is not None:
            verdicts = [verdict for _, verdict in answers]
            scores["next-sentence accuracy"] = accuracy(gold.is_next, verdicts)
        return scores


class NextWordScorer(Scorer):
    """The next token: every text is cut at one place, drawn with the seed."""

    agreement_kind = "share of equal next tokens"
    field = ""
    needs = "texts of two tokens or more"

    def prepare(self, pipeline: AnyPipeline, data: DataSet, seed: int) -> Examples:
        items, settings = read_items(pipeline, data), self.settings(pipeline, data)
        rng = np.random.default_rng(seed)
        rows, gold = [], []
        for (row,) in pipeline.encode_items(items, settings):
            length = int(rng.integers(1, max(2, len(row))))
            gold.append(int(row.input_ids[length]) if length < len(row) else _UNKNOWN)
            beginning = replace(
                row,
                input_ids=row.input_ids[:length],
                token_type_ids=row.token_type_ids[:length],
            )
            rows.append((beginning,))
        return Examples(data, tuple(items), tuple(rows), settings, gold)

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> None:
        return None  # known once the texts are cut

    def answer(self, answered: Answered) -> int:
        return int(answered.reduced[0][0][-1])

    def score(self, gold: Sequence[int], answers: Sequence[int]) -> dict[str, float]:
        pairs = [pair for pair in zip(gold, answers, strict=True) if pair[0] != _UNKNOWN]
        if not pairs:
            return {self.metric: 1.0}  # nothing to predict
        return {self.metric: accuracy(*zip(*pairs, strict=True))}


class AnswerWordScorer(NextWordScorer):
    """The next token of an answer: every summary is cut at one place, drawn with the seed.

    Where a set has no summaries, the beginnings of its texts take their place, and what the
    engines say to them can only be compared.
    """

    needs = "the field summary in every record"

    def prepare(self, pipeline: AnyPipeline, data: DataSet, seed: int) -> Examples:
        assert isinstance(pipeline, TextToTextPipeline), "the task's file names both"
        items, settings = read_items(pipeline, data), self.settings(pipeline, data)
        rng = np.random.default_rng(seed)
        summaries = [record.get("summary") for record in data.records]
        rows, gold = [], []
        for (row,), summary in zip(pipeline.encode_items(items, settings), summaries, strict=True):
            ids, told = row.input_ids[1:], False  # behind [CLS]
            if isinstance(summary, str):
                ((answer,),) = pipeline.encode_items([summary], settings)
                ids, told = answer.input_ids[1:], True
            place = int(rng.integers(0, max(1, len(ids))))
            gold.append(int(ids[place]) if told and place < len(ids) else _UNKNOWN)
            rows.append((pipeline.teach(row, ids[:place]),))
        labelled = any(isinstance(summary, str) for summary in summaries)
        return Examples(data, tuple(items), tuple(rows), settings, gold if labelled else None)


def _hide(rows: Sequence[Row], tokenizer: Tokenizer, seed: int) -> tuple[list[Row], list[Ids]]:
    """Rows with masks, and the ids behind each row's masks."""
    mask_id = tokenizer.required_mask_id
    masked_rows = hide_rows(rows, tokenizer, np.random.default_rng(seed))
    gold = []
    for row, masked in zip(rows, masked_rows, strict=True):
        ids = row.input_ids[masked.input_ids == mask_id]  # (M,)
        # A mask that the text itself has hides an id that is not known.
        gold.append(np.where(ids == mask_id, _UNKNOWN, ids))
    return masked_rows, gold
