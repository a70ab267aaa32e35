"""Text classification, by the original's pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.goldens.vectors.call import Call, drawn_logits, fixed_logits, make_call
from scripts.goldens.vectors.numbers import level
from scripts.goldens.vectors.pairs import PAIRS
from scripts.goldens.vectors.recording import record_pipeline
from scripts.goldens.vectors.texts import LONG, TEXTS

__all__ = ["record"]

_TASK = "text-classification"
_LABELS = ("billing", "travel", "weather", "Wetter ☂")
_CUT = {"truncation": True}

_PROBLEMS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "no problem type": (None, _LABELS),
    "one label of several": ("single_label_classification", _LABELS),
    "several labels": ("multi_label_classification", _LABELS),
    "a number": ("regression", ("score",)),
    "several numbers": ("regression", _LABELS[:3]),
    "a single label": (None, ("positive",)),
    "a single label of one": ("single_label_classification", ("positive",)),
}
"""By what is peculiar about each: ``problem_type`` of the checkpoint, and its labels."""


def _call(name: str, value: Any, problem: str = "no problem type", **rest: Any) -> Call:
    kind, labels = _PROBLEMS[problem]
    defaults = {
        "script": drawn_logits(len(labels)),
        "labels": labels,
        "postprocessing": {"problem_type": kind},
        "original": _CUT,  # our default
    }
    return make_call(name, value, defaults, **rest)


def _pair(pair: tuple[str, str]) -> Mapping[str, str]:
    return dict(zip(("text", "text_pair"), pair, strict=True))


def _option_calls() -> Iterator[Call]:
    for problem in _PROBLEMS:
        yield _call(f"{problem}: the best", "the cat", problem)
        yield _call(f"{problem}: all", "the cat", problem, options={"top_k": None})
        for function in ("sigmoid", "softmax", "none"):
            yield _call(
                f"{problem}: {function}",
                "a dog",
                problem,
                options={"function_to_apply": function, "top_k": None},
            )
    for top_k in (1, 2, 4, 99):
        yield _call(f"top_k {top_k}", "the cat", options={"top_k": top_k})
    yield _call("a function in capitals", "a dog", options={"function_to_apply": "SOFTMAX"})


def _value_calls() -> Iterator[Call]:
    tied = level(0.75, 4).tolist()
    for name, logits in (
        ("equal logits", tied),
        ("the best two equal", [0.5, 1.5, 1.5, -1.0]),
        ("the last two equal", [2.0, 0.5, -1.0, -1.0]),
        ("logits far apart", [90.0, -90.0, 30.0, 0.0]),
        ("large logits close together", [1000.0, 1000.25, 999.5, 1000.125]),
        ("negative logits", [-7.5, -3.25, -9.0, -3.5]),
        ("zeros of both signs", [0.0, -0.0, 0.0, -0.0]),
    ):
        for problem in ("no problem type", "several labels"):
            yield _call(
                f"{name}, {problem}",
                "it",
                problem,
                script=fixed_logits(*logits),
                options={"top_k": None},
            )
        yield _call(f"{name}, the best", "it", script=fixed_logits(*logits))


def _input_calls() -> Iterator[Call]:
    for name, text in TEXTS.items():
        yield _call(name, text)
    for name, pair in PAIRS.items():
        yield _call(name, _pair(pair))
    yield _call("a pair", _pair(("the cat", "sat on a mat?")))
    yield _call("a mapping with a text alone", {"text": "a dog"}, options={"top_k": 2})
    yield _call("a list", ["the cat", "", "a dog"])
    yield _call("a list, top_k 2", ["the cat", "", "a dog"], options={"top_k": 2})
    yield _call("a list of one", ["the cat"])
    yield _call("a list of one, top_k 1", ["the cat"], options={"top_k": 1})
    yield _call("a list of pairs and texts", [_pair(("a", "it")), {"text": "a dog"}, "run"])
    yield _call("an empty list", [])
    yield _call("a long text", LONG)
    yield _call("a long text, cut at its beginning", LONG, tokenizer={"truncation_side": "left"})
    yield _call("a long pair", _pair((LONG, LONG)))
    yield _call("a pair with a long first text", _pair((LONG, "a dog")))
    yield _call("a pair with a long second text", _pair(("a dog", LONG)))
    yield _call("max_length", LONG, options={"max_length": 6})
    yield _call("max_length of a pair", _pair((LONG, "a dog run")), options={"max_length": 9})
    yield _call(
        "only the first text is cut", _pair((LONG, "a dog")), options={"truncation": "only_first"}
    )
    yield _call(
        "only the second text is cut", _pair(("a dog", LONG)), options={"truncation": "only_second"}
    )
    yield _call("no truncation of a short text", "the cat", options={"truncation": False})


def _refused_calls() -> Iterator[Call]:
    for name, value, options in (
        ("a text that is too long", LONG, {"truncation": False}),
        ("an unknown function", "a", {"function_to_apply": "relu"}),
        ("an unknown truncation", "a", {"truncation": "middle"}),
        ("a number", 3, {}),
        ("a list with a number", [3], {}),
        ("an unknown field", {"text": "a", "pair": "b"}, {}),
        ("a second text alone", {"text_pair": "a"}, {}),
        ("a text that is a number", {"text": 3}, {}),
    ):
        yield _call(f"refused: {name}", value, options=options, fails=True, original={})


def record() -> Iterator[dict[str, Any]]:
    """The cases of text-classification."""
    for calls in (_option_calls(), _value_calls(), _input_calls(), _refused_calls()):
        for call in calls:
            yield record_pipeline(_TASK, call)
