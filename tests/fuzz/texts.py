"""Mutated texts and options, for the pipelines of all tasks over tiny random heads."""

from __future__ import annotations

import inspect
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bert_export.runtime.pipelines.pipeline import Pipeline
from tests.fuzz.damage import damage, hostile_text, hostile_value
from tests.fuzz.frame import Fuzz
from tests.oracle import save_tiny
from tests.support import ONE_GRAPH, open_tiny

__all__ = ["Texts"]

_CLASSES = {"BertForSentenceEmbedding": "BertModel"}
_CONFIGS: dict[str, dict[str, Any]] = {
    "BertForTokenClassification": {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}},
    "BertForSequenceClassification": {
        "id2label": {0: "entailment", 1: "neutral", 2: "contradiction"},
        "label2id": {"entailment": 0, "neutral": 1, "contradiction": 2},
    },
    "BertLMHeadModel": {"is_decoder": True},
}
_METHODS = (
    "__call__",
    "encode",
    "encode_query",
    "encode_document",
    "similarity",
    "predict",
    "rank",
)
_WORDS = (
    "none", "simple", "first", "average", "max", "softmax", "sigmoid", "longest_first",
    "only_first", "only_second", "do_not_truncate", "transformers", "squad", "This is {}.", "{}",
    "{0} {1}", "{x}", "O", "B-PER", "cat", "the", ",", "query", "document",
)  # fmt: skip
_OBJECTS: tuple[Callable[[], Any], ...] = (
    object, set, lambda: b"bytes", lambda: np.array("text"), lambda: np.array(["a", "b"]),
    lambda: np.zeros((2, 2)), lambda: np.int64(3), lambda: np.float32(0.5), lambda: np.bool_(1),
    lambda: iter(()), lambda: iter(["a", 1]), lambda: (text for text in ("a", "b")),
    lambda: range(3), lambda: int, lambda: 1j, lambda: slice(None), lambda: {"a"}, frozenset,
    lambda: ...,
)  # fmt: skip


def _write_pooling(folder: Path) -> None:
    """What sentence-transformers writes beside a model: mean pooling."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {
            "idx": number,
            "name": f"{number}",
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    settings = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings), encoding="utf-8")


class Texts(Fuzz):
    """Every task's pipeline, called with what it does not expect."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        torch.set_num_threads(1)
        self._pipelines: list[Pipeline[Any, Any, Any]] = []
        for task in ONE_GRAPH.values():
            cls_name = _CLASSES.get(task.head, task.head)
            place = folder / task.head
            if not place.exists():
                save_tiny(cls_name, place, **_CONFIGS.get(cls_name, {}))
            if task.head == "BertForSentenceEmbedding":
                _write_pooling(place)
            self._pipelines.append(open_tiny(task.name, place, token_budget=256))

    def case(self, number: int, chance: random.Random) -> None:
        """Call one method of one pipeline with one odd input or more."""
        pipeline = self._pipelines[number % len(self._pipelines)]
        methods = [getattr(pipeline, name) for name in _METHODS if hasattr(pipeline, name)]
        method = chance.choice(methods)
        positional, named = _arguments(method, dict(pipeline.definition.example), chance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = method(*positional, **named)
            if isinstance(answer, Iterator):
                for _ in answer:
                    pass


def _arguments(
    method: Callable[..., Any], record: dict[str, Any], chance: random.Random
) -> tuple[list[Any], dict[str, Any]]:
    """What the method is called with: a record of the task, damaged; and some of its options."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            if chance.random() < (1.0 if parameter.default is parameter.empty else 0.06):
                named[parameter.name] = _option(parameter.name, record, chance)
        elif parameter.default is parameter.empty or chance.random() < 0.8:
            if len(positional) == 0:
                positional.append(_inputs(record, chance))
            elif not named:
                positional.append(_field(parameter.name, record, chance))
        elif chance.random() < 0.1:
            named[parameter.name] = _field(parameter.name, record, chance)
    return positional, named


def _inputs(record: dict[str, Any], chance: random.Random) -> Any:
    """One item, or several in something that holds them."""
    kind = chance.randrange(10)
    if kind < 5:
        return _item(record, chance)
    items = [_item(record, chance) for _ in range(chance.choice((0, 1, 2, 3, 9)))]
    if kind == 5:
        return tuple(items)
    if kind == 6:
        return iter(items)
    if kind == 7:
        return [items, *items]
    return items


def _item(record: dict[str, Any], chance: random.Random) -> Any:
    """A record of the task as a text or as a mapping; fields are odd, gone or new."""
    if chance.random() < 0.05:
        return _value(chance)
    fields = {name: _field(name, record, chance) for name in record}
    if chance.random() < 0.1:
        fields.pop(chance.choice(list(fields)))
    if chance.random() < 0.1:
        fields[chance.choice(("text_pair", "x", "label", ""))] = _text(chance)
    if "text" in fields and chance.random() < 0.7:
        return fields["text"]
    return fields


def _field(name: str, record: dict[str, Any], chance: random.Random) -> Any:
    plain = record.get(name)
    kind = chance.random()
    if kind < 0.3 and plain is not None:
        return plain
    if kind < 0.4 and isinstance(plain, str):
        return damage(plain.encode(), chance).decode("utf-8", errors="replace")
    if kind < 0.5 and isinstance(plain, list | tuple):
        return [_text(chance) for _ in range(chance.choice((0, 1, 2, 5, 40)))]
    return _value(chance) if kind > 0.97 else _text(chance)


def _option(name: str, record: dict[str, Any], chance: random.Random) -> Any:
    kind = chance.random()
    if kind < 0.2:
        return chance.choice(_WORDS)
    if kind < 0.3:
        return [chance.choice(_WORDS) for _ in range(chance.choice((0, 1, 3)))]
    if kind < 0.4:
        return chance.choice((True, False, 1, 2, 3, 8, 0.5))
    if kind < 0.5:
        keys = ("truncation", "max_length", "padding", "stride", "x")
        return {chance.choice(keys): hostile_value(chance)}
    return _field(name, record, chance) if kind < 0.6 else _value(chance)


def _value(chance: random.Random) -> Any:
    return chance.choice(_OBJECTS)() if chance.random() < 0.3 else hostile_value(chance)


def _text(chance: random.Random) -> str:
    text = hostile_text(chance)
    if chance.random() < 0.3:  # so that fill-mask has something to fill
        text += "[MASK]"
    return text
