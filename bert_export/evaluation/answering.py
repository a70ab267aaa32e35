"""Encoded examples through a pipeline's own steps, with progress."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

from bert_export.evaluation.scorer import Answered, AnyPipeline, Examples, Scorer
from bert_export.runtime.batching import Advance

__all__ = ["answer_examples"]

_CHUNK = 1024
"""How many items have their reduced outputs in memory together."""


def answer_examples(
    pipeline: AnyPipeline, scorer: Scorer, examples: Examples, advance: Advance | None = None
) -> list[Any]:
    """The scorer's answers to all examples, in order.

    Args:
        pipeline: A pipeline whose graph takes the examples' rows.
        scorer: The task's scorer.
        examples: From :meth:`~bert_export.evaluation.scorer.Scorer.prepare`.
        advance: Called with (rows done, rows in all) after every batch.
    """
    total, done = sum(map(len, examples.rows)), 0

    def tell(more: int, _: int) -> None:
        if advance is not None:
            advance(done + more, total)

    answers: list[Any] = []
    for start in range(0, len(examples.items), _CHUNK):
        items = examples.items[start : start + _CHUNK]
        rows_per_item = examples.rows[start : start + _CHUNK]
        rows = list(chain.from_iterable(rows_per_item))
        reduced = pipeline.reduce_rows(rows, examples.settings, advance=tell)
        done += len(rows)
        outputs = iter(reduced)
        for item, item_rows in zip(items, rows_per_item, strict=True):
            item_outputs = list(islice(outputs, len(item_rows)))
            answers.append(
                scorer.answer(Answered(pipeline, item, item_rows, item_outputs, examples.settings))
            )
    return answers
