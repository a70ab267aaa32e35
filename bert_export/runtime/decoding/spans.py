"""Logits of starts and ends to the spans that answer a question.

Two ways of decoding: that of upstream's ``question-answering`` pipeline (probabilities of spans,
summed over equal answers), and that of the SQuAD v2 reference (an n-best list of logits and a
threshold for "no answer").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.runtime.decoding.encoded import Encoded
from bert_export.runtime.decoding.ranking import largest
from bert_export.runtime.decoding.softmax import softmax

__all__ = [
    "Window",
    "best_spans",
    "decode_answers",
    "decode_squad_v2",
    "locate_span",
    "most_context",
    "read_window",
]

Answer = dict[str, Any]
Logits = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SPARE_CANDIDATES = 10
_CONTEXT = 1  # of the two texts of a row, the one that may hold the answer
_NO_ANSWER = {"start": 0, "end": 0, "answer": ""}


@dataclass(frozen=True, slots=True)
class Window:
    """One window over the context, and what the head said of it.

    Args:
        encoding: ``[CLS] question [SEP] part of the context [SEP]``, S tokens.
        context: Which tokens are of the context, bool (S,).
        open: Which tokens share the probability: the context's and ``[CLS]``, bool (S,).
        start_logits, end_logits: float32 (S,).
    """

    encoding: Encoded
    context: Mask
    open: Mask
    start_logits: Logits
    end_logits: Logits


def read_window(
    encoding: Encoded, start_logits: Logits, end_logits: Logits, *, cls_id: int
) -> Window:
    """A window of an encoding and the logits of its tokens, float32 (S,)."""
    context = np.array([sequence == _CONTEXT for sequence in encoding.sequence_ids], dtype=bool)
    return Window(
        encoding, context, context | (np.array(encoding.ids) == cls_id), start_logits, end_logits
    )


def best_spans(
    start: Logits, end: Logits, context: Mask, *, top_k: int, max_answer_len: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The likeliest spans inside the context.

    Args:
        start: Probability of each token to open the answer, float32 (S,).
        end: Probability of each token to close it, float32 (S,).
        context: Which tokens are of the context, bool (S,).
        top_k: Spans at most.
        max_answer_len: Tokens of a span at most.

    Returns:
        First tokens, last tokens and scores, likeliest first; of equal ones the earlier, then the
        shorter first.
    """
    width = min(max_answer_len, len(start))
    last = np.arange(len(start))[:, np.newaxis] + np.arange(width)  # (S, width): of 1, 2 ... tokens
    beyond = np.zeros(width - 1, dtype=bool)
    allowed = context[:, np.newaxis] & np.concatenate([context, beyond])[last]
    ends = np.concatenate([end, beyond.astype(end.dtype)])[last]
    scores = np.where(allowed, start[:, np.newaxis] * ends, -1).ravel()
    chosen = largest(scores, min(top_k, int(allowed.sum())))
    first, length = np.divmod(chosen, width)
    return first, first + length, scores[chosen]


def locate_span(
    encoding: Encoded, first: int, last: int, *, align_to_words: bool
) -> tuple[int, int]:
    """Characters of the context that a span of tokens covers.

    Args:
        encoding: The window.
        first: The span's first token.
        last: Its last token.
        align_to_words: Whether it is widened to the words of its first and last token.
    """
    if align_to_words:
        words = encoding.word_ids
        opening, closing = words[first], words[last]
        if opening is not None and closing is not None:
            # A word's tokens follow each other, and a special token stands between two texts.
            while words[first - 1] == opening:
                first -= 1
            while words[last + 1] == closing:
                last += 1
    offsets = encoding.offsets
    return offsets[first][0], offsets[last][1]


def decode_answers(
    text: str,
    windows: Iterable[Window],
    *,
    top_k: int,
    max_answer_len: int,
    handle_impossible_answer: bool = False,
    align_to_words: bool = True,
) -> list[Answer]:
    """Answers by the probability of their spans, as upstream's pipeline.

    Spans of all windows compete; equal answers, whatever their case and place, are one answer,
    with the sum of their scores. Upstream fills up a ``top_k`` that exceeds the spans that there
    are with impossible ones of score 0; here they are left out.

    Args:
        text: The context.
        windows: The windows over it, in order.
        top_k: Answers at most.
        max_answer_len: Tokens of an answer at most.
        handle_impossible_answer: Whether "no answer" competes.
        align_to_words: Whether an answer is widened to whole words.

    Returns:
        ``score, start, end, answer`` mappings, at most ``top_k``, best first; at least one.
    """
    # A span may equal another once it is widened to words, so that more are needed.
    candidates = top_k
    if align_to_words:
        candidates = 2 * candidates + _SPARE_CANDIDATES
    answers: dict[str, Answer] = {}
    null_score = float("inf")
    for window in windows:
        start, end = (
            softmax(np.where(window.open, logits, -np.inf))
            for logits in (window.start_logits, window.end_logits)
        )
        null_score = min(null_score, float(start[0] * end[0]))
        spans = best_spans(
            start, end, window.context, top_k=candidates, max_answer_len=max_answer_len
        )
        for first, last, score in zip(*(array.tolist() for array in spans), strict=True):
            begin, stop = locate_span(window.encoding, first, last, align_to_words=align_to_words)
            answer = text[begin:stop]
            if (known := answers.get(answer.lower())) is not None:
                known["score"] += score
            else:
                answers[answer.lower()] = {
                    "score": score,
                    "start": begin,
                    "end": stop,
                    "answer": answer,
                }
    found = list(answers.values())
    if handle_impossible_answer:
        found.append({"score": null_score, **_NO_ANSWER})
    found = sorted(found, key=_score, reverse=True)[:top_k]
    return found or [{"score": 0.0, **_NO_ANSWER}]


