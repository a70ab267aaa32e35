"""Token classification, by the original's pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, make_call
from scripts.goldens.vectors.numbers import drawn, level
from scripts.goldens.vectors.recording import record_pipeline
from scripts.goldens.vectors.texts import LONG, TEXTS
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = ["record"]

_TASK = "token-classification"
_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}
_STRATEGIES = ("none", "simple", "first", "average", "max")
_LABELS = {
    "BIO": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    "labels without a prefix": ("O", "PER", "LOC"),
    "mixed labels": ("PER", "O", "B-PER", "I-PER", "LOC-x", "B-"),
}
_TAGGED = "john unaffable in new york, paris and john cat"
_TAGS = {"john": 1, "un": 2, "##able": 4, "new": 3, "york": 4, "paris": 3, "cat": 2}


def _drawn(labels: int) -> Script:
    def script(ids: Ids, types: Ids) -> Tensors:
        return {"logits": drawn((ids, types), len(ids), labels)}

    return script


def _tagged(labels: int, tags: Mapping[str, int]) -> Script:
    """Logits by which words have their tags, surely enough, and all others are outside."""

    def script(ids: Ids, types: Ids) -> Tensors:
        logits = drawn((ids, types), len(ids), labels, reach=2.0)
        for position, one in enumerate(ids):
            logits[position, tags.get(WORDS[one], 0) % labels] += 3.5
        return {"logits": logits}

    return script


def _tied(labels: int, *best: int) -> Script:
    def script(ids: Ids, _types: Ids) -> Tensors:
        logits = level(0.5, len(ids), labels)
        logits[:, list(best)] = 1.5
        return {"logits": logits}

    return script


def _call(name: str, value: Any, strategy: str = "none", kind: str = "BIO", **rest: Any) -> Call:
    labels = _LABELS[kind]
    options = {"aggregation_strategy": strategy} | rest.pop("options", {})
    defaults = {"script": _drawn(len(labels)), "labels": labels, "options": options}
    return make_call(name, value, defaults, **rest)


def _strategy_calls() -> Iterator[Call]:
    for strategy in _STRATEGIES:
        for kind, labels in _LABELS.items():
            yield _call(
                f"{kind}, {strategy}",
                _TAGGED,
                strategy,
                kind,
                script=_tagged(len(labels), _TAGS),
            )
        yield _call(
            f"nothing ignored, {strategy}",
            "unaffable cats run",
            strategy,
            options={"ignore_labels": []},
        )
        for name, best in (("all labels equal", ()), ("two labels equal", (2, 3))):
            yield _call(
                f"{name}, {strategy}",
                "a running cat",
                strategy,
                script=_tied(5, *best),
                options={"ignore_labels": []},
            )
        yield _call(
            f"a list, {strategy}", [_TAGGED, "", "a cat"], strategy, script=_tagged(5, _TAGS)
        )
    for name, ignored in (
        ("another label ignored", ["PER"]),
        ("several labels ignored", ["O", "B-PER", "LOC"]),
    ):
        for strategy in ("none", "simple"):
            yield _call(
                f"{name}, {strategy}",
                _TAGGED,
                strategy,
                script=_tagged(5, _TAGS),
                options={"ignore_labels": ignored},
            )
    yield _call("a strategy in capitals", _TAGGED, "SIMPLE", script=_tagged(5, _TAGS))
    for name, tags in (
        ("I- after another's B-", {"john": 1, "new": 4}),
        ("I- alone", {"john": 2, "new": 4}),
        ("B- after B-", {"john": 1, "new": 1}),
        ("I- after B- of the same type", {"john": 1, "new": 2}),
        ("I- of one type after I- of another", {"john": 2, "new": 4}),
    ):
        yield _call(name, "john new john john new", "simple", script=_tagged(5, tags))


def _text_calls() -> Iterator[Call]:
    for number, (name, text) in enumerate(TEXTS.items()):
        strategy = _STRATEGIES[number % 5]
        yield _call(f"{name}, {strategy}", text, strategy, options={"ignore_labels": []})
    for strategy in ("none", "max"):
        for name in ("capitals", "a combining accent", "a precomposed accent"):
            yield _call(
                f"{name}, cased, {strategy}",
                TEXTS[name],
                strategy,
                options={"ignore_labels": []},
                tokenizer=_CASED,
            )
    yield _call("a long text is cut", LONG, "simple", options={"ignore_labels": []})
    yield _call("a list of one", ["a cat"])


def _window_calls() -> Iterator[Call]:
    for strategy in _STRATEGIES[1:]:
        for stride in (0, 5):
            yield _call(
                f"windows that share {stride} tokens, {strategy}",
                f"{_TAGGED}, {LONG}",
                strategy,
                script=_tagged(5, _TAGS),
                options={"stride": stride},
            )
    yield _call(
        "windows, everything tagged at random",
        LONG,
        "first",
        options={"stride": 7, "ignore_labels": []},
    )
    yield _call(
        "windows that move by a token", f"{_TAGGED}, john cat", "simple",
        script=_tagged(5, _TAGS), options={"stride": 11}, tokenizer={"max_length": 14},
    )  # fmt: skip
    yield _call("windows of a short text", "john cat", "simple", options={"stride": 3})
    yield _call("windows of an empty text", "", "simple", options={"stride": 3})


def _word_calls() -> Iterator[Call]:
    words = ["Caffè", "中文", "😀", "Ω,", "don't", "new york"]
    for strategy in _STRATEGIES:
        yield _call(
            f"words, {strategy}",
            words,
            strategy,
            options={"is_split_into_words": True, "ignore_labels": []},
        )
    for delimiter in ("", " – "):
        yield _call(
            f"words joined by {delimiter!r}",
            words,
            "simple",
            options={
                "is_split_into_words": True,
                "ignore_labels": [],
                "delimiter": delimiter,
            },
        )
    split = {"is_split_into_words": True, "ignore_labels": []}
    yield _call("an empty word among words", ["a", "", "[SEP]", "dog"], options=split)
    yield _call("lists of words", [["a", "cat"], ["unaffable"]], "first", options=split)
    yield _call("words in windows", LONG.split(), "max", options=split | {"stride": 4})


def _refused_calls() -> Iterator[Call]:
    for name, value, strategy, options in (
        ("an unknown strategy", "a", "mean", {}),
        ("a stride without aggregation", "a", "none", {"stride": 3}),
        ("a stride above a row", "a", "max", {"stride": 24}),
        ("a number", 3, "none", {}),
        ("a list with a number", ["a", 3], "none", {}),
        ("words without being told", [["a"]], "none", {}),
    ):
        yield _call(f"refused: {name}", value, strategy, options=options, fails=True)


def record() -> Iterator[dict[str, Any]]:
    """The cases of token-classification."""
    for calls in (
        _strategy_calls(), _text_calls(), _window_calls(), _word_calls(), _refused_calls(),
    ):  # fmt: skip
        for call in calls:
            items = None
            if call.options.get("is_split_into_words") and not isinstance(call.input[0], list):
                items = [call.input]
            yield record_pipeline(_TASK, call, items=items, split=lambda item: [item])
