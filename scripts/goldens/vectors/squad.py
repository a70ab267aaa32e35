"""The SQuAD v2 reference's decoding, in plain loops (Devlin 2018, ``run_squad.py``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scripts.goldens.vectors.call import Tensors

__all__ = ["answer_squad_v2", "encode_windows"]

Row = Mapping[str, Any]


def encode_windows(tokenizer: Any, item: Mapping[str, str], options: Mapping[str, Any]) -> Any:
    """The windows over an item's context, as the original's pipeline lays them."""
    length = options.get("max_seq_len", tokenizer.model_max_length)
    return tokenizer(
        item["question"],
        item["context"],
        truncation="only_second",
        max_length=length,
        stride=options.get("doc_stride", length // 2),
        return_overflowing_tokens=True,
    ).encodings


def answer_squad_v2(
    text: str, rows: Sequence[Row], outputs: Sequence[Tensors], options: Mapping[str, Any]
) -> Any:
    """The prediction and the rest of the n-best list; a mapping where that is one answer.

    Args:
        text: The context.
        rows: Its windows, in order.
        outputs: ``start_logits`` and ``end_logits`` of each, float32 (S,).
        options: The call's.
    """
    size = options.get("n_best_size", 20)
    null = min(float(own["start_logits"][0] + own["end_logits"][0]) for own in outputs)
    listed: dict[str, dict[str, Any]] = {}
    for total, first, last in sorted(_spans(rows, outputs, options), key=lambda span: -span[0]):
        answer = text[first:last]
        if len(listed) < size and answer:
            listed.setdefault(answer, {"logit": total, "start": first, "end": last})
    nothing: dict[str, Any] = {"logit": null, "start": 0, "end": 0, "answer": ""}
    found: list[dict[str, Any]] = [{**place, "answer": answer} for answer, place in listed.items()]
    best = found[0] if found else nothing
    if null - best["logit"] > options.get("null_score_diff_threshold", 0.0):
        best = nothing
    ranked = sorted([*found, nothing], key=lambda one: -one["logit"])[:size]
    answers = [best, *(one for one in ranked if one is not best)]
    if not any(one is nothing for one in answers):
        answers.append(nothing)
    peak = max(one["logit"] for one in answers)
    whole = sum(math.exp(one["logit"] - peak) for one in answers)
    scored = [
        {
            "score": math.exp(one["logit"] - peak) / whole,
            "start": one["start"],
            "end": one["end"],
            "answer": one["answer"],
        }
        for one in answers[: options.get("top_k", 1)]
    ]
    return scored[0] if len(scored) == 1 else scored


def _spans(
    rows: Sequence[Row], outputs: Sequence[Tensors], options: Mapping[str, Any]
) -> list[tuple[float, int, int]]:
    """Logit, first and last character of every span of a good start and a good end."""
    size, limit = options.get("n_best_size", 20), options.get("max_answer_len", 30)
    spans = []
    for number, (row, own) in enumerate(zip(rows, outputs, strict=True)):
        starts, ends = own["start_logits"], own["end_logits"]
        inside = [side == 1 for side in row["sequence_ids"]]
        for start in _best(starts, size):
            for end in _best(ends, size):
                if not (inside[start] and inside[end] and 0 <= end - start < limit):
                    continue
                if _owner(rows, row["offsets"][start]) == number:
                    first, last = row["offsets"][start][0], row["offsets"][end][1]
                    spans.append((float(starts[start] + ends[end]), first, last))
    return spans


def _best(logits: np.ndarray[Any, Any], size: int) -> list[int]:
    return sorted(range(len(logits)), key=lambda index: -logits[index])[:size]


def _owner(rows: Sequence[Row], span: list[int]) -> int:
    """The first window in which a token has the most context."""
    best, found = -1.0, -1
    for number, row in enumerate(rows):
        inside = [place for place, side in enumerate(row["sequence_ids"]) if side == 1]
        for place in inside:
            if row["offsets"][place] == span:
                score = min(place - inside[0], inside[-1] - place) + 0.01 * len(inside)
                if score > best:
                    best, found = score, number
    return found
