"""Rows sorted by length, batched under a token budget, answered in the caller's order.

A BERT's cost follows padded tokens, so rows of like length travel together. Items are taken in
chunks, of which the first is small and none grows beyond a number of rows: memory is bounded
whatever the input's length and whatever an item is cut into, and a generator is answered while it
is still being read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from tokenizers import Encoding

from bert_export.runtime.checks import check_whole
from bert_export.runtime.sessions.session import Array, Feeds, Outputs

__all__ = [
    "CHUNK",
    "FIRST_CHUNK",
    "TOKEN_BUDGET",
    "Batching",
    "Row",
    "batch_rows",
    "pad_rows",
    "row_from_encoding",
    "split_outputs",
]

Item = TypeVar("Item")
Reduced = TypeVar("Reduced")
Answer = TypeVar("Answer")

FIRST_CHUNK = 64
"""Items that are read before the first answer."""

CHUNK = 4096
"""Rows that are tokenized ahead of the graph later; answers stream out a chunk at a time."""

_GROWTH = 8

TOKEN_BUDGET = 512
"""Padded tokens per graph call; a longer single row travels alone."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of graph input, unpadded.

    Args:
        input_ids: int64 (S,).
        token_type_ids: int64 (S,).
        encoding: What the tokenizer said of it: offsets, words, sequences, special tokens.
        extra: Further inputs of this row by name, int64 (S,), padded with 0.
    """

    input_ids: Array
    token_type_ids: Array
    encoding: Encoding
    extra: dict[str, Array] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)


def row_from_encoding(encoding: Encoding) -> Row:
    """The row that holds an encoding's ids and types."""
    return Row(
        np.asarray(encoding.ids, dtype=np.int64),  # (S,)
        np.asarray(encoding.type_ids, dtype=np.int64),  # (S,)
        encoding,
    )


def batch_rows(
    lengths: Sequence[int],
    *,
    token_budget: int = TOKEN_BUDGET,
    max_rows: int | None = None,
    sort: bool = True,
) -> list[list[int]]:
    """Group row indices so that no batch exceeds the budget once padded.

    Args:
        lengths: Tokens of each row.
        token_budget: Rows times longest row of a batch, except for a row that alone exceeds it.
        max_rows: Rows of a batch at most.
        sort: Whether rows are sorted by length first, longest first so that memory peaks early.

    Returns:
        Batches of indices, each index once.
    """
    order = range(len(lengths))
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(order, key=lambda index: -lengths[index]) if sort else order:
        longest = max(longest, lengths[index])
        fits = batches and (len(batches[-1]) + 1) * longest <= token_budget
        if fits and (max_rows is None or len(batches[-1]) < max_rows):
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches


def pad_rows(rows: Sequence[Row], *, pad_id: int) -> dict[str, Array]:
    """Pad rows on the right to their longest.

    Returns:
        ``input_ids``, ``attention_mask``, ``token_type_ids`` and the rows' extras, int64 (B, S).
    """
    shape = (len(rows), max(map(len, rows)))
    feeds = {
        "input_ids": np.full(shape, pad_id, dtype=np.int64),
        "attention_mask": np.zeros(shape, dtype=np.int64),
        "token_type_ids": np.zeros(shape, dtype=np.int64),
    }
    for name in rows[0].extra or ():
        feeds[name] = np.zeros(shape, dtype=np.int64)
    for index, row in enumerate(rows):
        feeds["input_ids"][index, : len(row)] = row.input_ids
        feeds["attention_mask"][index, : len(row)] = 1
        feeds["token_type_ids"][index, : len(row)] = row.token_type_ids
        for name, values in (row.extra or {}).items():
            feeds[name][index, : len(row)] = values
    return feeds


def split_outputs(
    rows: Sequence[Row], outputs: Outputs, *, per_token: frozenset[str]
) -> list[Outputs]:
    """Give each row its outputs, batch axis and padding removed.

    Args:
        rows: The batch's rows.
        outputs: Arrays whose first axis is the row.
        per_token: Names of those whose second axis is the sequence.
    """
    return [
        {
            name: array[index, : len(row)] if name in per_token else array[index]
            for name, array in outputs.items()
        }
        for index, row in enumerate(rows)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """Takes items through a graph.

    Args:
        run: The graph: feeds of (B, S) to named outputs.
        pad_id: Id of ``[PAD]``.
        split: A batch's rows and outputs to each row's own; see :func:`split_outputs`.
        token_budget, max_rows, sort: See :func:`batch_rows`.
        first_chunk: Items of the first chunk; each chunk may be 8 times the one before.
        chunk: Rows of any later chunk, as far as the rows of the items before it tell.
    """

    run: Callable[[Feeds], Outputs]
    pad_id: int
    split: Callable[[Sequence[Row], Outputs], Sequence[Outputs]]
    token_budget: int = TOKEN_BUDGET
    max_rows: int | None = None
    sort: bool = True
    first_chunk: int = FIRST_CHUNK
    chunk: int = CHUNK

    def with_budget(self, token_budget: int) -> Batching:
        """The same batching under another token budget.

        Raises:
            InputError: The budget is below 1.
        """
        return replace(self, token_budget=check_whole("token_budget", token_budget, least=1))

    def with_rows(self, max_rows: int | None) -> Batching:
        """The same batching with at most that many rows a batch."""
        return replace(self, max_rows=max_rows)

    def next_chunk(self, items: int, rows: int) -> int:
        """How many items to read behind a chunk of so many, which made so many rows."""
        return max(1, min(_GROWTH * items, self.chunk * items // max(1, rows)))

    def answers(
        self,
        items: Iterable[Item],
        *,
        encode: Callable[[Sequence[Item]], Sequence[Sequence[Row]]],
        reduce: Callable[[Row, Outputs], Reduced],
        decode: Callable[[Item, Sequence[Row], Sequence[Reduced]], Answer],
    ) -> Iterator[Answer]:
        """Answer items in order.

        Args:
            items: Any iterable; read a chunk at a time.
            encode: Items to the rows of each.
            reduce: A row and its outputs, batch axis and padding removed, to what ``decode`` keeps
                of them; called as soon as the batch has run, so that large outputs do not pile up.
            decode: An item, its rows and what was kept of each, to its answer.
        """
        iterator, size = iter(items), self.first_chunk
        while chunk := list(islice(iterator, size)):
            rows_of = encode(chunk)
            rows = [row for rows in rows_of for row in rows]
            kept: list[Any] = [None] * len(rows)
            for batch in batch_rows(
                [len(row) for row in rows],
                token_budget=self.token_budget,
                max_rows=self.max_rows,
                sort=self.sort,
            ):
                own = self._reduced([rows[index] for index in batch], reduce)
                for index, value in zip(batch, own, strict=True):
                    kept[index] = value
            start = 0
            for item, rows_of_item in zip(chunk, rows_of, strict=True):
                stop = start + len(rows_of_item)
                yield decode(item, rows_of_item, kept[start:stop])
                start = stop
            size = self.next_chunk(len(chunk), len(rows))

    def _reduced(
        self, rows: Sequence[Row], reduce: Callable[[Row, Outputs], Reduced]
    ) -> list[Reduced]:
        """One batch; its outputs, which may be large, are gone when the next one runs."""
        outputs = self.run(pad_rows(rows, pad_id=self.pad_id))
        return [reduce(row, own) for row, own in zip(rows, self.split(rows, outputs), strict=True)]
