"""Question answering, by the original's pipeline, and by the SQuAD v2 reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, make_call
from scripts.goldens.vectors.numbers import drawn, level
from scripts.goldens.vectors.recording import items_of, record_call, record_pipeline
from scripts.goldens.vectors.squad import answer_squad_v2, encode_windows
from scripts.goldens.vectors.texts import LONG, TEXTS
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = ["record"]

_TASK = "question-answering"
_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}
_CONTEXT = "john the unaffable cat sat on a mat in new york."
_CLS = WORDS.index("[CLS]")


def _drawn(ids: Ids, types: Ids) -> Tensors:
    return {
        "start_logits": drawn((ids, types, "start"), len(ids), decimals=5),
        "end_logits": drawn((ids, types, "end"), len(ids), decimals=5),
    }


def _points(start: str, end: str, *, none: float = 0.0) -> Script:
    """Logits by which the answer opens at one token and closes at another.

    Args:
        start: The one that opens it, wherever it stands.
        end: The one that closes it.
        none: What ``[CLS]`` gets besides, so that there may be no answer.
    """

    def script(ids: Ids, types: Ids) -> Tensors:
        outputs = _drawn(ids, types)
        for name, word in (("start_logits", start), ("end_logits", end)):
            outputs[name] *= 0.5
            for position, one in enumerate(ids):
                outputs[name][position] += 5.0 * (one == WORDS.index(word)) + none * (one == _CLS)
        return outputs

    return script


def _level(ids: Ids, _types: Ids) -> Tensors:
    return {"start_logits": level(0.0, len(ids)), "end_logits": level(0.0, len(ids))}


def _call(name: str, context: Any, question: Any = "who sat?", **rest: Any) -> Call:
    value = {"question": question, "context": context}
    return make_call(name, value, {"script": _drawn}, **rest)


def _decoding_calls() -> Iterator[Call]:
    for align in (True, False):
        for top_k in (1, 3):
            yield _call(
                f"align_to_words {align}, top_k {top_k}",
                _CONTEXT,
                options={"align_to_words": align, "top_k": top_k},
            )
        for length in (1, 2, 100):
            yield _call(
                f"align_to_words {align}, max_answer_len {length}",
                _CONTEXT,
                options={"align_to_words": align, "max_answer_len": length, "top_k": 2},
            )
        yield _call(
            f"an answer of pieces, align_to_words {align}",
            _CONTEXT,
            script=_points("##aff", "##able"),
            options={"align_to_words": align},
        )
    for none in (-3.0, 3.0, 9.0):
        for impossible in (False, True):
            yield _call(
                f"[CLS] by {none}, handle_impossible_answer {impossible}",
                _CONTEXT,
                script=_points("new", "york", none=none),
                options={"handle_impossible_answer": impossible},
            )
        yield _call(
            f"[CLS] by {none}, three answers",
            _CONTEXT,
            script=_points("new", "york", none=none),
            options={"handle_impossible_answer": True, "top_k": 3},
        )
    yield _call("an end before its start", _CONTEXT, script=_points("york", "john"))
    yield _call(
        "an answer in the question alone", "a dog run in paris.", script=_points("sat", "sat")
    )
    yield _call("equal answers in two places", "the cat and The CAT", script=_points("cat", "cat"))
    yield _call(
        "equal logits",
        "john sat on it",
        script=_level,
        options={"align_to_words": False},
    )
    yield _call(
        "equal logits, answers of a token",
        "john sat on it",
        script=_level,
        options={"align_to_words": False, "max_answer_len": 1},
    )


def _text_calls() -> Iterator[Call]:
    for number, (name, text) in enumerate(TEXTS.items()):
        if text.strip() and name != "a text of a zero-width space":
            yield _call(name, text, options={"align_to_words": number % 2 == 0})
    for name in ("a text of spaces", "a text of a zero-width space"):
        yield _call(
            f"{name}, no answer",
            TEXTS[name],
            options={"align_to_words": False, "handle_impossible_answer": True},
        )
    yield _call("capitals, cased", TEXTS["capitals"], tokenizer=_CASED)
    yield _call("a combining accent, cased", TEXTS["a combining accent"], tokenizer=_CASED)
    yield _call("a question of other scripts", _CONTEXT, "Ω 😀 [SEP] e\u0301?")
    yield _call("a long question that leaves room", "a dog run.", "who is it? " * 3)


def _window_calls() -> Iterator[Call]:
    for stride in (0, 1, 7):
        yield _call(f"windows, doc_stride {stride}", LONG, options={"doc_stride": stride})
        yield _call(
            f"windows, doc_stride {stride}, no answer competes",
            LONG,
            script=_points("new", "york", none=4.0),
            options={"doc_stride": stride, "handle_impossible_answer": True, "top_k": 3},
        )
    yield _call("windows, max_seq_len", LONG, options={"max_seq_len": 16, "doc_stride": 4})
    yield _call(
        "windows, the same answer in two",
        LONG,
        script=_points("new", "york"),
        options={"doc_stride": 9},
    )
    yield _call("windows of a context twice", f"{LONG} " * 2, options={"top_k": 4})
    yield _call(
        "windows, an answer across the edge of two",
        LONG,
        script=_points("on", "new"),
        options={"doc_stride": 7, "max_answer_len": 20},
    )


def _input_calls() -> Iterator[Call]:
    records = [{"question": "who?", "context": _CONTEXT}, {"question": "a", "context": LONG}]
    for name, value in (("a list", records), ("a list of one", records[:1])):
        yield Call(name=name, input=value, script=_drawn, options={"doc_stride": 4})
    yield Call(name="a list, top_k 2", input=records, script=_drawn,
               options={"doc_stride": 4, "top_k": 2})  # fmt: skip
    for name, context, question, options in (
        ("an empty question", "a", "", {}),
        ("an empty context", "", "a", {}),
        ("a context that is null", None, "a", {}),
        ("top_k 0", "a", "a", {"top_k": 0}),
        ("max_answer_len 0", "a", "a", {"max_answer_len": 0}),
        ("a doc_stride above max_seq_len", "a", "a", {"doc_stride": 17, "max_seq_len": 16}),
    ):
        yield _call(f"refused: {name}", context, question, options=options, fails=True)
    yield Call(name="refused: no context", input={"question": "a"}, script=_drawn, fails=True)


def _squad_calls() -> Iterator[Call]:
    def call(name: str, context: str, **rest: Any) -> Call:
        options = {"method": "squad_v2"} | rest.pop("options", {})
        return _call(f"squad_v2: {name}", context, options=options, **rest)

    yield call("the best", _CONTEXT)
    yield call("all of the list", _CONTEXT, options={"top_k": 99})
    yield call("a list of three", _CONTEXT, options={"top_k": 99, "n_best_size": 3})
    yield call("a list of one", _CONTEXT, options={"top_k": 99, "n_best_size": 1})
    yield call("answers of a token", _CONTEXT, options={"top_k": 5, "max_answer_len": 1})
    for none in (1.0, 6.0):
        for threshold in (-1000.0, -2.5, 0.0, 2.5, 1000.0):
            yield call(
                f"[CLS] by {none}, threshold {threshold}",
                _CONTEXT,
                script=_points("new", "york", none=none),
                options={"null_score_diff_threshold": threshold, "top_k": 2},
            )
    for stride in (0, 5):
        yield call(
            f"windows, doc_stride {stride}", LONG, options={"doc_stride": stride, "top_k": 6}
        )
    yield call("equal logits", "john sat on it", script=_level, options={"top_k": 9})
    yield call("equal answers in two places", "the cat and the cat",
               script=_points("cat", "cat"), options={"top_k": 3})  # fmt: skip
    yield call("a text of spaces", "  ", options={"top_k": 3})
    yield call("emoji and accents", "a 😀 cafe\u0301 👩\u200d👧", options={"top_k": 4})


def record() -> Iterator[dict[str, Any]]:
    """The cases of question-answering."""
    for calls in (_decoding_calls(), _text_calls(), _window_calls(), _input_calls()):
        for call in calls:
            yield record_pipeline(_TASK, call, run=_ask)
    for call in _squad_calls():
        yield _record_squad(call)


def _record_squad(call: Call) -> dict[str, Any]:
    return record_call(
        call,
        items_of(call.input),
        lambda tokenizer, item: encode_windows(tokenizer, item, call.options),
        lambda item, rows, given: answer_squad_v2(item["context"], rows, given, call.options),
    )


def _ask(pipeline: Any, value: Any, options: Mapping[str, Any]) -> Any:
    records = items_of(value)
    fields = {name: [record[name] for record in records] for name in ("question", "context")}
    return pipeline(**fields, **options)
