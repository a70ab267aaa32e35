"""Masked words, by the original's pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, make_call
from scripts.goldens.vectors.numbers import drawn, level
from scripts.goldens.vectors.recording import items_of, record_call, record_pipeline
from scripts.goldens.vectors.texts import LONG
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = ["MASKED", "prefers", "record", "score_masks", "score_surely", "tied"]

_TASK = "fill-mask"
_VOCABULARY = len(WORDS)
_MASK = WORDS.index("[MASK]")
_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}
_ONE = "the cat [MASK] on the mat."
_TWO = "The [MASK] sat on [MASK], don't!"

MASKED = {
    "one mask": _ONE,
    "two masks": _TWO,
    "three masks alone": "[MASK] [MASK] [MASK]",
    "a mask alone": "[MASK]",
    "a mask glued to words": "un[MASK]able cat[MASK]",
    "a mask in lower case is none": "[mask] is [MASK]",
    "a mask among special tokens": "a [SEP] [MASK] [CLS] dog",
    "padding in the text": "[PAD] a [MASK] [PAD]",
    "a mask after a combining accent": "cafe\u0301 [MASK]",
    "a mask beside emoji": "😀[MASK]🎉",
    "a mask and CJK characters": "中[MASK]文",
    "a mask and unknown words": "Ωmega [MASK] ß",
    "a mask between wide spaces": "\u3000[MASK]\u00a0cat",
    "a mask and a contraction": "it 's [MASK] , is n't it ?",
}
"""By what is peculiar about each; none is longer than a row."""


def score_masks(ids: Ids, types: Ids) -> Tensors:
    """Logits behind a row's masks, float32 (M, V)."""
    return {"logits": drawn((ids, types), list(ids).count(_MASK), _VOCABULARY, reach=6.0)}


def score_surely(ids: Ids, types: Ids) -> Tensors:
    """Logits so far apart that all but one probability vanishes."""
    return {"logits": 25 * score_masks(ids, types)["logits"]}


def _filled(word: str, ids: Ids, types: Ids) -> Tensors:
    logits = score_masks(ids, types)["logits"]
    logits[:, WORDS.index(word)] = 9.0
    return {"logits": logits}


def prefers(word: str) -> Script:
    """Behind every mask one word is the likeliest."""
    return lambda ids, types: _filled(word, ids, types)


def tied(*words: str) -> Script:
    """All words alike but for some, which are alike and better."""

    def script(ids: Ids, _types: Ids) -> Tensors:
        logits = level(0.0, list(ids).count(_MASK), _VOCABULARY)
        logits[:, [WORDS.index(word) for word in words]] = 2.5
        return {"logits": logits}

    return script


def _call(name: str, value: Any, **rest: Any) -> Call:
    return make_call(name, value, {"script": score_masks}, **rest)


def _kwargs(**options: Any) -> dict[str, Any]:
    return {"tokenizer_kwargs": options}


def _ranked_calls() -> Iterator[Call]:
    for name, text in MASKED.items():
        yield _call(name, text)
    for count in (0, 1, 20):
        yield _call(f"top_k {count}", _ONE, options={"top_k": count})
    yield _call("top_k of two masks", _TWO, options={"top_k": 2})
    yield _call("top_k is the vocabulary", "[MASK]", options={"top_k": _VOCABULARY})
    yield _call("large logits", _ONE, script=score_surely)
    for word in ("##ing", "[PAD]", "[SEP]", "[UNK]", ".", "😀", "É"):
        yield _call(f"{word} is the likeliest", _ONE, script=prefers(word), options={"top_k": 2})
    yield _call("##ing is the likeliest of two masks", _TWO, script=prefers("##ing"))
    tie = tied("dog", "cat", "##s", "york")
    yield _call("equal logits, as many as top_k", _ONE, script=tie, options={"top_k": 4})
    yield _call("equal logits, fewer than top_k", _ONE, script=tie, options={"top_k": 6})
    yield _call("equal logits, more than top_k", _ONE, script=tie, options={"top_k": 3})
    yield _call("nothing but equal logits", _ONE, script=tied(), options={"top_k": 7})
    for clean in (True, False):
        yield _call(
            f"spaces before punctuation, cleaned up: {clean}",
            "it 's [MASK] , is n't it ?",
            tokenizer={"clean_up_tokenization_spaces": clean},
            options={"top_k": 2},
        )
    yield _call("a cased vocabulary", "The [MASK] in É", tokenizer=_CASED)
    yield _call("a list", [_ONE, "[MASK]"], options={"top_k": 2})
    yield _call("a list of one", [_ONE])
    yield _call("a list of one with two masks", [_TWO], options={"top_k": 2})
    yield _call("an empty list", [])


