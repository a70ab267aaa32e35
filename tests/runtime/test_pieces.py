from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.bundle import TensorSpec
from bert_export.exporter import Export
from bert_export.runtime.loading import load
from bert_export.runtime.sessions.pieces import PIECE_TOKENS, can_cut, cut_feeds, join_outputs


def spec(*shape: str | int) -> TensorSpec:
    return TensorSpec(name="x", dtype="int64", shape=shape)


@given(
    rows=st.integers(1, 200),
    inner=st.lists(st.integers(1, 300), min_size=1, max_size=2).filter(lambda s: prod(s) < 5000),
)
def test_pieces_are_whole_and_within_the_budget(rows: int, inner: list[int]) -> None:
    ids = np.arange(rows)[:, None].repeat(prod(inner), axis=1).reshape(rows, *inner)
    pieces = list(cut_feeds({"input_ids": ids, "attention_mask": ids + 1}))
    joined = join_outputs([dict(piece) for piece in pieces])
    np.testing.assert_array_equal(joined["input_ids"], ids)
    np.testing.assert_array_equal(joined["attention_mask"], ids + 1)
    for piece in pieces:
        assert piece["input_ids"].size <= PIECE_TOKENS or len(piece["input_ids"]) == 1
    sizes = [len(piece["input_ids"]) for piece in pieces]
    assert max(sizes) == sizes[0]


def test_one_piece_is_the_feeds_themselves() -> None:
    feeds = {"input_ids": np.ones((4, 128), np.int64)}
    (piece,) = cut_feeds(feeds)
    assert piece is feeds


@pytest.mark.parametrize(
    ("specs", "wanted"),
    [
        ([spec("batch", "sequence"), spec("batch", 3)], True),
        ([spec("batch", "choices", "sequence"), spec("batch", "choices")], True),
        ([spec("batch", "sequence"), spec("masked"), spec("masked", 30)], False),
        ([spec("sequence", "batch")], False),
        ([spec()], False),
    ],
)
def test_only_graphs_of_rows_are_cut(specs: list[TensorSpec], wanted: bool) -> None:
    assert can_cut(specs) is wanted


def test_a_large_batch_answers_as_its_rows_do(embedding_int8: Export) -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 64, 40)
    mask = (np.arange(64) < lengths[:, None]).astype(np.int64)
    ids = generator.integers(1000, 20000, mask.shape) * mask
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    assert len(list(cut_feeds(feeds))) == 5
    with load(embedding_int8.path) as pipeline:
        (together,) = pipeline.run(feeds).values()
        alone = [
            next(iter(pipeline.run({name: array[[row]] for name, array in feeds.items()}).values()))
            for row in range(40)
        ]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
