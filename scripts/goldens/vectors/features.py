"""Feature extraction: every token's vector, by the original's pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.goldens.vectors.call import Call, Ids, Tensors
from scripts.goldens.vectors.numbers import drawn
from scripts.goldens.vectors.recording import record_pipeline
from scripts.goldens.vectors.texts import LONG, TEXTS

__all__ = ["record"]

_TASK = "feature-extraction"
_HIDDEN = 3
_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}


def _states(ids: Ids, types: Ids) -> Tensors:
    return {
        "last_hidden_state": drawn((ids, types), len(ids), _HIDDEN),
        "pooler_output": drawn((ids, types, "pooled"), _HIDDEN, reach=1.0),
    }


def _call(name: str, value: Any, **rest: Any) -> Call:
    return Call(name=name, input=value, script=_states, **rest)


def _kwargs(**options: Any) -> dict[str, Any]:
    return {"tokenize_kwargs": options}


def _calls() -> Iterator[Call]:
    for name, text in TEXTS.items():
        yield _call(name, text)
    for name in ("capitals", "a combining accent", "a precomposed accent"):
        yield _call(f"{name}, cased", TEXTS[name], tokenizer=_CASED)
    for truncation in (True, "longest_first", "only_first"):
        yield _call(
            f"a long text, truncation {truncation}", LONG, options={"truncation": truncation}
        )
    yield _call(
        "a long text, cut at its beginning",
        LONG,
        options={"truncation": True},
        tokenizer={"truncation_side": "left"},
    )
    yield _call("max_length", LONG, options=_kwargs(truncation=True, max_length=7))
    yield _call("max_length alone cuts", LONG, options=_kwargs(max_length=5))
    yield _call("max_length that leaves special tokens", LONG, options=_kwargs(max_length=2))
    yield _call("max_length above a text's", "the cat", options=_kwargs(max_length=20))
    yield _call("no special tokens", "the cat", options=_kwargs(add_special_tokens=False))
    yield _call(
        "no special tokens and truncation",
        LONG,
        options={"truncation": True, **_kwargs(add_special_tokens=False)},
    )
    yield _call("truncation of a short text", "the cat", options={"truncation": True})
    yield _call("truncation switched off", "the cat", options=_kwargs(truncation="do_not_truncate"))
    yield _call("a list", ["the cat", "", "a dog run"])
    yield _call("a list of one", ["the cat"])
    yield _call("a list of equals", ["the cat", "the cat"])
    yield _call("a list with long texts", [LONG, "a", LONG[::-1]], options={"truncation": True})
    yield _call("an empty list", [])
    for name, value, options in (
        ("a text that is too long", LONG, {}),
        ("a list with a text that is too long", ["a", LONG], {}),
        ("an unknown truncation", "a", {"truncation": "middle"}),
        ("no token at all", "", _kwargs(add_special_tokens=False)),
        ("truncation given twice", "a", {"truncation": True, **_kwargs(truncation=True)}),
        ("a number", 3, {}),
        ("a list with a number", ["a", 3], {}),
    ):
        yield _call(f"refused: {name}", value, options=options, fails=True)


def record() -> Iterator[dict[str, Any]]:
    """The cases of feature-extraction."""
    for call in _calls():
        yield record_pipeline(_TASK, call, split=lambda item: [item])
