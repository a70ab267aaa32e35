"""Batches hold every row once and the budget, and no answer depends on them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_export.errors import InputError
from bert_export.runtime.batching import (
    TOKEN_BUDGET,
    Row,
    answer_items,
    batch_rows,
    join_rows,
    pad_rows,
    row_from_encoding,
    run_in_batches,
    split_outputs,
)
from bert_export.runtime.decoding.encoded import Encoded
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.runtime.tokenization import Tokenizer
from tests.runtime.vocabulary import small_tokenizer

PAD = 9
Item = list[int]
ENCODED = Encoded(
    ids=(), type_ids=(), tokens=(), offsets=(), word_ids=(), sequence_ids=(), special_tokens_mask=()
)


def row(ids: Sequence[int], **extra: Sequence[int]) -> Row:
    return Row(
        np.array(ids, dtype=np.int64),
        np.ones(len(ids), dtype=np.int64),
        ENCODED,
        {name: np.array(values, dtype=np.int64) for name, values in extra.items()} or None,
    )


class Graph:
    """Squares every id and sums each row; notes the shape of every batch."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, feeds: Feeds) -> Outputs:
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        assert np.all((ids == PAD) | (mask == 1))
        assert np.array_equal(feeds["token_type_ids"], mask)
        self.shapes.append(ids.shape)
        return {"squares": ids**2, "sum": (ids * mask).sum(axis=1)}


def split(items: Sequence[Item]) -> list[list[Row]]:
    """A row per five ids: none for an empty item, several for a long one."""
    return [[row(item[start : start + 5]) for start in range(0, len(item), 5)] for item in items]


def keep(_: Row, outputs: Outputs) -> tuple[list[int], int]:
    return outputs["squares"].tolist(), int(outputs["sum"])


def answer(item: Item, rows: Sequence[Row], kept: Sequence[Any]) -> tuple[Item, int, list[Any]]:
    return item, len(rows), list(kept)


def wanted(item: Item) -> tuple[Item, int, list[Any]]:
    parts = [item[start : start + 5] for start in range(0, len(item), 5)]
    return item, len(parts), [([value**2 for value in part], sum(part)) for part in parts]


def answers(
    graph: Graph, items: Any, *, encode: Any = split, first: int = 64, most: int = 4096, **how: Any
) -> Iterator[Any]:
    """As a pipeline does it: chunks of items, batches of rows."""

    def run(rows: Sequence[Row]) -> list[Any]:
        outputs = graph.run(pad_rows(rows, pad_id=PAD))
        own = split_outputs(rows, outputs, per_token=frozenset({"squares"}))
        return [keep(row, part) for row, part in zip(rows, own, strict=True)]

    return answer_items(
        items,
        encode=encode,
        run=lambda rows: run_in_batches(rows, run, **how),
        decode=answer,
        first=first,
        most=most,
    )


lengths_of_rows = st.lists(st.integers(0, 60), max_size=60)


class TestBatchRows:
    @given(lengths_of_rows, st.integers(1, 200), st.none() | st.integers(1, 5), st.booleans())
    def test_invariants(
        self, lengths: list[int], budget: int, max_rows: int | None, sort: bool
    ) -> None:
        batches = batch_rows(lengths, token_budget=budget, max_rows=max_rows, sort=sort)
        flat = [index for batch in batches for index in batch]
        assert sorted(flat) == list(range(len(lengths)))
        for batch in batches:
            assert batch
            assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
            assert max_rows is None or len(batch) <= max_rows
        if sort:
            assert [lengths[i] for i in flat] == sorted(lengths, reverse=True)
        else:
            assert flat == list(range(len(lengths)))

    @given(lengths_of_rows, st.integers(1, 200), st.booleans())
    def test_no_batch_could_take_the_next_row(
        self, lengths: list[int], budget: int, sort: bool
    ) -> None:
        batches = batch_rows(lengths, token_budget=budget, sort=sort)
        for batch, following in pairwise(batches):
            joined = [*batch, following[0]]
            assert len(joined) * max(lengths[i] for i in joined) > budget

    def test_sorting_saves_padding(self) -> None:
        lengths = [1, 100] * 50

        def padded(batches: list[list[int]]) -> int:
            return sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)

        unsorted = padded(batch_rows(lengths, sort=False))
        assert padded(batch_rows(lengths, sort=True)) < 0.7 * unsorted

    def test_default_budget(self) -> None:
        assert TOKEN_BUDGET == 512
        assert batch_rows([128] * 4) == [list(range(4))]
        assert len(batch_rows([128] * 5)) == 2


