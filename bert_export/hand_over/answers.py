"""Questions that are put to a bundle and to a consumer, and where their answers differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bert_export.hand_over.consumer import Bundle
from bert_export.quantization.calibration.rows import read_calibration
from bert_export.tasks import LABELS, find_task
from bert_export.tasks.fill_mask import TASK as FILL_MASK
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.token_classification import TASK as TOKEN_CLASSIFICATION
from bert_export.tasks.zero_shot_classification import TASK as ZERO_SHOT_CLASSIFICATION

__all__ = ["differences", "pipeline_answers", "questions"]

_COUNT = 8
_CLOSE = 1e-5
"""That scores and numbers of vectors may differ by."""


def questions(bundle: Bundle) -> list[Any]:
    """Records of the task's built-in set, as pipelines take them: texts or mappings."""
    task = find_task(bundle.manifest.task)
    records = read_calibration(task).records
    spread = [records[index * len(records) // _COUNT] for index in range(_COUNT)]
    plain = [{name: one[name] for name in one if name not in LABELS} for one in spread]
    if task.name == SENTENCE_EMBEDDING.name:
        plain = [{"text": one["text"]} for one in plain]
    if task.name == TOKEN_CLASSIFICATION.name:
        plain = [{"text": " ".join(one["tokens"])} if "tokens" in one else one for one in plain]
    if task.name == FILL_MASK.name:
        plain = [{"text": _hide_a_word(one["text"], bundle)} for one in plain]
    return [one["text"] if one.keys() == {"text"} else one for one in plain]


def _hide_a_word(text: str, bundle: Bundle) -> str:
    words = text.replace(bundle.manifest.tokenizer.mask_token, "that").split()
    words[len(words) // 2] = bundle.manifest.tokenizer.mask_token
    return " ".join(words)


def pipeline_answers(bundle: Bundle, inputs: Sequence[Any]) -> list[Any]:
    """The bundle's own answers, as plain values."""
    return [_plain(_ask(bundle, one)) for one in inputs]


def _ask(bundle: Bundle, one: Any) -> Any:
    pipeline = bundle.pipeline
    if isinstance(one, Mapping) and bundle.manifest.task == ZERO_SHOT_CLASSIFICATION.name:
        return pipeline(one["text"], candidate_labels=one["candidate_labels"])
    if bundle.manifest.task == SENTENCE_EMBEDDING.name:
        return pipeline(one, prompt="")
    return pipeline(one)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def differences(ours: Any, theirs: Any, place: str = "answer") -> Iterator[str]:
    """Where two answers differ: in a string, a number's fifth digit, a key, a length.

    Args:
        ours: Plain values: mappings, lists, strings, numbers.
        theirs: The same.
        place: Named in what is yielded.
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping) and ours.keys() == theirs.keys():
        for name, value in ours.items():
            yield from differences(value, theirs[name], f"{place}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{place}[{index}]")
    elif isinstance(ours, int | float) and isinstance(theirs, int | float):
        if not math.isclose(ours, theirs, rel_tol=0, abs_tol=_CLOSE):
            yield f"{place}: {ours} here, {theirs} there"
    elif ours != theirs:
        yield f"{place}: {str(ours)[:80]} here, {str(theirs)[:80]} there"
