"""Zero-shot classification, by the original's pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, drawn_logits, make_call
from scripts.goldens.vectors.recording import record_pipeline
from scripts.goldens.vectors.texts import LONG, TEXTS

__all__ = ["record"]

_TASK = "zero-shot-classification"
_HEADS = {
    "entailment last": ("contradiction", "neutral", "entailment"),
    "entailment first": ("ENTAILMENT", "neutral", "contradiction"),
    "entailment in the middle": ("no", "Entails", "maybe"),
    "two labels": ("not_entailment", "entailment"),
    "two labels, entailment first": ("entailment", "not_entailment"),
    "two labels that entail": ("no", "entails", "entailment"),
}
_HEAD = "entailment last"
_CANDIDATES = ["cat", "dog", "new york"]


def _by_length(*table: tuple[float, ...]) -> Script:
    """The first logits for the shortest second text, the next for one more token, and so on."""

    def script(_ids: Ids, types: Ids) -> Tensors:
        index = (sum(types) - 1) % len(table)
        return {"logits": np.array(table[index], dtype=np.float32)}

    return script


def _call(name: str, value: Any, head: str = _HEAD, **rest: Any) -> Call:
    labels = _HEADS[head]
    options = {"candidate_labels": _CANDIDATES} | rest.pop("options", {})
    defaults = {
        "script": drawn_logits(len(labels)),
        "labels": labels,
        "postprocessing": {"problem_type": None},
        "options": options,
    }
    return make_call(name, value, defaults, **rest)


def _scored_calls() -> Iterator[Call]:
    for head in _HEADS:
        for multi_label in (False, True):
            yield _call(
                f"{head}, multi_label {multi_label}",
                "the cat sat",
                head,
                options={"multi_label": multi_label},
            )
        yield _call(f"{head}, one candidate", "a dog", head, options={"candidate_labels": ["cat"]})
    row = (0.5, 0.25, 1.5)
    tables = {
        "equal logits": (row, row, row),
        "the best two equal": (row, row, (2.0, 0.0, -1.0)),
        "the last two equal": ((0.5, 0.0, 4.0), row, row),
        "logits far apart": ((30.0, 0.0, -30.0), (-30.0, 0.0, 30.0), (0.0, 0.0, 0.0)),
    }
    for name, table in tables.items():
        for multi_label in (False, True):
            yield _call(
                f"{name}, multi_label {multi_label}",
                "it",
                script=_by_length(*table),
                options={
                    "candidate_labels": ["cat", "cat sat", "cat sat on"],
                    "hypothesis_template": "{}",
                    "multi_label": multi_label,
                },
            )


def _label_calls() -> Iterator[Call]:
    for name, labels in (
        ("candidates in a string", "cat, dog ,,mat"),
        ("one candidate in a string", "cat"),
        ("a candidate twice", ["cat", "dog", "cat"]),
        ("a candidate that is empty", ["cat", ""]),
        ("candidates with spaces around", [" cat ", "dog\n"]),
        ("candidates of other scripts", ["中文", "😀", "e\u0301"]),
        ("candidates that differ in case", ["Cat", "cat"]),
        ("a candidate with a brace", ["cat", "{}"]),
    ):
        yield _call(name, "the cat", options={"candidate_labels": labels})
    for template in ("{}", "it is about {}.", "{0}, a {0}", "{:>9}", "{{}} {}", "中文 {} 😀"):
        yield _call(
            f"the template {template!r}",
            "the cat",
            options={"candidate_labels": ["cat", "dog"], "hypothesis_template": template},
        )


def _input_calls() -> Iterator[Call]:
    for name, text in TEXTS.items():
        if text:
            yield _call(name, text, options={"candidate_labels": ["cat", "dog"]})
    yield _call("a long text", LONG)
    yield _call("a long text, cut at its beginning", LONG, tokenizer={"truncation_side": "left"})
    yield _call("a list", ["the cat", "a dog"], options={"candidate_labels": "cat,dog"})
    yield _call("a list of one", ["the cat"], options={"candidate_labels": "cat,dog"})
    yield _call("a list and one candidate", ["the cat", LONG], options={"candidate_labels": "cat"})
    yield _call("an empty list", [])
    for name, text, options in (
        ("an empty text", "", {}),
        ("no candidate", "a", {"candidate_labels": []}),
        ("candidates of commas alone", "a", {"candidate_labels": " , "}),
        ("a template without a placeholder", "a", {"hypothesis_template": "it is so"}),
        ("a template with a name", "a", {"hypothesis_template": "it is {label}"}),
        ("a template with an open brace", "a", {"hypothesis_template": "it is {"}),
        ("a hypothesis that leaves no room", LONG, {"candidate_labels": [LONG]}),
    ):
        yield _call(f"refused: {name}", text, options=options, fails=True)


def record() -> Iterator[dict[str, Any]]:
    """The cases of zero-shot-classification."""
    for calls in (_scored_calls(), _label_calls(), _input_calls()):
        for call in calls:
            yield record_pipeline(_TASK, call, run=_ask)


def _ask(pipeline: Any, value: Any, options: Mapping[str, Any]) -> Any:
    """The original's answer; of equal scores, whose order its sort leaves open, the later first."""
    given = options["candidate_labels"]
    candidates = [one.strip() for one in given.split(",")] if isinstance(given, str) else given

    def ranked(one: Mapping[str, Any]) -> dict[str, Any]:
        pairs = zip(one["labels"], one["scores"], strict=True)
        order = sorted(pairs, key=lambda pair: (-pair[1], -candidates.index(pair[0])))
        labels, scores = zip(*order, strict=True)
        return {**one, "labels": list(labels), "scores": list(scores)}

    answer = pipeline(value, **options)
    return [ranked(one) for one in answer] if isinstance(answer, list) else ranked(answer)
