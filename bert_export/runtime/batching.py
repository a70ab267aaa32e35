"""Rows sorted by length, batched under a token budget, answered in the caller's order.

A BERT's cost follows padded tokens, so rows of like length travel together. Items are taken in
chunks, of which the first is small and none grows beyond a number of rows: memory is bounded
whatever the input's length and whatever an item is cut into, and a generator is answered while it
is still being read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np

from bert_export.runtime.decoding.encoded import Encoded
from bert_export.runtime.native import NativeEncoding
from bert_export.runtime.sessions.session import Array, Outputs

__all__ = [
    "CHUNK",
    "FIRST_CHUNK",
    "TOKEN_BUDGET",
    "Advance",
    "Row",
    "answer_items",
    "batch_rows",
    "batches_of",
    "chunks",
    "join_rows",
    "pad_rows",
    "row_from_encoding",
    "run_in_batches",
    "split_outputs",
]

Item = TypeVar("Item")
Result = TypeVar("Result")
Answer = TypeVar("Answer")

Advance = Callable[[int, int], None]
"""Hears (rows done, rows in all)."""

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
    encoding: Encoded
    extra: dict[str, Array] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)


def row_from_encoding(encoding: Encoded) -> Row:
    """The row that holds an encoding's ids and types."""
    if isinstance(encoding, NativeEncoding):
        ids, types = encoding.row.numbers()
        return Row(ids, types, encoding)
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
    padded: bool = True,
) -> list[list[int]]:
    """Group row indices so that no batch exceeds the budget.

    Args:
        lengths: Tokens of each row.
        token_budget: Rows times longest row of a batch, except for a row that alone exceeds it.
        max_rows: Rows of a batch at most.
        sort: Whether rows are sorted by length first, longest first so that memory peaks early.
        padded: Whether every row counts as the longest; if not, each counts as its own tokens, and
            order does not matter: rows stay as they come.

    Returns:
        Batches of indices, each index once.
    """
    if not padded:
        return _batch_unpadded(lengths, token_budget, max_rows)
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


def _batch_unpadded(
    lengths: Sequence[int], token_budget: int, max_rows: int | None
) -> list[list[int]]:
    batches: list[list[int]] = []
    total = 0
    for index, length in enumerate(lengths):
        fits = batches and total + length <= token_budget
        if fits and (max_rows is None or len(batches[-1]) < max_rows):
            batches[-1].append(index)
            total += length
        else:
            batches.append([index])
            total = length
    return batches


def batches_of(rows: Sequence[Row], *, token_budget: int = TOKEN_BUDGET) -> list[list[Row]]:
    """The rows in batches of :func:`batch_rows`, where their order does not matter."""
    order = batch_rows([len(row) for row in rows], token_budget=token_budget)
    return [[rows[index] for index in batch] for batch in order]


def pad_rows(rows: Sequence[Row], *, pad_id: int, length: int | None = None) -> dict[str, Array]:
    """Pad rows on the right.

    Args:
        rows: One at least, all with the same extras.
        pad_id: Id of ``[PAD]``.
        length: Tokens of the padded rows; the longest row's when ``None``.

    Returns:
        ``input_ids``, ``attention_mask``, ``token_type_ids`` and the rows' extras, int64 (B, S).
    """
    if len(rows) == 1 and (length is None or length == len(rows[0])):
        return _one_row(rows[0])
    shape = (len(rows), max(map(len, rows)) if length is None else length)
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


def join_rows(rows: Sequence[Row]) -> dict[str, Array]:
    """Rows one behind the other, without padding.

    Args:
        rows: One at least, all with the same extras.

    Returns:
        ``lengths`` (B,); ``input_ids``, ``token_type_ids`` and the rows' extras (T,); int64.
    """
    feeds = {
        "lengths": np.array([len(row) for row in rows], dtype=np.int64),
        "input_ids": np.concatenate([row.input_ids for row in rows]),
        "token_type_ids": np.concatenate([row.token_type_ids for row in rows]),
    }
    for name in rows[0].extra or ():
        feeds[name] = np.concatenate([(row.extra or {})[name] for row in rows])
    return feeds


def _one_row(row: Row) -> dict[str, Array]:
    """The feeds of a row alone, which has nothing to be padded to."""
    ids = row.input_ids[None]  # (1, S)
    mask = np.empty(ids.shape, dtype=np.int64)
    mask.fill(1)  # sooner than np.ones
    feeds = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": row.token_type_ids[None],
    }
    if row.extra:
        for name, values in row.extra.items():
            feeds[name] = values[None]
    return feeds


