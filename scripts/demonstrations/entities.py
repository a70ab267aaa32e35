"""More tagged sentences for the tagger: slots of voice requests, and mentions exchanged.

WNUT 2017 has few entities, and its test set's are new on purpose. What helps is to see more names
of each kind: those that people ask voice assistants for (Snips, CC0), and the same sentences with
other names in them.

Source of the exchange: Dai and Adel 2020, "An Analysis of Simple Data Augmentation for Named Entity
Recognition", COLING (mention replacement).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["exchange_mentions", "mentions_of", "tag_slots"]

Record = dict[str, Any]
Mentions = dict[str, list[list[str]]]

_KINDS: Mapping[str, str] = {
    "album": "creative-work",
    "artist": "person",
    "city": "location",
    "country": "location",
    "entity_name": "creative-work",
    "geographic_poi": "location",
    "location_name": "corporation",
    "movie_name": "creative-work",
    "object_name": "creative-work",
    "service": "product",
    "state": "location",
    "track": "creative-work",
}
"""What the slots of Snips are among WNUT's kinds of entities."""

_UNCLEAR = frozenset({"playlist", "playlist_owner", "poi", "restaurant_name"})
"""Slots that are names of no kind of WNUT's, or of several: such requests are left out."""

_WORDS = re.compile(r"\w+(?:['\u2019.-]\w+)*|[^\w\s]")


def tag_slots(query: Sequence[Mapping[str, str]]) -> Record | None:
    """A Snips query as tokens and tags; ``None`` where its slots do not tell which are entities."""
    if any(part.get("entity") in _UNCLEAR for part in query):
        return None
    tokens: list[str] = []
    tags: list[str] = []
    for part in query:
        words = _WORDS.findall(part["text"])
        kind = _KINDS.get(part.get("entity", ""))
        tokens += words
        if kind is None:
            tags += ["O"] * len(words)
        else:
            tags += [f"{'I' if index else 'B'}-{kind}" for index in range(len(words))]
    return {"tokens": tokens, "tags": tags}


def mentions_of(records: Sequence[Record]) -> Mentions:
    """The entities of tagged sentences by kind, with repetitions."""
    mentions: Mentions = {}
    for record in records:
        for kind, first, last in _spans(record["tags"]):
            mentions.setdefault(kind, []).append(record["tokens"][first:last])
    return mentions


def exchange_mentions(
    records: Sequence[Record], mentions: Mentions, dice: random.Random
) -> list[Record]:
    """The sentences that have entities, each entity by another one of its kind.

    Args:
        records: Tagged sentences.
        mentions: Of :func:`mentions_of`; every kind of the records is there.
        dice: Draws the others.
    """
    exchanged = []
    for record in records:
        tokens: list[str] = []
        tags: list[str] = []
        end = 0
        for kind, first, last in _spans(record["tags"]):
            other = dice.choice(mentions[kind])
            tokens += [*record["tokens"][end:first], *other]
            tags += record["tags"][end:first]
            tags += [f"{'I' if index else 'B'}-{kind}" for index in range(len(other))]
            end = last
        if end:
            exchanged.append(
                {"tokens": tokens + record["tokens"][end:], "tags": tags + record["tags"][end:]}
            )
    return exchanged


def _spans(tags: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Kind, first word and the word behind the last of each entity."""
    start: int | None = None
    for index, tag in enumerate([*tags, "O"]):
        if start is not None and tag != f"I-{tags[start][2:]}":
            yield tags[start][2:], start, index
            start = None
        if start is None and tag != "O":
            start = index
