"""Tagged sentences out of voice requests, and mentions exchanged in sentences."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from scripts.demonstrations.entities import exchange_mentions, mentions_of, tag_slots

KINDS = ("person", "location")
TAGS = ("O", *(f"{place}-{kind}" for kind in KINDS for place in "BI"))


def test_slots_become_entities_of_the_kinds_that_are_known() -> None:
    query = [
        {"text": "Play "},
        {"text": "Ella Fitzgerald's", "entity": "artist"},
        {"text": " best ", "entity": "sort"},
        {"text": "song in "},
        {"text": "New York", "entity": "city"},
        {"text": "!"},
    ]
    assert tag_slots(query) == {
        "tokens": ["Play", "Ella", "Fitzgerald's", "best", "song", "in", "New", "York", "!"],
        "tags": ["O", "B-person", "I-person", "O", "O", "O", "B-location", "I-location", "O"],
    }


def test_a_request_with_a_slot_of_no_clear_kind_is_left_out() -> None:
    assert tag_slots([{"text": "add it to "}, {"text": "chill", "entity": "playlist"}]) is None


def test_mentions_are_found_by_kind_and_neighbours_apart() -> None:
    record = {
        "tokens": ["Ada", "Lovelace", "Charles", "in", "London", "Paris"],
        "tags": ["B-person", "I-person", "B-person", "O", "B-location", "I-person"],
    }
    assert mentions_of([record]) == {
        "person": [["Ada", "Lovelace"], ["Charles"], ["Paris"]],
        "location": [["London"]],
    }


def test_every_mention_is_exchanged_and_the_rest_stays() -> None:
    record = {
        "tokens": ["hi", "Ada", "Lovelace", "in", "London", "now"],
        "tags": ["O", "B-person", "I-person", "O", "B-location", "O"],
    }
    mentions = {"person": [["Bo"]], "location": [["New", "York"]]}
    without = {"tokens": ["no", "one"], "tags": ["O", "O"]}
    assert exchange_mentions([record, without], mentions, random.Random(0)) == [
        {
            "tokens": ["hi", "Bo", "in", "New", "York", "now"],
            "tags": ["O", "B-person", "O", "B-location", "I-location", "O"],
        }
    ]


@given(st.lists(st.sampled_from(TAGS), min_size=1, max_size=12), st.integers(0, 99))
def test_an_exchange_keeps_the_kinds_and_their_order(tags: list[str], seed: int) -> None:
    record = {"tokens": [f"w{index}" for index in range(len(tags))], "tags": tags}
    mentions = {kind: [[kind], ["two", kind]] for kind in KINDS}
    exchanged = exchange_mentions([record], mentions, random.Random(seed))
    before = mentions_of([record])
    if not before:
        assert exchanged == []
        return
    (after,) = exchanged
    assert len(after["tokens"]) == len(after["tags"])
    assert {kind: len(found) for kind, found in mentions_of([after]).items()} == {
        kind: len(found) for kind, found in before.items()
    }
    outside = [token for token, tag in zip(record["tokens"], tags, strict=True) if tag == "O"]
    assert [t for t, tag in zip(after["tokens"], after["tags"], strict=True) if tag == "O"] == (
        outside
    )
