"""What the demonstrations know, and what shows it: read from the files beside their weights.

Each folder below ``bert_export/demonstrations`` holds ``card.json``, whose ``summary`` is one line
of what the head knows, and ``examples.json``::

    {"<task>": {"record": {...}, "options": {...}, "shows": {...}}}

A record is what the task's pipeline answers, ``options`` are those of its call where it needs some,
and ``shows`` is the part of the answer that was looked at in INT8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Demonstration", "Example", "find_demonstrations", "find_example"]

_FOLDER = Path(__file__).parents[1] / "demonstrations"
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
    name="minilm",
    summary="Vectors of English sentences, alike where the meaning is.",
    examples={},
)


class _Card(msgspec.Struct):
    summary: str


def find_demonstrations() -> tuple[Demonstration, ...]:
    """All demonstrations by name; the base model is the first."""
    adapters = [
        Demonstration(
            name=path.parent.name,
            summary=msgspec.json.decode(path.read_bytes(), type=_Card).summary,
            examples=_examples(path.parent.name),
        )
        for path in sorted(_FOLDER.glob("*/card.json"))
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
    names = [path.parent.name for path in _FOLDER.glob("*/card.json")]
    name = model.removeprefix(_PREFIX)
    if not model.startswith(_PREFIX) or name not in names:
        return None
    return _examples(name).get(task)


def _examples(name: str) -> dict[str, Example]:
    path = _FOLDER / name / "examples.json"
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Example])
