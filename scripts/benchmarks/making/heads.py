"""The heads whose accuracy is measured, and their test sets as files of the project's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.demonstrations.data import READERS, Record

__all__ = ["HEADS", "Head", "write_test_set"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A trained head and what it is scored on.

    Args:
        task: Of the bundle.
        demo: The demonstration that holds it.
        recipe: Of ``train.RECIPES``, to train it fully; ``None`` for the base model itself.
        reader: Of ``data.READERS``.
        test: Which of the reader's test sets.
        compare: Whether answers are compared with FP32's: the mean cosine of embeddings.
    """

    task: str
    demo: str
    recipe: str | None
    reader: str
    test: str
    compare: bool = False


def _named(name: str, task: str) -> Head:
    """A head whose demonstration, recipe, reader and test set have one name."""
    return Head(task=task, demo=name, recipe=name, reader=name, test=name)


HEADS: Mapping[str, Head] = {
    "wnut17": _named("wnut17", "token-classification"),
    "snips": _named("snips", "text-classification"),
    "nlupp": _named("nlupp", "text-classification"),
    "stsb": _named("stsb", "text-classification"),
    "stsb-embedding": Head(
        task="sentence-embedding",
        demo="minilm",
        recipe=None,
        reader="stsb",
        test="stsb",
        compare=True,
    ),
    "taxinli": _named("taxinli", "text-classification"),
    "policyqa": replace(_named("spans", "question-answering"), test="policyqa"),
    "codah": _named("codah", "multiple-choice"),
    "gutenberg": _named("gutenberg", "fill-mask"),
}
"""By the name that tables show."""

_SEED = 0  # that of the demonstrations' cards: a drawn split must not hold what was learnt from


def write_test_set(head: Head, data: Path, path: Path, limit: int | None) -> int:
    """Write a head's test set as JSON Lines.

    Args:
        head: Whose.
        data: The folder of the data sets.
        path: The file.
        limit: Records at most, evenly spread; all when ``None``.

    Returns:
        How many records it holds.
    """
    records = list(READERS[head.reader](data, _SEED).test[head.test])
    if limit is not None and len(records) > limit:
        records = [records[index * len(records) // limit] for index in range(limit)]
    lines = (json.dumps(_fields(head, record), ensure_ascii=False) for record in records)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(records)


def _fields(head: Head, record: Record) -> Record:
    """The record as the task's files have it."""
    if head.task == "sentence-embedding":
        return {
            "text": record["text"],
            "text_pair": record["text_pair"],
            "score": record["label"],
        }
    if head.task == "fill-mask":
        return {"text": record["text"]}
    return record
