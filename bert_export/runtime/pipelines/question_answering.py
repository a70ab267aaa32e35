"""Find the span of a context that answers a question.

Two ways of decoding: that of upstream's ``question-answering`` pipeline (probabilities of spans,
summed over equal answers), and that of the SQuAD v2 reference (an n-best list of logits and a
threshold for "no answer").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from tokenizers import Encoding

from bert_export.errors import InputError
from bert_export.runtime.batching import Row, row_from_encoding
from bert_export.runtime.checks import (
    check_flag,
    check_number,
    check_whole,
    check_whole_or_none,
)
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.softmax import softmax
from bert_export.runtime.pipelines.texts import check_text, field
from bert_export.runtime.sessions.session import Array, Outputs
from bert_export.tasks.question_answering import TASK

__all__ = [
    "Method",
    "QuestionAnsweringPipeline",
    "QuestionAnsweringSettings",
    "QuestionItem",
    "Window",
    "best_spans",
    "decode_answers",
    "decode_squad_v2",
    "locate_span",
    "most_context",
    "read_window",
]

Method = Literal["pipeline", "squad_v2"]
Answer = dict[str, Any]

_MAX_SEQ_LEN = 384
_DOC_STRIDE = 128
_MAX_ANSWER_LEN: dict[Method, int] = {"pipeline": 15, "squad_v2": 30}
_SPARE_CANDIDATES = 10
_SPECIAL_TOKENS = 3  # [CLS] question [SEP] context [SEP]
_NO_ANSWER = {"start": 0, "end": 0, "answer": ""}


@dataclass(frozen=True, slots=True)
class QuestionItem:
    """A question, and the text that may answer it."""

    question: str
    context: str


@dataclass(frozen=True, slots=True)
class QuestionAnsweringSettings:
    """How a call cuts the context and decodes its answers.

    Args:
        top_k: Answers at most.
        doc_stride: Tokens that neighbouring windows share; ``None`` for 128, or half of
            ``max_seq_len`` where that is less.
        max_answer_len: Tokens of an answer at most; ``None`` for 15, or 30 with ``squad_v2``.
        max_seq_len: Tokens of a window at most; ``None`` for 384, or the tokenizer's own limit
            where that is less.
        max_question_len: Tokens kept of a question that leaves its context too little room.
        handle_impossible_answer: Whether "no answer" competes (``pipeline``).
        align_to_words: Whether an answer is widened to whole words (``pipeline``).
        method: How logits become answers.
        n_best_size: Starts, ends and spans that are considered (``squad_v2``).
        null_score_diff_threshold: "No answer" wins when its logits exceed those of the best span
            by more than this (``squad_v2``).
    """

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int | None = None
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    method: Method = "pipeline"
    n_best_size: int = 20
    null_score_diff_threshold: float = 0.0

    @property
    def answer_limit(self) -> int:
        """Tokens of an answer at most."""
        return self.max_answer_len or _MAX_ANSWER_LEN[self.method]


@dataclass(frozen=True, slots=True)
class Window:
    """One window over the context, and what the head said of it.

    Args:
        encoding: ``[CLS] question [SEP] part of the context [SEP]``, S tokens.
        context: Which tokens are of the context, bool (S,).
        open: Which tokens share the probability: the context's and ``[CLS]``, bool (S,).
        start_logits, end_logits: float32 (S,).
    """

    encoding: Encoding
    context: Array
    open: Array
    start_logits: Array
    end_logits: Array


def read_window(
    encoding: Encoding, start_logits: Array, end_logits: Array, *, cls_id: int
) -> Window:
    """A window of an encoding and the logits of its tokens, float32 (S,)."""
    context = np.array([sequence == 1 for sequence in encoding.sequence_ids], dtype=bool)
    return Window(
        encoding, context, context | (np.array(encoding.ids) == cls_id), start_logits, end_logits
    )


def best_spans(
    start: Array, end: Array, context: Array, *, top_k: int, max_answer_len: int
) -> tuple[Array, Array, Array]:
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
    padding = (0, width - 1)
    view = np.lib.stride_tricks.sliding_window_view
    ends = view(np.pad(end, padding), width)  # (S, width): end of the span of 1, 2, ... tokens
    allowed = context[:, np.newaxis] & view(np.pad(context, padding), width)
    scores = np.where(allowed, start[:, np.newaxis] * ends, -1).ravel()
    kept = min(top_k, int(allowed.sum()))
    if kept == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, scores.dtype)
    chosen = np.flatnonzero(scores >= np.partition(scores, -kept)[-kept])
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:kept]
    first, length = np.divmod(chosen, width)
    return first, first + length, scores[chosen]


def locate_span(
    encoding: Encoding, first: int, last: int, *, align_to_words: bool
) -> tuple[int, int]:
    """Characters of the context that a span of tokens covers.

    Args:
        encoding: The window.
        first: The span's first token.
        last: Its last token.
        align_to_words: Whether it is widened to the words of its first and last token.
    """
    if align_to_words:
        words = encoding.token_to_word(first), encoding.token_to_word(last)
        spans = [None if word is None else encoding.word_to_chars(word, 1) for word in words]
        if spans[0] is not None and spans[1] is not None:
            return spans[0][0], spans[1][1]
    return encoding.token_to_chars(first)[0], encoding.token_to_chars(last)[1]


def decode_answers(
    text: str, windows: Iterable[Window], settings: QuestionAnsweringSettings
) -> list[Answer]:
    """Answers by the probability of their spans, as upstream's pipeline.

    Spans of all windows compete; equal answers, whatever their case and place, are one answer,
    with the sum of their scores. Upstream fills up a ``top_k`` that exceeds the spans that there
    are with impossible ones of score 0; here they are left out.

    Args:
        text: The context.
        windows: The windows over it, in order.
        settings: The call's settings.

    Returns:
        ``score, start, end, answer`` mappings, at most ``top_k``, best first; at least one.
    """
    # A span may equal another once it is widened to words, so that more are needed.
    candidates = settings.top_k
    if settings.align_to_words:
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
            start, end, window.context, top_k=candidates, max_answer_len=settings.answer_limit
        )
        for first, last, score in zip(*(array.tolist() for array in spans), strict=True):
            begin, stop = locate_span(
                window.encoding, first, last, align_to_words=settings.align_to_words
            )
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
    if settings.handle_impossible_answer:
        found.append({"score": null_score, **_NO_ANSWER})
    found = sorted(found, key=_score, reverse=True)[: settings.top_k]
    return found or [{"score": 0.0, **_NO_ANSWER}]


def most_context(windows: Sequence[Window]) -> list[Array]:
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
        spans = [offsets[position] for position in positions]
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
    text: str, windows: Sequence[Window], settings: QuestionAnsweringSettings
) -> list[Answer]:
    """Answers by the sum of their logits, and "no answer" by a threshold.

    Args:
        text: The context.
        windows: The windows over it, in order.
        settings: The call's settings.

    Returns:
        ``score, start, end, answer`` mappings, at most ``top_k``: the prediction, then the rest of
        the n-best list, best first. A score is the softmax over that list, "no answer" included.

    Source:
        Devlin et al. 2018, ``run_squad.py`` (``version_2_with_negative``). Its answers' texts are
        rebuilt from tokens; here they are the context's own characters.
    """
    null_logit = min(float(window.start_logits[0] + window.end_logits[0]) for window in windows)
    listed: dict[str, Answer] = {}
    for logit, begin, stop in sorted(_squad_spans(windows, settings), key=lambda span: -span[0]):
        if len(listed) == settings.n_best_size:
            break
        answer = text[begin:stop]
        if answer:
            listed.setdefault(
                answer, {"score": logit, "start": begin, "end": stop, "answer": answer}
            )
    null: Answer = {"score": null_logit, **_NO_ANSWER}
    ranked = sorted([*listed.values(), null], key=_score, reverse=True)[: settings.n_best_size]
    best = next(iter(listed.values()), null)
    if null_logit - best["score"] > settings.null_score_diff_threshold:
        best = null
    answers = [best, *(answer for answer in ranked if answer is not best)]
    if all(answer is not null for answer in answers):
        answers.append(null)
    scores = softmax(np.array([answer["score"] for answer in answers]))
    return [
        {**answer, "score": score} for answer, score in zip(answers, scores.tolist(), strict=True)
    ][: settings.top_k]


def _squad_spans(
    windows: Sequence[Window], settings: QuestionAnsweringSettings
) -> Iterator[tuple[float, int, int]]:
    """Logit, first and last character of every span between an n-best start and an n-best end."""
    for window, most in zip(windows, most_context(windows), strict=True):
        starts, ends = (
            np.argsort(-logits, kind="stable")[: settings.n_best_size]
            for logits in (window.start_logits, window.end_logits)
        )
        length = ends - starts[:, np.newaxis] + 1  # (starts, ends)
        allowed = most[starts][:, np.newaxis] & window.context[ends]
        allowed &= (length >= 1) & (length <= settings.answer_limit)
        totals = window.start_logits[starts][:, np.newaxis] + window.end_logits[ends]
        for row, column in np.argwhere(allowed):
            span = locate_span(
                window.encoding, int(starts[row]), int(ends[column]), align_to_words=False
            )
            yield float(totals[row, column]), *span


class QuestionAnsweringPipeline(
    Pipeline[QuestionItem, tuple[Array, Array], QuestionAnsweringSettings]
):
    """The span of a context that answers a question."""

    definition = TASK

    def __call__(
        self,
        *inputs: Any,
        question: Any = None,
        context: Any = None,
        top_k: int = 1,
        doc_stride: int | None = None,
        max_answer_len: int | None = None,
        max_seq_len: int | None = None,
        max_question_len: int = 64,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
        method: Method = "pipeline",
        n_best_size: int = 20,
        null_score_diff_threshold: float = 0.0,
        batch_size: int | None = None,
    ) -> Any:
        """Answer questions.

        Args:
            *inputs: Instead of ``question`` and ``context``: a mapping with both, a list or any
                other iterable of such mappings, or a question and its context.
            question: A question, or a list of them.
            context: Its context, or one per question.
            top_k: See :class:`QuestionAnsweringSettings`, as for the options that follow.
            doc_stride: Tokens that neighbouring windows share. Lowered to half the room that a
                question leaves when it would not fit in it.
            max_answer_len: Tokens of an answer at most.
            max_seq_len: Tokens of a window at most.
            max_question_len: Tokens kept of a question that leaves its context too little room;
                any other is kept whole, as upstream.
            handle_impossible_answer: Whether "no answer" competes (``pipeline``).
            align_to_words: Whether an answer is widened to whole words (``pipeline``).
            method: ``pipeline`` or ``squad_v2``.
            n_best_size: Starts, ends and spans that are considered (``squad_v2``).
            null_score_diff_threshold: By how much "no answer" must win (``squad_v2``).
            batch_size: Rows per graph call at most, besides the token budget.

        Returns:
            ``{"score", "start", "end", "answer"}`` for a question; a list of these when there are
            several answers. A list of such for a list with more or fewer than one question. Inputs
            that are neither are answered lazily.

        Raises:
            InputError: A question, a context or an option is missing or malformed.
        """
        settings = QuestionAnsweringSettings(
            check_whole("top_k", top_k, least=1),
            check_whole_or_none("doc_stride", doc_stride, least=0),
            check_whole_or_none("max_answer_len", max_answer_len, least=1),
            check_whole_or_none("max_seq_len", max_seq_len, least=_SPECIAL_TOKENS + 2),
            check_whole("max_question_len", max_question_len, least=1),
            check_flag("handle_impossible_answer", handle_impossible_answer),
            check_flag("align_to_words", align_to_words),
            _read_method(method),
            check_whole("n_best_size", n_best_size, least=1),
            check_number("null_score_diff_threshold", null_score_diff_threshold),
        )
        self._lengths(settings)
        records = _read_inputs(inputs, question, context)
        single = isinstance(records, list) and len(records) == 1
        return self.respond(
            records,
            single=single,
            items=map(_read_item, records)
            if isinstance(records, Iterator)
            else [_read_item(record) for record in records],
            settings=settings,
            batch_size=batch_size,
        )

    def item(self, record: Mapping[str, Any]) -> QuestionItem:
        return _read_item(record)

    def default_settings(self) -> QuestionAnsweringSettings:
        return QuestionAnsweringSettings()

    def encode(
        self, items: Sequence[QuestionItem], settings: QuestionAnsweringSettings
    ) -> list[list[Row]]:
        length, stride = self._lengths(settings)
        questions = self._tokenize([item.question for item in items], length)
        cramped = [length - _SPECIAL_TOKENS - len(question) <= stride for question in questions]
        roomy = iter(
            self._encode_pairs(
                [item for item, is_cramped in zip(items, cramped, strict=True) if not is_cramped],
                length,
                stride,
            )
        )
        return [
            self._encode_cramped(item, question, settings) if is_cramped else next(roomy)
            for item, question, is_cramped in zip(items, questions, cramped, strict=True)
        ]

    def reduce(
        self, row: Row, outputs: Outputs, settings: QuestionAnsweringSettings
    ) -> tuple[Array, Array]:
        return outputs["start_logits"], outputs["end_logits"]  # 2 x (S,)

    def decode(
        self,
        item: QuestionItem,
        rows: Sequence[Row],
        reduced: Sequence[tuple[Array, Array]],
        settings: QuestionAnsweringSettings,
    ) -> Any:
        windows = [
            read_window(row.encoding, start, end, cls_id=self.tokenizer.cls_id)
            for row, (start, end) in zip(rows, reduced, strict=True)
        ]
        method = decode_squad_v2 if settings.method == "squad_v2" else decode_answers
        answers = method(item.context, windows, settings)
        return answers[0] if len(answers) == 1 else answers

    def _lengths(self, settings: QuestionAnsweringSettings) -> tuple[int, int]:
        """Tokens of a window, and of the overlap of two."""
        length = settings.max_seq_len
        if length is None:
            length = min(self.tokenizer.max_length, _MAX_SEQ_LEN)
        elif length > self.tokenizer.max_length:
            raise InputError(
                "max_seq_len is above the model's limit",
                expected=f"at most {self.tokenizer.max_length}",
                got=length,
            )
        stride = settings.doc_stride
        if stride is None:
            stride = min(length // 2, _DOC_STRIDE)
        elif stride > length:
            raise InputError(
                "doc_stride is larger than max_seq_len", expected=f"at most {length}", got=stride
            )
        return length, stride

    def _tokenize(self, texts: Sequence[str], length: int) -> list[Encoding]:
        """The first tokens of texts, without special ones."""
        encodings = self.tokenizer.encode(texts, max_length=length, add_special_tokens=False)
        return [encoding for (encoding,) in encodings]

    def _encode_pairs(
        self, items: Sequence[QuestionItem], length: int, stride: int
    ) -> list[list[Row]]:
        encodings = self.tokenizer.encode(
            [(item.question, item.context) for item in items],
            max_length=length,
            truncation="only_second",
            stride=stride,
            windows=True,
        )
        return [[row_from_encoding(window) for window in windows] for windows in encodings]

    def _encode_cramped(
        self, item: QuestionItem, question: Encoding, settings: QuestionAnsweringSettings
    ) -> list[Row]:
        """Encode a question that leaves no room for overlapping windows.

        Where both texts fit into one window they stay whole. Otherwise the question is cut to
        ``max_question_len`` tokens, and to half of a window at most, and the overlap to half of
        what is left. Upstream fails on such a question.
        """
        length, stride = self._lengths(settings)
        (context,) = self._tokenize([item.context], length)
        room = length - _SPECIAL_TOKENS
        if len(question) + len(context) <= room:
            (rows,) = self._encode_pairs([item], length, 0)
            return rows
        kept = min(len(question), settings.max_question_len, room // 2)
        stop = question.token_to_chars(kept - 1)[1] if kept else 0
        cut = QuestionItem(item.question[:stop], item.context)
        (rows,) = self._encode_pairs([cut], length, min(stride, (room - kept) // 2))
        return rows


def _score(answer: Answer) -> float:
    return float(answer["score"])


def _read_inputs(inputs: tuple[Any, ...], question: Any, context: Any) -> list[Any] | Iterator[Any]:
    """The records of a call: a list, or an iterator that is to be answered lazily."""
    if inputs and (question is not None or context is not None):
        raise InputError(
            "inputs are given twice", expected="records, or question and context", got="both"
        )
    if not inputs:
        return _pair_up(question, context)
    if len(inputs) == 1:
        (records,) = inputs
        if isinstance(records, Mapping):
            return [records]
        if isinstance(records, list | tuple):
            return list(records)
        if isinstance(records, Iterable) and not isinstance(records, str | bytes):
            return iter(records)
    elif len(inputs) == len(("question", "context")) and all(isinstance(x, str) for x in inputs):
        return [dict(zip(("question", "context"), inputs, strict=True))]
    else:
        return list(inputs)
    raise InputError(
        "inputs are of the wrong type",
        expected="question and context, or mappings with them",
        got=type(records).__name__,
    )


def _pair_up(question: Any, context: Any) -> list[Any]:
    """Records of a question or several, and of one context for all or one for each."""
    if question is None or context is None:
        missing = "question" if question is None else "context"
        raise InputError(f"{missing} is missing", expected="question and context", got="None")
    if isinstance(question, str):
        if not isinstance(context, str):
            raise InputError(
                "context is of the wrong type",
                expected="a string, as the question",
                got=type(context).__name__,
            )
        return [{"question": question, "context": context}]
    if not isinstance(question, list | tuple):
        raise InputError(
            "question is of the wrong type",
            expected="a string or a list of strings",
            got=type(question).__name__,
        )
    contexts = [context] * len(question) if isinstance(context, str) else context
    if not isinstance(contexts, list | tuple) or len(contexts) != len(question):
        raise InputError(
            "context does not fit the questions",
            expected=f"a string, or a list of {len(question)}",
            got=f"a list of {len(contexts)}"
            if isinstance(contexts, list | tuple)
            else type(contexts).__name__,
        )
    return [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]


def _read_item(record: object) -> QuestionItem:
    texts = [check_text(field(record, name), name) for name in ("question", "context")]
    for name, text in zip(("question", "context"), texts, strict=True):
        if not text:
            raise InputError(f"{name} is empty", expected="at least one character", got="''")
    return QuestionItem(*texts)


def _read_method(method: object) -> Method:
    for known in _MAX_ANSWER_LEN:
        if method == known:
            return known
    raise InputError("method is unknown", expected=" or ".join(_MAX_ANSWER_LEN), got=repr(method))
