"""Examples through a pipeline's own steps, with progress, without encoding them again."""

from __future__ import annotations

from itertools import chain
from typing import Any

from bert_export.evaluation.scorer import Answered, AnyPipeline, Examples, Scorer
from bert_export.runtime.batching import Advance

__all__ = ["answer_examples"]

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

    def tell(more: int, _: int) -> None:
        if advance is not None:
            advance(done + more, total)

    answers: list[Any] = []
    for start in range(0, len(examples.items), _CHUNK):
        rows_of = examples.rows[start : start + _CHUNK]
        rows = list(chain.from_iterable(rows_of))
        reduced = pipeline.reduce_rows(rows, examples.settings, advance=tell)
        done += len(rows)
        begun = 0
        for item, item_rows in zip(examples.items[start : start + _CHUNK], rows_of, strict=True):
            ended = begun + len(item_rows)
            kept = reduced[begun:ended]
            answers.append(
                scorer.answer(Answered(pipeline, item, item_rows, kept, examples.settings))
            )
            begun = ended
    return answers