def most_context(windows: Sequence[Window]) -> list[Mask]:
    """Which tokens have nowhere more context than in their window.

    Args:
        windows: The windows over one context, in order.

    Returns:
        bool (S,) per window.

    Source:
        Devlin et al. 2018, ``run_squad.py``: the lesser of a token's left and right context, plus
        a hundredth of the window's length; the earlier of equal windows.
    """
    best: dict[tuple[int, int], tuple[float, int]] = {}
    places = []
    for number, window in enumerate(windows):
        positions = np.flatnonzero(window.context)
        left = np.arange(len(positions))
        scores = np.minimum(left, left[::-1]) + 0.01 * len(positions)
        offsets = window.encoding.offsets
        spans = [offsets[position] for position in positions.tolist()]
        places.append((positions, spans))
        for span, score in zip(spans, scores.tolist(), strict=True):
            if span not in best or score > best[span][0]:
                best[span] = score, number
    masks = []
    for number, (window, (positions, spans)) in enumerate(zip(windows, places, strict=True)):
        mask = np.zeros(len(window.context), dtype=bool)
        mask[positions] = [best[span][1] == number for span in spans]
        masks.append(mask)
    return masks


def decode_squad_v2(
    text: str,
    windows: Sequence[Window],
    *,
    top_k: int,
    max_answer_len: int,
    n_best_size: int,
    null_score_diff_threshold: float,
) -> list[Answer]:
    """Answers by the sum of their logits, and "no answer" by a threshold.

    Args:
        text: The context.
        windows: The windows over it, in order.
        top_k: Answers at most.
        max_answer_len: Tokens of an answer at most.
        n_best_size: Starts, ends and spans that are considered.
        null_score_diff_threshold: "No answer" wins when its logits exceed those of the best span
            by more than this.

    Returns:
        ``score, start, end, answer`` mappings, at most ``top_k``: the prediction, then the rest of
        the n-best list, best first. A score is the softmax over that list, "no answer" included.

    Source:
        Devlin et al. 2018, ``run_squad.py`` (``version_2_with_negative``). Its answers' texts are
        rebuilt from tokens; here they are the context's own characters.
    """
    null_logit = min(float(window.start_logits[0] + window.end_logits[0]) for window in windows)
    spans = _squad_spans(windows, max_answer_len=max_answer_len, n_best_size=n_best_size)
    listed: dict[str, Answer] = {}
    for logit, begin, stop in sorted(spans, key=lambda span: -span[0]):
        if len(listed) == n_best_size:
            break
        answer = text[begin:stop]
        if answer:
            listed.setdefault(
                answer, {"score": logit, "start": begin, "end": stop, "answer": answer}
            )
    null: Answer = {"score": null_logit, **_NO_ANSWER}
    ranked = sorted([*listed.values(), null], key=_score, reverse=True)[:n_best_size]
    best = next(iter(listed.values()), null)
    if null_logit - best["score"] > null_score_diff_threshold:
        best = null
    answers = [best, *(answer for answer in ranked if answer is not best)]
    if all(answer is not null for answer in answers):
        answers.append(null)
    scores = softmax(np.array([answer["score"] for answer in answers]))
    return [
        {**answer, "score": score} for answer, score in zip(answers, scores.tolist(), strict=True)
    ][:top_k]


def _squad_spans(
    windows: Sequence[Window], *, max_answer_len: int, n_best_size: int
) -> Iterator[tuple[float, int, int]]:
    """Logit, first and last character of every span between an n-best start and an n-best end."""
    for window, most in zip(windows, most_context(windows), strict=True):
        starts, ends = (
            np.argsort(-logits, kind="stable")[:n_best_size]
            for logits in (window.start_logits, window.end_logits)
        )
        length = ends - starts[:, np.newaxis] + 1  # (starts, ends)
        allowed = most[starts][:, np.newaxis] & window.context[ends]
        allowed &= (length >= 1) & (length <= max_answer_len)
        totals = window.start_logits[starts][:, np.newaxis] + window.end_logits[ends]
        for row, column in np.argwhere(allowed):
            span = locate_span(
                window.encoding, int(starts[row]), int(ends[column]), align_to_words=False
            )
            yield float(totals[row, column]), *span


def _score(answer: Answer) -> float:
    return float(answer["score"])
