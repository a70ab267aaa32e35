"""Pairs without a pipeline of the original's: multiple choice and next-sentence prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from scripts.goldens.vectors.call import Call, Tensors, drawn_logits, fixed_logits, make_call
from scripts.goldens.vectors.recording import items_of, record_call
from scripts.goldens.vectors.texts import LONG, TEXTS

__all__ = ["PAIRS", "encode_pair", "next_sentence", "record_choices", "record_next_sentences"]

_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}

PAIRS = {
    "an empty second text": ("the cat", ""),
    "an empty first text": ("", "a dog"),
    "two empty texts": ("", ""),
    "two texts of padding": ("[PAD]", "[PAD] [PAD]"),
    "separators in both texts": ("a [SEP] cat", "[SEP] it"),
}
"""By what is peculiar about each; none is longer than a row."""

_LONG_PAIRS = {
    "a long first text": (LONG, "a dog"),
    "a long second text": ("a dog", LONG),
    "two long texts": (LONG, LONG),
    "a long text and an empty one": (LONG, ""),
    "two texts of a row together, an odd number": ("the cat " * 6, "a dog " * 5),
}


def encode_pair(tokenizer: Any, text: str, pair: str, **options: Any) -> Sequence[Any]:
    """The pair's row; of one that is too long the longer text loses its end.

    Texts are given in lists: alone, the original takes an empty second text for none.
    """
    batch = tokenizer([text], [pair], **({"truncation": "longest_first"} | options))
    return batch.encodings or ()


def next_sentence(logits: Any) -> dict[str, Any]:
    """The verdict of two logits, of which the first speaks for "is next"."""
    score = torch.softmax(torch.from_numpy(np.array(logits)), dim=-1)[0].item()
    return {"is_next": bool(logits[0] >= logits[1]), "score": score}


def _next_calls() -> Iterator[Call]:
    def call(name: str, text: Any, pair: Any, **rest: Any) -> Call:
        record = {"text": text, "text_pair": pair}
        return make_call(name, record, {"script": drawn_logits(2)}, **rest)

    for number, (name, text) in enumerate(TEXTS.items()):
        pair = ("it is", text) if number % 2 else (text, "it is")
        yield call(f"{name}, {'second' if number % 2 else 'first'}", *pair)
    for name, pair in (PAIRS | _LONG_PAIRS).items():
        yield call(name, *pair)
    for name, pair in _LONG_PAIRS.items():
        yield call(f"{name}, cut at the beginning", *pair, tokenizer={"truncation_side": "left"})
    yield call("capitals of a cased vocabulary", "The Cat", "in É", tokenizer=_CASED)
    for name, logits in (
        ("equal logits", (0.5, 0.5)),
        ("logits of zero", (0.0, 0.0)),
        ("logits far apart", (100.0, -100.0)),
        ("logits far apart the other way", (-1000.0, 1000.0)),
        ("large logits close together", (1000.0, 1000.5)),
        ("logits that hardly differ", (0.25, 0.25000003)),
        ("negative logits", (-7.25, -8.5)),
    ):
        yield call(name, "the cat", "a dog", script=fixed_logits(*logits))
    records = [{"text": "a", "text_pair": "it"}, {"text": LONG, "text_pair": "a"}]
    yield Call(name="a list", input=records, script=drawn_logits(2))
    yield Call(name="a list of one", input=records[:1], script=drawn_logits(2))
    yield Call(name="an empty list", input=[], script=drawn_logits(2))
    yield call("refused: a text that is a number", 3, "a", fails=True)
    yield call("refused: a second text that is null", "a", None, fails=True)
    for name, value in (
        ("no second text", {"text": "a"}),
        ("no field", {}),
        ("a text alone", "a"),
        ("a list of texts", ["a", "b"]),
    ):
        yield Call(name=f"refused: {name}", input=value, script=drawn_logits(2), fails=True)


def record_next_sentences() -> Iterator[dict[str, Any]]:
    """The cases of next-sentence-prediction; its labels' order is that of Devlin 2018."""
    for call in _next_calls():
        yield record_call(
            call,
            items_of(call.input),
            lambda tokenizer, item: encode_pair(tokenizer, item["text"], item["text_pair"]),
            lambda _item, _rows, given: next_sentence(given[0]["logits"]),
        )


def _choice_calls() -> Iterator[Call]:
    def call(name: str, prompt: Any, choices: Any, **rest: Any) -> Call:
        record = {"prompt": prompt, "choices": choices}
        return make_call(name, record, {"script": drawn_logits(1)}, **rest)

    for number, (name, text) in enumerate(TEXTS.items()):
        if number % 2:
            yield call(f"{name}, a choice", "it is", ["a cat", text])
        else:
            yield call(f"{name}, the prompt", text, ["a cat", "a dog"])
    for name, pair in (PAIRS | _LONG_PAIRS).items():
        yield call(name, pair[0], [pair[1], "it"])
    yield call("cut at the beginning", LONG, ["a", LONG], tokenizer={"truncation_side": "left"})
    yield call("capitals of a cased vocabulary", "The Cat", ["I", "É"], tokenizer=_CASED)
    yield call("one choice", "the cat", ["a dog"])
    yield call("five choices", "the cat", ["sat", "is", "run", "a", "on it"])
    yield call("a choice twice", "the cat", ["sat", "run", "sat"])
    yield call("equal logits", "the cat", ["sat", "run", "is"], script=fixed_logits(1.25))
    for name, high, low in (
        ("logits far apart", 100.0, -100.0),
        ("large logits close together", 1000.5, 1000.0),
        ("the best two equal", 3.0, 3.0),
    ):
        yield call(
            name,
            "the cat",
            ["is it", "sat", "run"],
            script=lambda ids, _types, high=high, low=low: {
                "logits": np.array([low if len(ids) % 2 else high], dtype=np.float32)
            },
        )
    records = [
        {"prompt": "the cat", "choices": ["sat", "run"]},
        {"prompt": LONG, "choices": ["a", "it", ""]},
        {"prompt": "", "choices": ["on"]},
    ]
    yield Call(name="a list", input=records, script=drawn_logits(1))
    yield Call(name="a list of one", input=records[:1], script=drawn_logits(1))
    yield Call(name="an empty list", input=[], script=drawn_logits(1))
    for name, prompt, choices in (
        ("no choices", "a", []),
        ("choices that are a text", "a", "b"),
        ("a choice that is a number", "a", ["b", 3]),
        ("a prompt that is a number", 3, ["b"]),
        ("choices that are null", "a", None),
    ):
        yield call(f"refused: {name}", prompt, choices, fails=True)
    yield Call(
        name="refused: no prompt", input={"choices": ["a"]}, script=drawn_logits(1), fails=True
    )
    yield Call(name="refused: a text alone", input="a", script=drawn_logits(1), fails=True)


def record_choices() -> Iterator[dict[str, Any]]:
    """The cases of multiple-choice: a row per choice, the softmax over an item's rows."""

    def answer(item: Any, _rows: Sequence[Any], given: Sequence[Tensors]) -> dict[str, Any]:
        logits = torch.from_numpy(np.concatenate([outputs["logits"] for outputs in given]))
        best = int(torch.argmax(logits))
        return {
            "choice": best,
            "text": item["choices"][best],
            "scores": torch.softmax(logits, dim=-1).tolist(),
        }

    for call in _choice_calls():
        yield record_call(
            call,
            items_of(call.input),
            lambda tokenizer, item: [
                encoding
                for choice in item["choices"]
                for encoding in encode_pair(tokenizer, item["prompt"], choice)
            ],
            answer,
        )
