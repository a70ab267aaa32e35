"""A pipeline answers columns: one list of values per field of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.zero_shot_classification import TASK as ZERO_SHOT_CLASSIFICATION

__all__ = ["answer_columns"]


def answer_columns(
    pipeline: Pipeline[Any, Any, Any],
    fields: Mapping[str, Sequence[Any]],
    options: Mapping[str, Any],
) -> Any:
    """Answer rows together, each with the shape of one answer among several.

    Args:
        pipeline: Of any task.
        fields: Values of the rows by field, all of one length; ``None`` where a row lacks one.
        options: Of the call.

    Returns:
        A list in the rows' order; float32 (N, D) of a sentence embedding.

    Raises:
        InputError: A row does not fit; the error names its index.
    """
    if pipeline.task == SENTENCE_EMBEDDING.name and fields.keys() == {"text"}:
        vectors: Any = pipeline(list(fields["text"]), **options)
        return np.asarray(vectors, dtype=np.float32)
    if pipeline.task == ZERO_SHOT_CLASSIFICATION.name and "candidate_labels" in fields:
        # Rows may differ in their labels, which are an argument of the call.
        rows = zip(fields["text"], fields["candidate_labels"], strict=True)
        return [pipeline(text, labels, **options) for text, labels in rows]
    if fields.keys() == {"text"}:
        return list(pipeline(iter(fields["text"]), **options))
    if fields.keys() == {"tokens"}:
        return list(pipeline(iter(fields["tokens"]), **{**options, "is_split_into_words": True}))
    records = (
        {name: value for name, value in zip(fields, row, strict=True) if value is not None}
        for row in zip(*fields.values(), strict=True)
    )
    return list(pipeline(records, **options))
