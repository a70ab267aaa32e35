"""Examples through a pipeline's own steps, with progress, without encoding them again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from bert_export.evaluation.scorer import Answered, AnyPipeline, Examples, Scorer
from bert_export.runtime.batching import batch_rows, pad_rows

__all__ = ["Advance", "answer_examples"]

Advance = Callable[[int, int], None]
"""Hears (rows done, rows in all)."""

_CHUNK = 1024
"""Items whose reduced outputs are in memory together."""


def answer_examples(
    pipeline: AnyPipeline, scorer: Scorer, examples: Examples, advance: Advance | None = None
) -> list[Any]:
    """The scorer's answers to all examples, in order.

    Args:
        pipeline: Over any session whose graph takes the examples' rows.
        scorer: Of the task.
        examples: From the scorer.
        advance: Called after every batch.
    """
    total, done = sum(map(len, examples.rows)), 0
    answers: list[Any] = []
    for start in range(0, len(examples.items), _CHUNK):
        rows_of = examples.rows[start : start + _CHUNK]
        rows = list(chain.from_iterable(rows_of))
        reduced: list[Any] = [None] * len(rows)
        for batch in batch_rows([len(row) for row in rows]):
            own = [rows[index] for index in batch]
            feeds = pad_rows(own, pad_id=pipeline.tokenizer.pad_id)
            outputs = pipeline.run(pipeline.graph_feeds(feeds))
            for index, part in zip(batch, pipeline.split_outputs(own, outputs), strict=True):
                reduced[index] = pipeline.reduce(rows[index], part, examples.settings)
            done += len(batch)
            if advance is not None:
                advance(done, total)
        begun = 0
        for item, item_rows in zip(examples.items[start : start + _CHUNK], rows_of, strict=True):
            ended = begun + len(item_rows)
            kept = reduced[begun:ended]
            answers.append(
                scorer.answer(Answered(pipeline, item, item_rows, kept, examples.settings))
            )
            begun = ended
    return answers
