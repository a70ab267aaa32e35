"""Pipelines answer the recorded vectors as the original does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bert_export.errors import InputError
from bert_export.runtime.batching import Row
from bert_export.tasks import TASKS
from tests.runtime.vectors import VECTORS, Vector, VectorSession, open_vector, read_vectors

ALL = [
    pytest.param(vector, id=f"{task}: {vector.name}".encode("ascii", "replace").decode())
    for task in TASKS
    for vector in read_vectors(task)
]


def assert_same(found: Any, expected: Any) -> None:
    """The same types, keys in the same order, strings and whole numbers; other numbers to 1e-6."""
    if isinstance(expected, dict):
        assert type(found) is dict
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert type(found) is list
        assert len(found) == len(expected), (found, expected)
        for own, value in zip(found, expected, strict=True):
            assert_same(own, value)
    elif isinstance(expected, float):
        assert type(found) is float
        assert found == pytest.approx(expected, abs=1e-6)
    else:
        assert type(found) is type(expected)
        assert found == expected


def plain(answer: Any) -> Any:
    """Vectors of sentence-embedding as the lists that JSON holds."""
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


def ask(vector: Vector, **batching: Any) -> tuple[Any, list[Row]]:
    """The pipeline's answer and the rows that it made."""
    rows: list[Row] = []
    with open_vector(vector, rows, **batching) as pipeline, warnings.catch_warnings():
        warnings.simplefilter("ignore" if vector.warns else "error")
        return plain(pipeline(vector.input, **vector.options)), rows


def assert_rows(made: list[Row], vector: Vector) -> None:
    """Row for row the ids and what the tokenizer says of them, as recorded."""
    expected = [row for row in vector.rows if row.encoding is not None]
    assert len(made) == len(expected)
    for row, recorded in zip(made, expected, strict=True):
        size = len(recorded.input_ids)
        assert row.input_ids.tolist() == recorded.input_ids.tolist()
        assert row.token_type_ids.tolist() == recorded.token_type_ids.tolist()
        assert recorded.encoding == {
            name: getattr(row.encoding, name)[:size] for name in recorded.encoding
        }
        pooling = (row.extra or {}).get("pooling_mask")
        assert (pooling is None) is (recorded.pooling_mask is None)
        if pooling is not None:
            assert pooling.tolist() == recorded.pooling_mask.tolist()


@pytest.mark.parametrize("vector", ALL)
def test_answers_are_the_originals(vector: Vector) -> None:
    if vector.error:
        with pytest.raises(InputError):
            ask(vector)
        return
    for batching in ({}, {"token_budget": 1}):
        answer, rows = ask(vector, **batching)
        assert_same(answer, vector.answer)
        assert_rows(rows, vector)
    if vector.warns:
        with (
            pytest.warns(UserWarning, match="is not in|is ignored"),
            open_vector(vector) as pipeline,
        ):
            pipeline(vector.input, **vector.options)


@pytest.mark.parametrize("task", TASKS)
def test_a_file_holds_forty_cases_of_unlike_names(task: str) -> None:
    names = [vector.name for vector in read_vectors(task)]
    assert len(names) >= 40
    assert len(set(names)) == len(names)
    assert (VECTORS / f"{task}.json").stat().st_size < 300_000


def test_no_file_is_left_over() -> None:
    files = {path.stem for path in VECTORS.glob("*.json")}
    assert files == {*TASKS, "tokenizer", "tokenizer_cased"}


@pytest.mark.parametrize("task", TASKS)
def test_numbers_are_those_of_float32(task: str) -> None:
    text = (VECTORS / f"{task}.json").read_text(encoding="utf-8")
    numbers: list[float] = []
    json.loads(text, parse_float=lambda digits: numbers.append(float(digits)))
    assert numbers
    assert [number for number in numbers if number != float(str(np.float32(number)))] == []


def score_lists(answer: Any) -> Iterator[list[float]]:
    """The scores of each list of an answer that compete for their order."""
    if isinstance(answer, dict):
        if "scores" in answer:
            yield answer["scores"]
        for value in answer.values():
            yield from score_lists(value)
    elif isinstance(answer, list):
        if answer and all(isinstance(one, dict) and "score" in one for one in answer):
            yield [one["score"] for one in answer]
        else:
            for one in answer:
                yield from score_lists(one)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "token-classification"])
def test_scores_that_compete_are_equal_or_apart(task: str) -> None:
    for vector in read_vectors(task):
        for scores in score_lists(vector.answer):
            for one, other in pairwise(sorted(scores)):
                assert one == other or abs(one - other) > 1e-5 * abs(other), vector.name


def test_a_session_answers_only_what_was_recorded() -> None:
    vector = next(one for one in read_vectors("text-classification") if one.rows)
    row = vector.rows[0]
    with VectorSession(vector) as session:
        feeds = {
            "input_ids": row.input_ids[None],
            "attention_mask": np.ones_like(row.input_ids)[None],
            "token_type_ids": row.token_type_ids[None],
        }
        np.testing.assert_array_equal(session.run(feeds)["logits"][0], row.outputs["logits"])
        with pytest.raises(KeyError):
            session.run({**feeds, "input_ids": feeds["input_ids"] + 1})
    with pytest.raises(InputError, match="session is closed"):
        session.run(feeds)