def split_outputs(
    rows: Sequence[Row], outputs: Outputs, *, per_token: frozenset[str], padded: bool = True
) -> list[Outputs]:
    """Give each row its outputs, batch axis and padding removed.

    Args:
        rows: The batch's rows.
        outputs: Arrays whose first axis is the row.
        per_token: Names of those whose second axis is the sequence.
        padded: Whether rows were padded; if not, the first axis of the outputs in ``per_token`` is
            that of all rows' tokens.
    """
    if not padded:
        ends = np.cumsum([len(row) for row in rows])
        parts = {
            name: np.split(array, ends[:-1]) if name in per_token else list(array)
            for name, array in outputs.items()
        }
        return [{name: own[index] for name, own in parts.items()} for index in range(len(rows))]
    return [
        {
            name: array[index, : len(row)] if name in per_token else array[index]
            for name, array in outputs.items()
        }
        for index, row in enumerate(rows)
    ]


def run_in_batches(
    rows: Sequence[Row],
    run: Callable[[Sequence[Row]], Sequence[Result]],
    *,
    lengths: Sequence[int] | None = None,
    token_budget: int = TOKEN_BUDGET,
    max_rows: int | None = None,
    sort: bool = True,
    padded: bool = True,
    advance: Advance | None = None,
) -> list[Result]:
    """Run rows batch by batch, and put what comes of them in the rows' order.

    Args:
        rows: In any order and of any length.
        run: The rows of a batch to a result for each.
        lengths: Tokens that each row counts as; its own when ``None``.
        token_budget: See :func:`batch_rows`.
        max_rows: The same.
        sort: The same.
        padded: The same.
        advance: Called with (rows done, rows in all) after every batch.
    """
    if len(rows) == 1 and advance is None:
        return list(run(rows))
    results: list[Any] = [None] * len(rows)
    done = 0
    for batch in batch_rows(
        [len(row) for row in rows] if lengths is None else lengths,
        token_budget=token_budget,
        max_rows=max_rows,
        sort=sort,
        padded=padded,
    ):
        for index, result in zip(batch, run([rows[index] for index in batch]), strict=True):
            results[index] = result
        done += len(batch)
        if advance is not None:
            advance(done, len(rows))
    return results


def chunks(
    items: Iterable[Item],
    encode: Callable[[Sequence[Item]], Sequence[Sequence[Row]]],
    *,
    first: int = FIRST_CHUNK,
    most: int = CHUNK,
) -> Iterator[tuple[Sequence[Item], Sequence[Sequence[Row]]]]:
    """Read items chunk by chunk, each chunk with the rows of its items.

    Args:
        items: Any iterable.
        encode: Items to the rows of each.
        first: Items of the first chunk; each chunk may be 8 times the one before.
        most: Rows of any later chunk, as far as the rows of the items before it tell.
    """
    iterator, size = iter(items), first
    while chunk := list(islice(iterator, size)):
        rows_of = encode(chunk)
        yield chunk, rows_of
        rows = sum(map(len, rows_of))
        size = max(1, min(_GROWTH * len(chunk), most * len(chunk) // max(1, rows)))


def answer_items(
    items: Iterable[Item],
    *,
    encode: Callable[[Sequence[Item]], Sequence[Sequence[Row]]],
    run: Callable[[Sequence[Row]], Sequence[Result]],
    decode: Callable[[Item, Sequence[Row], Sequence[Result]], Answer],
    first: int = FIRST_CHUNK,
    most: int = CHUNK,
) -> Iterator[Answer]:
    """Answer items in order, while they are read.

    Args:
        items: Any iterable; read a chunk at a time.
        encode: Items to the rows of each.
        run: Rows, in any order and of any length, to what ``decode`` needs of each.
        decode: An item, its rows and their results, to its answer.
        first: See :func:`chunks`.
        most: The same.
    """
    for chunk, rows_of in chunks(items, encode, first=first, most=most):
        results = run(list(chain.from_iterable(rows_of)))
        start = 0
        for item, rows in zip(chunk, rows_of, strict=True):
            stop = start + len(rows)
            yield decode(item, rows, results[start:stop])
            start = stop
