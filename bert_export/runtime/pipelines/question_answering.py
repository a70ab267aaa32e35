"""Find the span of a context that answers a question.

A context that is too long for one row is cut into windows that overlap; their spans compete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from bert_export.errors import InputError
from bert_export.runtime.batching import Row, row_from_encoding
from bert_export.runtime.checks import (
    check_flag,
    check_number,
    check_whole,
    check_whole_or_none,
    check_word,
    or_default,
)
from bert_export.runtime.decoding.encoded import Encoded
from bert_export.runtime.decoding.spans import decode_answers, decode_squad_v2, read_window
from bert_export.runtime.pipelines.inputs import check_text, field, several
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Array, Outputs
from bert_export.tasks.question_answering import (
    TASK,
    Method,
    QuestionAnsweringPostProcessing,
)

__all__ = ["QuestionAnsweringPipeline", "QuestionAnsweringSettings", "QuestionItem"]

_METHODS: tuple[Method, ...] = ("pipeline", "squad_v2")


@dataclass(frozen=True, slots=True)
class QuestionItem:
    """A question, and the text that may answer it."""

    question: str
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnsweringSettings:
    """How a call cuts the context and decodes its answers.

    Args:
        top_k: Answers at most.
        doc_stride: Tokens that neighbouring windows share; ``None`` for the bundle's own, or half
            of ``max_seq_len`` where that is less.
        max_answer_len: Tokens of an answer at most.
        max_seq_len: Tokens of a window at most; ``None`` for the bundle's own, or the tokenizer's
            limit where that is less.
        max_question_len: Tokens kept of a question that leaves its context too little room.
        handle_impossible_answer: Whether "no answer" competes (``pipeline``).
        align_to_words: Whether an answer is widened to whole words (``pipeline``).
        method: How logits become answers.
        n_best_size: Starts, ends and spans that are considered (``squad_v2``).
        null_score_diff_threshold: "No answer" wins when its logits exceed those of the best span
            by more than this (``squad_v2``).
    """

    top_k: int
    doc_stride: int | None = None
    max_answer_len: int
    max_seq_len: int | None = None
    max_question_len: int
    handle_impossible_answer: bool
    align_to_words: bool
    method: Method
    n_best_size: int
    null_score_diff_threshold: float


class QuestionAnsweringPipeline(
    Pipeline[QuestionItem, tuple[Array, Array], QuestionAnsweringSettings]
):
    """The span of a context that answers a question."""

    definition = TASK
    parameters: QuestionAnsweringPostProcessing

    def __call__(
        self,
        *inputs: Any,
        question: Any = None,
        context: Any = None,
        top_k: int | UnsetType = UNSET,
        doc_stride: int | None = None,
        max_answer_len: int | None = None,
        max_seq_len: int | None = None,
        max_question_len: int | UnsetType = UNSET,
        handle_impossible_answer: bool | UnsetType = UNSET,
        align_to_words: bool | UnsetType = UNSET,
        method: Method | UnsetType = UNSET,
        n_best_size: int | UnsetType = UNSET,
        null_score_diff_threshold: float | UnsetType = UNSET,
        batch_size: int | None = None,
    ) -> Any:
        """Answer questions. What is left out is as the bundle says, its ``postprocessing``.

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
        own = self.parameters
        how = check_word("method", or_default(method, own.method), _METHODS)
        longest = check_whole_or_none("max_answer_len", max_answer_len, least=1)
        settings = QuestionAnsweringSettings(
            top_k=check_whole("top_k", or_default(top_k, own.top_k), least=1),
            doc_stride=check_whole_or_none("doc_stride", doc_stride, least=0),
            max_answer_len=self._longest_answer(how) if longest is None else longest,
            max_seq_len=check_whole_or_none(
                "max_seq_len", max_seq_len, least=self._special_tokens + 2
            ),
            max_question_len=check_whole(
                "max_question_len", or_default(max_question_len, own.max_question_len), least=1
            ),
            handle_impossible_answer=check_flag(
                "handle_impossible_answer",
                or_default(handle_impossible_answer, own.handle_impossible_answer),
            ),
            align_to_words=check_flag(
                "align_to_words", or_default(align_to_words, own.align_to_words)
            ),
            method=how,
            n_best_size=check_whole(
                "n_best_size", or_default(n_best_size, own.n_best_size), least=1
            ),
            null_score_diff_threshold=check_number(
                "null_score_diff_threshold",
                or_default(null_score_diff_threshold, own.null_score_diff_threshold),
            ),
        )
        self._lengths(settings)
        records = _read_inputs(inputs, question, context)
        single = isinstance(records, list) and len(records) == 1
        return self.respond(
            records,
            single=single,
            records=records,
            read=_read_item,
            settings=settings,
            batch_size=batch_size,
        )

    def item(self, record: Mapping[str, Any]) -> QuestionItem:
        return _read_item(record)

    def default_settings(self) -> QuestionAnsweringSettings:
        own = self.parameters
        return QuestionAnsweringSettings(
            top_k=own.top_k,
            max_answer_len=self._longest_answer(own.method),
            max_question_len=own.max_question_len,
            handle_impossible_answer=own.handle_impossible_answer,
            align_to_words=own.align_to_words,
            method=own.method,
            n_best_size=own.n_best_size,
            null_score_diff_threshold=own.null_score_diff_threshold,
        )

    def encode_items(
        self, items: Sequence[QuestionItem], settings: QuestionAnsweringSettings
    ) -> list[list[Row]]:
        length, stride = self._lengths(settings)
        questions = self._tokenize([item.question for item in items], length)
        cramped = [
            length - self._special_tokens - len(question) <= stride for question in questions
        ]
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
        if settings.method == "squad_v2":
            answers = decode_squad_v2(
                item.context,
                windows,
                top_k=settings.top_k,
                max_answer_len=settings.max_answer_len,
                n_best_size=settings.n_best_size,
                null_score_diff_threshold=settings.null_score_diff_threshold,
            )
        else:
            answers = decode_answers(
                item.context,
                windows,
                top_k=settings.top_k,
                max_answer_len=settings.max_answer_len,
                handle_impossible_answer=settings.handle_impossible_answer,
                align_to_words=settings.align_to_words,
            )
        return answers[0] if len(answers) == 1 else answers

    @property
    def _special_tokens(self) -> int:
        """How many frame a question and a context."""
        return self.tokenizer.count_special_tokens(pair=True)

    def _longest_answer(self, method: Method) -> int:
        """Tokens of an answer at most, where a call does not say."""
        own = self.parameters
        return own.squad_v2_max_answer_len if method == "squad_v2" else own.max_answer_len

    def _lengths(self, settings: QuestionAnsweringSettings) -> tuple[int, int]:
        """Tokens of a window, and of the overlap of two."""
        length = settings.max_seq_len
        if length is None:
            length = min(self.tokenizer.max_length, self.parameters.max_seq_len)
        elif length > self.tokenizer.max_length:
            raise InputError(
                "max_seq_len is above the model's limit",
                expected=f"at most {self.tokenizer.max_length}",
                got=length,
            )
        stride = settings.doc_stride
        if stride is None:
            stride = min(length // 2, self.parameters.doc_stride)
        elif stride > length:
            raise InputError(
                "doc_stride is larger than max_seq_len", expected=f"at most {length}", got=stride
            )
        return length, stride

    def _tokenize(self, texts: Sequence[str], length: int) -> list[Encoded]:
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
        self, item: QuestionItem, question: Encoded, settings: QuestionAnsweringSettings
    ) -> list[Row]:
        """Encode a question that leaves no room for overlapping windows.

        Where both texts fit into one window they stay whole. Otherwise the question is cut to
        ``max_question_len`` tokens, and to half of a window at most, and the overlap to half of
        what is left. Upstream fails on such a question.
        """
        length, stride = self._lengths(settings)
        (context,) = self._tokenize([item.context], length)
        room = length - self._special_tokens
        if len(question) + len(context) <= room:
            (rows,) = self._encode_pairs([item], length, 0)
            return rows
        kept = min(len(question), settings.max_question_len, room // 2)
        stop = question.offsets[kept - 1][1] if kept else 0
        cut = QuestionItem(item.question[:stop], item.context)
        (rows,) = self._encode_pairs([cut], length, min(stride, (room - kept) // 2))
        return rows


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
        listed = several(records, expected="question and context, or mappings with them")
        return list(listed) if isinstance(listed, list | tuple) else iter(listed)
    if len(inputs) == len(("question", "context")) and all(isinstance(x, str) for x in inputs):
        return [dict(zip(("question", "context"), inputs, strict=True))]
    return list(inputs)


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
    questions = list(several(question, "questions"))
    if isinstance(context, str):
        contexts = [context] * len(questions)
    else:
        contexts = list(several(context, "contexts", expected="a string, or one for each question"))
    if len(contexts) != len(questions):
        raise InputError(
            "contexts do not fit the questions",
            expected=f"a string, or {len(questions)} of them",
            got=len(contexts),
        )
    return [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]


def _read_item(record: object) -> QuestionItem:
    texts = [check_text(field(record, name), name) for name in ("question", "context")]
    for name, text in zip(("question", "context"), texts, strict=True):
        if not text:
            raise InputError(f"{name} is empty", expected="at least one character", got="''")
    return QuestionItem(*texts)
