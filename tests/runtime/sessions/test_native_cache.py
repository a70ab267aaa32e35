"""Keys and values of a growing batch: the session over a program, and how steps follow each other.

A program's interpreter stands for the compiled module, whose protocol it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.runtime.sessions.cache import CachingSession, open_cache
from bert_export.runtime.sessions.native import NativeSession
from bert_export.tasks.text_generation import TASK as GENERATION
from tests.passes.graphs import VOCABULARY, run_model
from tests.targets.native.interpreter import Interpreter
from tests.targets.native.programs import lowered, written_program

HEADS, SIZE = 4, 4


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return lowered(GENERATION.name, "fp32", cached=True)


@pytest.fixture
def session(model: ir.Model, tmp_path: Path) -> Iterator[NativeSession]:
    def opened(program: str, *_: Any, **__: Any) -> Interpreter:
        return Interpreter(Path(program))

    with NativeSession(written_program(model, tmp_path), open_program=opened) as session:
        session.longest = 32
        yield session


def random_ids(rows: int, columns: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, VOCABULARY, (rows, columns))


def left_mask(*lengths: int) -> NDArray[np.int64]:
    """A row of ones for each, padded on the left."""
    longest = max(lengths)
    return (np.arange(longest) >= longest - np.array(lengths)[:, None]).astype(np.int64)


def graph_feeds(
    model: ir.Model, ids: NDArray[np.int64], mask: NDArray[np.int64], outputs: Any = None
) -> dict[str, NDArray[Any]]:
    """Inputs of the padded interface, behind what an earlier call gave."""
    empty = np.zeros((len(ids), HEADS, 0, SIZE), np.float32)
    pasts = [str(value.name) for value in model.graph.inputs][3:]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        **{
            name: empty if outputs is None else outputs[name.replace("past_key_values", "present")]
            for name in pasts
        },
    }


def test_padded_rows_are_answered_as_the_graph_does(
    model: ir.Model, session: NativeSession, tmp_path: Path
) -> None:
    ids, mask = random_ids(3, 6, 1), left_mask(6, 2, 4)
    given = graph_feeds(model, ids, mask)
    for columns in (1, 3):  # tokens of the next call
        expected, found = run_model(model, given, tmp_path), session.run(given)
        assert list(found) == list(expected) == [spec.name for spec in session.outputs]
        visible = mask.astype(bool)
        for name, array in expected.items():
            assert found[name].shape == array.shape
            tokens = (
                (found[name], array)
                if name == "logits"
                else (found[name].swapaxes(1, 2)[visible], array.swapaxes(1, 2)[visible])
            )
            np.testing.assert_allclose(*tokens, rtol=0, atol=5e-6)
        mask = np.concatenate([mask, np.ones((3, columns), np.int64)], axis=1)
        given = graph_feeds(model, random_ids(3, columns, columns), mask, found)


def test_steps_give_what_all_tokens_at_once_give(session: NativeSession) -> None:
    assert isinstance(session, CachingSession)
    ids, mask = random_ids(3, 12, 2), left_mask(5, 2, 3)
    cache = open_cache(session, 12)
    cache.step(ids[:, :5], mask)
    rows = np.arange(3)
    for end in range(6, 13):
        if end == 9:  # rows leave, change places and are doubled
            rows, first = np.array([2, 1, 2]), 2
            cache.select(rows, first)
            ids, mask = ids[rows, first:], mask[rows, first:]
        dropped = 12 - ids.shape[1]
        mask = np.concatenate([mask, np.ones((len(ids), 1), np.int64)], axis=1)
        found = cache.step(ids[:, end - 1 - dropped : end - dropped], mask)
        for row, visible in enumerate(mask.astype(bool)):
            alone = ids[row, : end - dropped][visible]
            whole = session.run_ragged(
                {
                    "input_ids": alone,
                    "token_type_ids": np.zeros_like(alone),
                    "lengths": np.array([len(alone)]),
                }
            )["logits"]
            np.testing.assert_allclose(found[row], whole[0], rtol=0, atol=5e-6)


def test_what_does_not_fit_the_cache_is_refused(session: NativeSession) -> None:
    ids, mask = random_ids(2, 4, 3), left_mask(4, 3)
    cache = open_cache(session, 12)
    with pytest.raises(InputError, match="hides a whole row"):
        cache.step(ids, np.array([[1, 1, 1, 1], [0, 0, 0, 0]]))
    cache.step(ids, mask)
    longer = np.concatenate([mask, np.ones((2, 1), np.int64)], axis=1)
    with pytest.raises(InputError, match="does not fit the cache"):
        cache.step(ids[:, :1], mask)
    with pytest.raises(InputError, match="does not fit the cache"):
        cache.step(ids[:, :1], np.ones_like(longer))
    with pytest.raises(InputError, match="has the wrong shape"):
        cache.step(ids[:1, :1], longer[:1])
    with pytest.raises(InputError, match="longer than the model takes"):
        cache.step(random_ids(2, 30, 4), np.ones((2, 34), np.int64))
    assert cache.step(ids[:, :1], longer).shape == (2, VOCABULARY)
