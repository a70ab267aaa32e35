"""What is timed: the graph at a shape, or whole answers to real records.

A shape times the graph alone, from arrays to arrays. The other two time what a service pays:
tokenization, the graph and the post-processing, one record at a time or many in one call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bert_export.errors import InputError

__all__ = [
    "MANY_TEXTS",
    "ONE_TEXT",
    "SHAPES",
    "Shape",
    "Workload",
    "parse_shapes",
    "pick_records",
    "shape_workloads",
    "text_workloads",
]

ONE_TEXT = "one text"
MANY_TEXTS = "many texts"

SHAPES = "1x16,1x128,8x128"
"""A short query, a long text, a batch of long texts."""

_SHAPE = re.compile(r"([1-9]\d*)x([1-9]\d*)", re.IGNORECASE)
_SHORTEST = 3  # [CLS], a token and [SEP]


class Shape(msgspec.Struct, frozen=True, order=True):
    """Rows and tokens per row, without padding."""

    batch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.sequence}"


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that every contender is timed at.

    Args:
        label: As tables name it: ``8x128``, :data:`ONE_TEXT`, :data:`MANY_TEXTS`.
        rows: Rows or records that one pass over its calls answers.
        request: What the worker is told of it, a JSON object.
    """

    label: str
    rows: int
    request: dict[str, Any] = {}


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """Shapes as typed, such as ``1x16,8x128``; repetitions are dropped.

    Raises:
        InputError: One is malformed, or too short to hold a token.
    """
    shapes = []
    for part in text.split(","):
        match = _SHAPE.fullmatch(part.strip())
        if match is None:
            raise InputError(
                f"shape {part.strip()!r} is malformed",
                expected="batch x sequence, such as 8x128",
                got=repr(part.strip()),
            )
        shape = Shape(int(match[1]), int(match[2]))
        if shape.sequence < _SHORTEST:
            raise InputError(
                f"shape {shape} is too short",
                expected=f"at least {_SHORTEST} tokens a row",
                got=shape.sequence,
            )
        shapes.append(shape)
    return tuple(dict.fromkeys(shapes))


def shape_workloads(shapes: Sequence[Shape]) -> tuple[Workload, ...]:
    """The graph alone at each shape."""
    return tuple(
        Workload(
            label=str(shape),
            rows=shape.batch,
            request={"batch": shape.batch, "sequence": shape.sequence},
        )
        for shape in shapes
    )


def text_workloads(count: int) -> tuple[Workload, ...]:
    """Whole answers: so many records one at a time, and all of them in one call."""
    return (
        Workload(label=ONE_TEXT, rows=count, request={"records": count, "at_once": False}),
        Workload(label=MANY_TEXTS, rows=count, request={"records": count, "at_once": True}),
    )


def pick_records(records: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most so many records, evenly spaced, so that a sorted file is seen from end to end."""
    count = min(most, len(records))
    return [records[index * len(records) // count] for index in range(count)]
