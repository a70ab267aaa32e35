from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.bundle import TensorSpec
from bert_export.exporter import Export
from bert_export.runtime.loading import load
from bert_export.runtime.sessions.pieces import PIECE_TOKENS, can_cut, cut_feeds, join_outputs

MASKS = TensorSpec(name="masked_positions", dtype="int64", shape=("masked",))


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


@given(
    masks=st.lists(st.integers(0, 128 * 12 - 1), min_size=1, max_size=60, unique=True),
    in_order=st.booleans(),
)
def test_masks_go_with_their_rows(masks: list[int], in_order: bool) -> None:
    ids = np.arange(128 * 12).reshape(12, 128)
    positions = np.array(sorted(masks) if in_order else masks)
    pieces = cut_feeds({"input_ids": ids, "masked_positions": positions})
    hidden = [piece["input_ids"].reshape(-1)[piece["masked_positions"]] for piece in pieces]
    np.testing.assert_array_equal(np.concatenate(hidden), positions)
    thirds = {position // 512 for position in masks}
    assert len(pieces) == (3 if len(thirds) == 3 and (np.diff(positions) > 0).all() else 1)


@pytest.mark.parametrize("outside", [-1, 128 * 12, 128 * 12 + 5])
def test_masks_outside_the_batch_are_left_for_the_engine_to_refuse(outside: int) -> None:
    positions = np.sort(np.array([3, 600, 1200, outside]))
    feeds = {"input_ids": np.zeros((12, 128), np.int64), "masked_positions": positions}
    (piece,) = cut_feeds(feeds)
    assert piece is feeds


@pytest.mark.parametrize(
    ("inputs", "outputs", "wanted"),
    [
        ([spec("batch", "sequence")], [spec("batch", 3)], True),
        ([spec("batch", "choices", "sequence")], [spec("batch", "choices")], True),
        ([spec("batch", "sequence"), MASKS], [spec("masked", 30)], True),
        ([spec("batch", "sequence"), MASKS], [spec("masked", 30), spec("batch", 2)], True),
        ([spec("batch", "sequence"), spec("masked")], [spec("masked", 30)], False),
        ([spec("sequence", "batch")], [spec("batch")], False),
        ([spec("batch", "sequence")], [spec()], False),
    ],
)
def test_only_graphs_of_rows_are_cut(
    inputs: list[TensorSpec], outputs: list[TensorSpec], wanted: bool
) -> None:
    assert can_cut(inputs, outputs) is wanted


def test_masks_of_a_large_batch_are_scored_as_alone(tiny_export: Callable[..., Export]) -> None:
    generator = np.random.default_rng(0)
    ids = generator.integers(5, 40, (70, 16))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    feeds["token_type_ids"] = np.zeros_like(ids)
    positions = np.sort(generator.choice(ids.size, 120, replace=False))
    with load(tiny_export("fill-mask", "BertForMaskedLM").path) as pipeline:
        assert len(cut_feeds({**feeds, "masked_positions": positions})) == 3
        (together,) = pipeline.run({**feeds, "masked_positions": positions}).values()
        (every,) = pipeline.run({**feeds, "masked_positions": np.arange(ids.size)}).values()
    np.testing.assert_allclose(together, every[positions], atol=1e-6)


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