class TestPadRows:
    @given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=6))
    def test_right(self, items: list[list[int]]) -> None:
        feeds = pad_rows([row(ids, pooling_mask=[1] * len(ids)) for ids in items], pad_id=PAD)
        longest = max(map(len, items))
        assert set(feeds) == {"input_ids", "attention_mask", "token_type_ids", "pooling_mask"}
        for index, ids in enumerate(items):
            padding = longest - len(ids)
            assert feeds["input_ids"][index].tolist() == ids + [PAD] * padding
            for name in ("attention_mask", "token_type_ids", "pooling_mask"):
                assert feeds[name][index].tolist() == [1] * len(ids) + [0] * padding
        assert {array.dtype for array in feeds.values()} == {np.dtype(np.int64)}

    def test_to_a_length(self) -> None:
        feeds = pad_rows([row([1, 2]), row([3])], pad_id=PAD, length=4)
        assert feeds["input_ids"].tolist() == [[1, 2, PAD, PAD], [3, PAD, PAD, PAD]]
        assert feeds["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]

    def test_row_from_encoding(self) -> None:
        tokenizer: Tokenizer = small_tokenizer()
        ((encoding,),) = tokenizer.encode([("the cat", "sat")])
        made = row_from_encoding(encoding)
        assert made.input_ids.tolist() == encoding.ids
        assert made.token_type_ids.tolist() == [0, 0, 0, 0, 1, 1]
        assert len(made) == len(encoding)
        assert made.encoding is encoding
        assert made.extra is None


class TestAnswers:
    @settings(deadline=None)
    @given(
        items=st.lists(st.lists(st.integers(0, 99), max_size=17), max_size=30),
        options=st.fixed_dictionaries(
            {
                "token_budget": st.integers(1, 60),
                "max_rows": st.none() | st.integers(1, 4),
                "sort": st.booleans(),
                "first": st.integers(1, 6),
                "most": st.integers(1, 12),
            }
        ),
    )
    def test_independent_of_batching(self, items: list[Item], options: dict[str, Any]) -> None:
        graph = Graph()
        assert list(answers(graph, items, **options)) == [wanted(item) for item in items]
        for rows, longest in graph.shapes:
            assert rows == 1 or rows * longest <= options["token_budget"]
            assert options["max_rows"] is None or rows <= options["max_rows"]

    def test_nothing(self) -> None:
        graph = Graph()
        assert list(answers(graph, [])) == []
        assert list(answers(graph, [[]])) == [([], 0, [])]
        assert graph.shapes == []

    def test_a_generator_is_answered_while_it_is_read(self) -> None:
        read: list[int] = []

        def items() -> Iterator[Item]:
            for index in range(100):
                read.append(index)
                yield [index]

        stream = answers(Graph(), items(), first=2, most=8)
        assert read == []
        for count in range(1, 101):
            assert next(stream) == wanted([count - 1])
            assert count <= len(read) <= count + (1 if count <= 2 else 7)
        with pytest.raises(StopIteration):
            next(stream)

    def test_an_endless_generator(self) -> None:
        def endless() -> Iterator[Item]:
            while True:
                yield [1, 2, 3]

        stream = answers(Graph(), endless(), most=4)
        assert [next(stream) for _ in range(9)] == [wanted([1, 2, 3])] * 9

    @settings(deadline=None)
    @given(rows=st.integers(1, 20), chunk=st.integers(1, 40), first=st.integers(1, 5))
    def test_what_is_read_ahead_is_bounded_in_rows(self, rows: int, chunk: int, first: int) -> None:
        """However many rows an item is cut into; only the first chunk does not know yet."""
        read: list[int] = []

        def items() -> Iterator[Item]:
            for index in range(60):
                read.append(index)
                yield [7] * (5 * rows)

        stream = answers(Graph(), items(), first=first, most=chunk)
        for count, _ in enumerate(stream, start=1):
            ahead = len(read) - (count - 1)
            assert ahead <= first or ahead * rows <= max(chunk, rows)

    def test_chunks_grow(self) -> None:
        """A long list is soon sorted in large chunks."""
        graph = Graph()
        sizes: list[int] = []

        def noted(items: Sequence[Item]) -> list[list[Row]]:
            sizes.append(len(items))
            return split(items)

        assert len(list(answers(graph, [[1]] * 10000, encode=noted))) == 10000
        assert sizes == [64, 512, 4096, 4096, 1232]

    def test_outputs_are_freed_batch_by_batch(self) -> None:
        """What ``reduce`` does not keep is gone before the next batch has run."""
        alive: list[weakref.ref[Any]] = []

        class Tracked(Graph):
            def run(self, feeds: Feeds) -> Outputs:
                assert all(ref() is None for ref in alive)
                outputs = super().run(feeds)
                alive.append(weakref.ref(outputs["squares"]))
                return outputs

        graph = Tracked()
        list(answers(graph, [[index] for index in range(10)], max_rows=1))
        assert len(graph.shapes) == 10

    def test_an_error_of_the_graph_reaches_the_caller(self) -> None:
        class Closed(Graph):
            def run(self, feeds: Feeds) -> Outputs:
                raise InputError("session is closed")

        with pytest.raises(InputError, match="session is closed"):
            next(answers(Closed(), [[1]]))


class TestRunInBatches:
    @given(lengths_of_rows, st.integers(1, 200), st.booleans())
    def test_results_come_in_the_rows_order(
        self, lengths: list[int], budget: int, sort: bool
    ) -> None:
        rows = [row(range(length)) for length in lengths]
        progress: list[tuple[int, int]] = []
        results = run_in_batches(
            rows,
            lambda batch: [len(one) for one in batch],
            token_budget=budget,
            sort=sort,
            advance=lambda done, total: progress.append((done, total)),
        )
        assert results == lengths
        batches = batch_rows(lengths, token_budget=budget, sort=sort)
        assert len(progress) == len(batches)
        assert progress[-1:] == ([(len(rows), len(rows))] if rows else [])

    def test_rows_may_count_as_more_tokens_than_they_have(self) -> None:
        sizes: list[int] = []

        def run(batch: Sequence[Row]) -> list[None]:
            sizes.append(len(batch))
            return [None] * len(batch)

        rows = [row([1])] * 4
        run_in_batches(rows, run, token_budget=10)
        run_in_batches(rows, run, token_budget=10, lengths=[5, 5, 5, 5])
        assert sizes == [4, 2, 2]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 20))
