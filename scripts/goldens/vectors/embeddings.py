"""Sentence embeddings, as sentence-transformers' modules compute them.

The head's outputs are means over the tokens that are pooled, drawn states taken for the encoder's;
what is left is the arithmetic of prompt, cut and length, written here once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scripts.goldens.vectors.call import Call, Ids, Tensors, make_call
from scripts.goldens.vectors.numbers import drawn, level
from scripts.goldens.vectors.oracle import open_tokenizer
from scripts.goldens.vectors.recording import items_of, record_call
from scripts.goldens.vectors.texts import LONG, TEXTS

__all__ = ["record"]

_EMBEDDING = 6
_PROMPTS = {"query": "who is ", "glued": "the c", "empty": "", "long": LONG}
_PROMPTED = {"prompts": _PROMPTS}
_DEFAULT = {"prompts": _PROMPTS, "default_prompt_name": "query"}
_EXCLUDED = {"prompts": _PROMPTS, "include_prompt": False}
_NORMALIZED = {"normalize": True}


def _states(ids: Ids, types: Ids) -> Tensors:
    return {"states": drawn((ids, types), len(ids), _EMBEDDING)}


def _none(ids: Ids, _types: Ids) -> Tensors:
    return {"states": level(0.0, len(ids), _EMBEDDING)}


def _call(name: str, value: Any, post: Mapping[str, Any] | None = None, **rest: Any) -> Call:
    whole = {"normalize": False, "prompts": {}, "default_prompt_name": None, "include_prompt": True}
    defaults = {"script": _states, "postprocessing": whole | dict(post or {})}
    return make_call(name, value, defaults, **rest)


def _plain_calls() -> Iterator[Call]:
    for number, (name, text) in enumerate(TEXTS.items()):
        yield _call(name, text, _NORMALIZED if number % 2 else None)
    yield _call("a long text", LONG)
    yield _call("a long text, cut at its beginning", LONG, tokenizer={"truncation_side": "left"})
    yield _call("zeros, scaled", "the cat", script=_none, options={"normalize": True})
    yield _call("zeros of a graph that normalizes", "the cat", _NORMALIZED, script=_none)
    for width in (1, 2, _EMBEDDING, 99):
        yield _call(f"cut to {width}", "the cat", options={"truncate_dim": width})
        yield _call(
            f"cut to {width}, then scaled",
            "the cat",
            options={"truncate_dim": width, "normalize": True},
        )
    yield _call(
        "cut, of a graph that normalizes", "a dog", _NORMALIZED, options={"truncate_dim": 2}
    )
    yield _call(
        "cut and scaled, of a graph that normalizes",
        "a dog",
        _NORMALIZED,
        options={"truncate_dim": 2, "normalize": True},
    )
    yield _call("not scaled", "a dog", options={"normalize": False})
    yield _call("a list", ["the cat", "", LONG, "a dog"], options={"normalize": True})
    yield _call("a list of one", ["the cat"])


def _prompted_calls() -> Iterator[Call]:
    for name in _PROMPTS:
        for post, kind in ((_PROMPTED, "pooled"), (_EXCLUDED, "not pooled")):
            yield _call(
                f"the prompt {name!r}, {kind}", "at it", post, options={"prompt_name": name}
            )
    yield _call("the default prompt", "it", _DEFAULT)
    yield _call("another than the default prompt", "it", _DEFAULT, options={"prompt_name": "glued"})
    yield _call("an empty prompt against the default", "it", _DEFAULT, options={"prompt": ""})
    yield _call("a prompt of the call", "it", options={"prompt": "about: "})
    yield _call("a prompt of the call, not pooled", "it", _EXCLUDED, options={"prompt": "about: "})
    yield _call("a prompt that is all", "", _EXCLUDED, options={"prompt_name": "query"})
    yield _call(
        "a prompt before a list",
        ["the cat", "", "a dog"],
        _EXCLUDED | _DEFAULT | {"include_prompt": False, "normalize": True},
    )
    yield _call(
        "a prompt and its name",
        "it",
        _PROMPTED,
        options={"prompt": "about: ", "prompt_name": "query"},
        warns=True,
    )


def _refused_calls() -> Iterator[Call]:
    for name, post, options in (
        ("an unknown prompt", _PROMPTED, {"prompt_name": "other"}),
        ("a name where there are no prompts", None, {"prompt_name": "query"}),
        ("no scaling of a graph that normalizes", _NORMALIZED, {"normalize": False}),
        ("a cut to nothing", None, {"truncate_dim": 0}),
        ("a prompt that is a number", None, {"prompt": 3}),
        ("scaling that is a word", None, {"normalize": "yes"}),
    ):
        yield _call(f"refused: {name}", "a", post, options=options, fails=True)
    yield _call("refused: a number", 3, fails=True)


def record() -> Iterator[dict[str, Any]]:
    """The cases of sentence-embedding."""
    for calls in (_plain_calls(), _prompted_calls(), _refused_calls()):
        for call in calls:
            yield _record(call)


def _record(call: Call) -> dict[str, Any]:
    post, options = call.postprocessing, call.options
    prompt = options.get("prompt")
    if prompt is None:
        prompt = post["prompts"].get(options.get("prompt_name", post["default_prompt_name"]), "")

    def encode(tokenizer: Any, text: str) -> Sequence[Any]:
        return tokenizer(f"{prompt}{text}", truncation=True).encodings or ()

    def answer(_text: str, rows: Sequence[dict[str, Any]], given: Sequence[Tensors]) -> Any:
        (row,), (outputs,) = rows, given
        pooled = np.ones(len(row["input_ids"]), dtype=np.int64)
        if not post["include_prompt"]:
            pooled[: _prompt_tokens(call, prompt)] = 0
            row["pooling_mask"] = pooled.tolist()
        weights = pooled.astype(np.float32)[:, np.newaxis]
        vector = (outputs.pop("states") * weights).sum(axis=0) / max(weights.sum(), 1e-9)
        if post["normalize"]:
            vector = _scaled(vector)
        outputs["sentence_embedding"] = vector
        vector = vector[: options.get("truncate_dim")]
        return _scaled(vector) if options.get("normalize") else vector

    return record_call(call, items_of(call.input), encode, answer)


def _prompt_tokens(call: Call, prompt: str) -> int:
    """Tokens of the prompt alone without its last, as sentence-transformers counts them."""
    return len(open_tokenizer(call)(prompt, truncation=True)["input_ids"]) - 1 if prompt else 0


def _scaled(vector: Any) -> Any:
    return vector / max(float(np.sqrt(np.square(vector).sum())), 1e-12)
