"""Shapes as typed, and which records are timed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.errors import InputError
from bert_export.measuring.workloads import (
    SHAPES,
    Shape,
    parse_shapes,
    pick_records,
    shape_workloads,
    text_workloads,
)


def test_shapes_are_read_in_order_without_repetition() -> None:
    assert parse_shapes("8x128, 1X16,8x128") == (Shape(8, 128), Shape(1, 16))
    assert [str(shape) for shape in parse_shapes(SHAPES)] == SHAPES.split(",")


@given(st.integers(1, 512), st.integers(3, 512))
def test_a_shape_is_read_as_it_is_written(batch: int, sequence: int) -> None:
    assert parse_shapes(str(Shape(batch, sequence))) == (Shape(batch, sequence),)


@pytest.mark.parametrize("text", ["", "8", "8x", "x8", "0x8", "8x0", "8x16x2", "-1x8", "1x16,,"])
def test_a_malformed_shape_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is malformed"):
        parse_shapes(text)


def test_a_shape_without_room_for_a_token_is_refused() -> None:
    with pytest.raises(InputError, match="too short"):
        parse_shapes("1x2")


def test_workloads_say_what_a_run_answers() -> None:
    (single, many) = text_workloads(40)
    assert (single.rows, many.rows) == (40, 40)
    assert [one.rows for one in shape_workloads(parse_shapes("8x128"))] == [8]


@given(st.integers(1, 200), st.integers(1, 64))
def test_records_are_picked_from_end_to_end(count: int, most: int) -> None:
    records = [{"text": str(index)} for index in range(count)]
    picked = pick_records(records, most)
    assert len(picked) == min(count, most)
    assert picked[0] == records[0]
    numbers = [int(one["text"]) for one in picked]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= count - 1 - count // len(picked)
