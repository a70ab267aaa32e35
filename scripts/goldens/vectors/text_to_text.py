"""Encoder-decoders: the original's pipeline, a row for the text and one for each step of a beam."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, make_call, tied_words
from scripts.goldens.vectors.numbers import drawn
from scripts.goldens.vectors.oracle import (
    Graph,
    open_tokenizer,
    open_writing_pipeline,
)
from scripts.goldens.vectors.recording import case_of, describe_row, items_of, record_calls
from scripts.goldens.vectors.texts import LONG, TEXTS
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = ["record"]

_CLS, _SEP = WORDS.index("[CLS]"), WORDS.index("[SEP]")
_MAX_NEW_TOKENS, _NUM_BEAMS = 256, 4
_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}
_CHECKPOINT = {"eos_token_id": [_SEP], "num_beams": 1}
"""Of a case that says nothing else."""


def _next(text: Ids, own: Ids) -> Tensors:
    """Logits of the token behind the last, by the text and all tokens so far."""
    return {"logits": drawn((tuple(text), tuple(own)), len(WORDS))}


def _says(*words: str) -> Script:
    """Words that follow each other, whatever the text; behind the last anything."""
    spoken = [WORDS.index(word) for word in words]

    def script(text: Ids, own: Ids) -> Tensors:
        logits = drawn((tuple(text), tuple(own)), len(WORDS))
        said = list(own[1:])
        if said == spoken[: len(said)] and len(said) < len(spoken):
            logits[spoken[len(said)]] = 9.0
        return {"logits": logits}

    return script


def _repeats(text: Ids, own: Ids) -> Tensors:
    """The words of the text in turn, with a little else."""
    logits = drawn((tuple(text), tuple(own)), len(WORDS), reach=1.0)
    for word in text[1:-1]:
        logits[word] += 2.0
    return {"logits": logits}


def _ends_often(text: Ids, own: Ids) -> Tensors:
    """An end is among the likelier tokens, and becomes more so with every step."""
    logits = drawn((tuple(text), tuple(own)), len(WORDS), reach=2.0)
    logits[_SEP] = 0.625 + 0.5 * len(own)
    return {"logits": logits}


def _ends_anywhere(text: Ids, own: Ids) -> Tensors:
    """A sentence that may as well end behind each of its words."""
    logits = drawn((tuple(text), tuple(own)), len(WORDS), reach=1.0)
    logits[WORDS.index(("the", "cat", "sat", "on", "mat", "it")[len(own) - 1])] = 6.0
    logits[_SEP] = 5.5
    return {"logits": logits}


def _call(name: str, value: Any, count: int | None = 2, **rest: Any) -> Call:
    options = ({} if count is None else {"max_new_tokens": count}) | rest.pop("options", {})
    defaults = {"script": _next, "options": options, "postprocessing": _CHECKPOINT}
    return make_call(name, value, defaults, **rest)


def _beams(name: str, beams: int, count: int, **options: Any) -> Call:
    return _call(
        f"beams: {name}",
        "the cat sat",
        count,
        script=options.pop("script", _ends_often),
        options={"num_beams": beams} | options,
    )


def _calls() -> Iterator[Call]:
    for name, text in TEXTS.items():
        yield _call(name, text)
    for count in (1, 5):
        yield _call(f"max_new_tokens {count}", "the cat", count)
    ends = _says("sat", "on", "it", "[SEP]")
    yield _call("[SEP] ends", "the cat", 9, script=ends)
    yield _call("[SEP] at once", "the cat", 9, script=_says("[SEP]"))
    yield _call("[SEP] as the last token", "the cat", 4, script=ends)
    yield _call(
        "another token ends", "the cat", 9, script=ends, options={"eos_token_id": WORDS.index("on")}
    )
    yield _call(
        "two tokens end",
        "the cat",
        9,
        script=_says("sat", "on", "mat"),
        options={"eos_token_id": [_SEP, WORDS.index("mat")]},
    )
    yield _call("nothing ends", "the cat", 5, script=ends, postprocessing={"num_beams": 1})
    yield _call("the decoder's last position ends", "the cat", None, tokenizer={"max_length": 6})
    yield _call("max_length", "the cat", None, options={"max_length": 4})
    yield _call(
        "min_new_tokens", "the cat", 4, script=_says("[SEP]"), options={"min_new_tokens": 2}
    )
    yield _call("min_length", "the cat", 4, script=_says("[SEP]"), options={"min_length": 2})
    yield _call(
        "another first token",
        "the cat",
        postprocessing=_CHECKPOINT | {"decoder_start_token_id": WORDS.index("[MASK]")},
    )
    yield _call("a prefix", "cat sat", postprocessing=_CHECKPOINT | {"prefix": "about the "})
    yield _call("a text that is cut", LONG, options={"truncation": True})
    yield _call("repetition_penalty", "the cat", 5, script=_repeats)
    yield _call(
        "repetition_penalty 1.8",
        "the cat",
        5,
        script=_repeats,
        options={"repetition_penalty": 1.8},
    )
    yield _call(
        "no_repeat_ngram_size",
        "the cat",
        6,
        script=_repeats,
        options={"no_repeat_ngram_size": 2},
    )
    for name, words in (
        ("pieces of a word", ("un", "##aff", "##able", "[SEP]")),
        ("a piece at the beginning", ("##ing", "##s", "[SEP]")),
        ("punctuation that closes up", ("run", "!", "'", "s", ".", "[SEP]")),
        ("special tokens that are not spelt", ("[PAD]", "[UNK]", "[MASK]", "cat", "[SEP]")),
        ("an emoji and CJK characters", ("😀", "中", "文", "[SEP]")),
    ):
        yield _call(name, "a run", 9, script=_says(*words))
    yield _call("equal logits", "the cat", script=tied_words("dog", "cat", "york"))
    yield _call(
        "a cased vocabulary", "The Cat", 9, script=_says("É", "I", "[SEP]"), tokenizer=_CASED
    )
    yield from _searches()
    yield from _lists()
    yield from _refusals()


def _searches() -> Iterator[Call]:
    """Beam searches."""
    yield _beams("two", 2, 4)
    yield _beams("three, nothing ends", 3, 3, script=_next)
    yield _beams("all are returned", 3, 3, num_return_sequences=3)
    yield _beams("longer is better", 2, 5, script=_ends_anywhere, length_penalty=2.0)
    yield _beams("shorter is better", 2, 5, script=_ends_anywhere, length_penalty=-1.0)
    yield _beams("length does not matter", 2, 4, script=_ends_anywhere, length_penalty=0.0)
    yield _beams("early_stopping", 2, 5, script=_ends_anywhere, early_stopping=True)
    yield _beams("early_stopping never", 2, 5, script=_ends_anywhere, early_stopping="never")
    yield _beams("min_new_tokens", 2, 4, min_new_tokens=3)
    yield _beams("repetition_penalty", 2, 4, script=_repeats, repetition_penalty=1.5)
    yield _beams("no_repeat_ngram_size", 2, 5, script=_repeats, no_repeat_ngram_size=2)
    yield _beams("two tokens end", 2, 4, eos_token_id=[_SEP, WORDS.index("s")])
    yield _call(
        "beams: as many as the checkpoint says",
        "a dog",
        3,
        script=_ends_often,
        postprocessing={"eos_token_id": [_SEP]},
    )
    yield _call(
        "beams: of several texts",
        ["the cat", "a dog runs"],
        3,
        script=_ends_often,
        options={"num_beams": 2},
    )


def _lists() -> Iterator[Call]:
    """Several texts, and several answers."""
    ends = _says("sat", "on", "it", "[SEP]")
    yield _call("a list", ["the cat", "", "a dog"])
    yield _call("a list whose items end apart", ["the cat", "sat on"], 6, script=ends)
    yield _call("a list of one", ["the cat"])
    yield _call("an empty list", [])
    yield _call(
        "a list with two answers to each text",
        ["the cat", "a dog"],
        options={"num_beams": 2, "num_return_sequences": 2},
    )
    for name, sampling in (
        ("the likeliest alone is drawn by top_k", {"top_k": 1}),
        ("the likeliest alone is drawn by top_p", {"top_p": 0.0}),
        ("the likeliest alone is drawn by temperature", {"temperature": 0.001}),
    ):
        yield _call(name, "the cat", options={"do_sample": True, "seed": 7} | sampling)
    yield _call("options of drawing without it", "the cat", options={"top_k": 2, "top_p": 0.5})


def _refusals() -> Iterator[Call]:
    """Calls that are not answered."""
    for name, value, options in (
        ("a text that is too long", LONG, {}),
        ("a number", 3, {}),
        ("max_new_tokens 0", "a", {"max_new_tokens": 0}),
        ("more answers than beams", "a", {"num_beams": 2, "num_return_sequences": 3}),
        ("beams that are drawn", "a", {"num_beams": 2, "do_sample": True}),
        ("a repetition_penalty of 0", "a", {"repetition_penalty": 0.0}),
        ("top_p above 1", "a", {"do_sample": True, "top_p": 1.5}),
    ):
        yield _call(f"refused: {name}", value, options=options, fails=True)


def record() -> Iterator[dict[str, Any]]:
    """The cases of text2text-generation."""
    yield from record_calls(_calls(), _record)


def _record(call: Call) -> dict[str, Any]:
    tokenizer, graph = open_tokenizer(call), Graph(call)
    pipeline = open_writing_pipeline(call, graph, tokenizer)
    options = _options(call)
    answer = pipeline(call.input, **options)
    rows: list[dict[str, Any]] = []
    outputs: list[Tensors] = []
    for index, text in enumerate(items_of(call.input)):
        graph.seen, tokenizer.made = [], []
        pipeline(text, **options)
        rows.append(describe_row(index, tokenizer.made[0]))
        outputs.append({})
        # Beams that hold the same tokens are one row.
        for own, scores in {tuple(own): scores for _, own, scores in graph.seen}.items():
            rows.append({"item": index, "decoder_input_ids": list(own)})
            outputs.append(scores)
    return case_of(call, rows, outputs, answer)


def _options(call: Call) -> dict[str, Any]:
    """The call's options and the checkpoint's, as the original's ``generate`` names them."""
    given = dict(call.postprocessing) | dict(call.options)
    whole = given.pop("max_length", None)
    most = given.pop("max_new_tokens", _MAX_NEW_TOKENS if whole is None else whole - 1)
    given.pop("seed", None)
    given.pop("prefix", None)
    return {
        "decoder_start_token_id": _CLS,
        "do_sample": False,
        "num_beams": _NUM_BEAMS,
        "max_new_tokens": min(most, call.record["max_length"] - 1),
        **given,
    }
