"""The demonstration checkpoints: their names, what each knows, and what shows it.

Light, for whoever lists or checks names; how one is read stands in
:mod:`bert_export.checkpoints.demo`. Each folder below ``bert_export/demonstrations`` holds
``card.json``, whose ``summary`` is one line of what the head knows, and ``examples.json``::

    {"<task>": {"record": {...}, "options": {...}, "shows": {...}}}

A record is what the task's pipeline answers, ``options`` are those of its call where it needs some,
and ``shows`` is the part of the answer that was looked at in INT8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bert_export.errors import CheckpointError, one_of, shown

__all__ = [
    "BASE",
    "BASE_LICENCE",
    "CARD",
    "DEMONSTRATIONS",
    "Demonstration",
    "Example",
    "check_demonstration_name",
    "demonstration_names",
    "find_demonstrations",
    "find_example",
]

BASE = "minilm"
"""The model that every demonstration but this one adapts."""

BASE_LICENCE = "apache-2.0"

CARD = "card.json"
DEMONSTRATIONS = Path(__file__).parent / "demonstrations"
_PREFIX = "demo:"


class Example(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record that shows what a demonstration knows.

    Args:
        record: With the task's fields.
        options: Of the call.
        shows: What its answer must hold, by the answer's own keys; in the order of the answer where
            that is a list.
    """

    record: dict[str, Any]
    options: dict[str, Any] = {}
    shows: dict[str, Any] | list[dict[str, Any]]


class Demonstration(msgspec.Struct, frozen=True, kw_only=True):
    """A demonstration checkpoint.

    Args:
        name: As in ``demo:<name>``.
        summary: What it knows, in one line.
        examples: By task.
    """

    name: str
    summary: str
    examples: dict[str, Example]


_BASE = Demonstration(
    name=BASE,
    summary="Vectors of English sentences, alike where the meaning is.",
    examples={},
)


class _Card(msgspec.Struct):
    summary: str


def demonstration_names(demonstrations: Path = DEMONSTRATIONS) -> tuple[str, ...]:
    """The base model's name, then those of the adapters, sorted."""
    adapters = sorted(path.parent.name for path in demonstrations.glob(f"*/{CARD}"))
    return BASE, *adapters


def check_demonstration_name(name: str, demonstrations: Path = DEMONSTRATIONS) -> str:
    """The name of a demonstration, checked.

    Raises:
        CheckpointError: None is called so.
    """
    names = demonstration_names(demonstrations)
    if name not in names:
        raise CheckpointError(
            f"demonstration checkpoint {shown(name)} is unknown", **one_of(name, names)
        )
    return name


def find_demonstrations() -> tuple[Demonstration, ...]:
    """All demonstrations by name; the base model is the first."""
    _, *names = demonstration_names()
    adapters = [
        Demonstration(
            name=name,
            summary=msgspec.json.decode(
                (DEMONSTRATIONS / name / CARD).read_bytes(), type=_Card
            ).summary,
            examples=_examples(name),
        )
        for name in names
    ]
    return (_BASE, *adapters)


def find_example(model: str, task: str) -> Example | None:
    """The example of a demonstration for a task.

    Args:
        model: A checkpoint's source, such as ``demo:snips``.
        task: Which the example is for.

    Returns:
        ``None`` for another checkpoint, and where the demonstration has none for the task.
    """
    name = model.removeprefix(_PREFIX)
    if not model.startswith(_PREFIX) or name == BASE or name not in demonstration_names():
        return None
    return _examples(name).get(task)


def _examples(name: str) -> dict[str, Example]:
    path = DEMONSTRATIONS / name / "examples.json"
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Example])