def test_rows_without_padding_keep_their_order_and_count_their_own_tokens(lengths, budget):
    batches = batch_rows(lengths, token_budget=budget, padded=False)
    assert [index for batch in batches for index in batch] == list(range(len(lengths)))
    totals = [sum(lengths[index] for index in batch) for batch in batches]
    assert all(
        total <= budget or len(batch) == 1 for total, batch in zip(totals, batches, strict=True)
    )
    nexts = [lengths[batch[0]] for batch in batches[1:]]
    assert all(total + first > budget for total, first in zip(totals, nexts, strict=False))


def test_joined_rows_are_split_again():
    rows = [row([1, 2, 3], mask=[1, 0, 1]), row([4], mask=[1])]
    feeds = join_rows(rows)
    assert feeds["lengths"].tolist() == [3, 1]
    assert feeds["input_ids"].tolist() == [1, 2, 3, 4]
    assert feeds["mask"].tolist() == [1, 0, 1, 1]
    outputs = {"states": feeds["input_ids"][:, None], "sums": feeds["lengths"]}
    first, second = split_outputs(rows, outputs, per_token=frozenset(("states",)), padded=False)
    assert (first["states"].tolist(), first["sums"]) == ([[1], [2], [3]], 3)
    assert (second["states"].tolist(), second["sums"]) == ([[4]], 1)
