"""Who records the cases of which task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from scripts.goldens.vectors import (
    classes,
    embeddings,
    features,
    generation,
    masks,
    pairs,
    pretraining,
    spans,
    tags,
    text_to_text,
    zero_shot,
)

__all__ = ["RECORDERS"]

RECORDERS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "feature-extraction": features.record,
    "sentence-embedding": embeddings.record,
    "fill-mask": masks.record,
    "text-classification": classes.record,
    "zero-shot-classification": zero_shot.record,
    "token-classification": tags.record,
    "question-answering": spans.record,
    "multiple-choice": pairs.record_choices,
    "next-sentence-prediction": pairs.record_next_sentences,
    "pretraining": pretraining.record,
    "text-generation": generation.record,
    "text2text-generation": text_to_text.record,
}
"""By task: gives its cases in the order of the file."""