def _target_calls() -> Iterator[Call]:
    for name, targets, rest in (
        ("one target", "cat", {}),
        ("one target in a list", ["cat"], {}),
        ("targets twice", ["dog", "cat", "cat"], {}),
        ("more targets than top_k", ["the", "dog", "it", "a", "on", "run", "mat"], {}),
        ("special tokens and pieces", ["##ing", "[CLS]", "cat"], {}),
        ("a target of two tokens", ["catdog", "mat"], {"warns": True}),
        ("a target with a capital that is lowered", ["DOG", "cat"], {"warns": True}),
        ("a target that holds no token", ["", "cat"], {"warns": True}),
        ("a target that is unknown", ["☃", "cat"], {"warns": True}),
        ("targets that are equal", ["york", "dog", "cat"], {"script": tied("dog", "york")}),
    ):
        yield _call(f"targets: {name}", _ONE, options={"targets": targets}, **rest)
    yield _call("targets and top_k", _ONE, options={"targets": ["a", "dog", "on"], "top_k": 2})
    yield _call("fewer targets than top_k", _TWO, options={"targets": ["a", "dog"], "top_k": 9})


def _cut_calls() -> Iterator[Call]:
    long = f"[MASK] {LONG}"
    yield _call("a long text, cut", long, options=_kwargs(truncation=True))
    yield _call("max_length", long, options=_kwargs(truncation=True, max_length=6))
    yield _call("no special tokens", "a [MASK]", options=_kwargs(add_special_tokens=False))
    yield _call(
        "a long text, cut at its beginning",
        f"{LONG} [MASK]",
        options=_kwargs(truncation=True),
        tokenizer={"truncation_side": "left"},
    )
    for name, value, options, late in (
        ("no mask", "the cat", {}, True),
        ("an empty text", "", {}, True),
        ("a list with a text without a mask", [_ONE, "none"], {}, True),
        ("a text that is too long", long, {}, False),
        ("a mask that is cut off", f"{LONG} [MASK]", _kwargs(truncation=True), True),
        ("top_k above the vocabulary", _ONE, {"top_k": _VOCABULARY + 1}, True),
        ("no targets", _ONE, {"targets": []}, False),
        ("a number", 3, {}, False),
    ):
        yield _call(f"refused: {name}", value, options=options, fails=True, late=late)


def record() -> Iterator[dict[str, Any]]:
    """The cases of fill-mask."""
    for calls in (_ranked_calls(), _target_calls(), _cut_calls()):
        for call in calls:
            case = record_pipeline(_TASK, call, run=_ask)
            yield _record_late(call) if call.late else case


def _record_late(call: Call) -> dict[str, Any]:
    """The rows of a call that is refused when the graph has answered them."""
    options = call.options.get("tokenizer_kwargs", {})
    return record_call(
        call,
        items_of(call.input),
        lambda tokenizer, text: tokenizer(text, **options).encodings,
        lambda *_: None,
    )


def _ask(pipeline: Any, value: Any, options: Mapping[str, Any]) -> Any:
    """The original's answer; equal candidates, whose order it leaves open, in the order of ids."""
    top_k = options.get("top_k", 5)
    if top_k > _VOCABULARY:
        return pipeline(value, **options)
    answer = pipeline(value, **{**options, "top_k": _VOCABULARY})

    def ranked(part: Any) -> Any:
        if part and isinstance(part[0], list):
            return [ranked(own) for own in part]
        return sorted(part, key=lambda one: (-one["score"], one["token"]))[:top_k]

    return ranked(answer)
