"""The keys and values of a batch that grows call by call, over any session.

Rows are padded on the left, so that the tokens of every call are the last ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.bundle import TensorSpec
from bert_export.runtime.sessions.session import Array, Feeds, Outputs, RawFeeds, Session
from bert_export.tasks.interface import PAST, cached_outputs

__all__ = [
    "Cache",
    "CachingSession",
    "HeldInputs",
    "Ids",
    "begin_cache",
    "empty_cache",
    "keeps_cache",
    "open_cache",
    "token_feeds",
]

Ids = NDArray[np.int64]


class Cache(ABC):
    """What a batch's earlier tokens left behind, and how the next ones are run."""

    @abstractmethod
    def step(self, input_ids: Ids, attention_mask: Ids) -> Array:
        """Run the next tokens of every row.

        Args:
            input_ids: int64 (B, S).
            attention_mask: int64 (B, T), of all tokens so far and these.

        Returns:
            Scores of the token behind each row's last, float32 (B, V).

        Raises:
            InputError: A shape does not fit what is kept, or the model has no more positions.
        """

    @abstractmethod
    def select(self, rows: Ids, first: int) -> None:
        """Keep some rows, in this order and as often as they are named.

        Args:
            rows: int64 (B',).
            first: Tokens at the beginning that are dropped.
        """


class CachingSession(ABC):
    """A session that keeps a cache where its engine has it."""

    @abstractmethod
    def open_cache(self, most: int, held: Mapping[str, Array]) -> Cache:
        """An empty cache.

        Args:
            most: Tokens of a row at most.
            held: Inputs by name whose first axis is the row, and that no step changes.
        """


def keeps_cache(session: Session) -> bool:
    """Whether a session's graph takes keys and values of earlier calls."""
    return any(PAST in spec.shape for spec in session.inputs)


def open_cache(
    session: Session, most: int, *, pad_id: int = 0, held: Mapping[str, Array] | None = None
) -> Cache:
    """The cache of a session; the tokens themselves where its graph takes no keys and values.

    Args:
        session: Over a graph of a causal head.
        most: Tokens of a row at most.
        pad_id: Id of ``[PAD]``.
        held: Inputs by name whose first axis is the row, and that no step changes.
    """
    if not keeps_cache(session):
        return _Tokens(session, pad_id)
    if isinstance(session, CachingSession):
        return session.open_cache(most, held or {})
    return _Arrays(session, held or {})


class HeldInputs:
    """Inputs that no step changes, in the arrangement of the rows that are run.

    Args:
        arrays: By name; their first axis is the row.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._first = self.arrays = {
            name: np.ascontiguousarray(array) for name, array in arrays.items()
        }
        self._rows: Ids | None = None

    def select(self, rows: Ids) -> bool:
        """Keep some rows, in this order; gives whether the arrays are others now.

        Beams of one text change places among themselves, and read the same.
        """
        if not self._first:
            return False
        now = rows if self._rows is None else self._rows[rows]
        if self._rows is not None and np.array_equal(now, self._rows):
            return False
        self._rows = now
        self.arrays = {name: array[now] for name, array in self._first.items()}
        return True


def token_feeds(session: Session, input_ids: Ids, attention_mask: Ids) -> dict[str, Array]:
    """The inputs of a step: ids and mask, and types where the graph takes some."""
    feeds = {
        "input_ids": np.ascontiguousarray(input_ids),
        "attention_mask": np.ascontiguousarray(attention_mask),
    }
    if any(spec.name == "token_type_ids" for spec in session.inputs):
        feeds["token_type_ids"] = np.zeros_like(input_ids)
    return feeds


def empty_cache(inputs: tuple[TensorSpec, ...], rows: int) -> dict[str, Array]:
    """The caches among a graph's inputs, for a first call of so many rows."""
    return {
        spec.name: np.zeros(_sizes(spec, {PAST: 0}, rows), spec.dtype)
        for spec in inputs
        if PAST in spec.shape
    }


def begin_cache(inputs: tuple[TensorSpec, ...], feeds: RawFeeds) -> RawFeeds:
    """Feeds without any cache are a first call's: they get an empty one, where the graph takes one.

    Args:
        inputs: The graph's.
        feeds: As a caller gives them; what is wrong with them is left to the session to say.
    """
    names = empty_cache(inputs, 1).keys()
    if not names or not isinstance(feeds, Mapping) or not names.isdisjoint(feeds):
        return feeds
    ids = feeds.get("input_ids")
    if not isinstance(ids, np.ndarray) or ids.ndim != 2:
        return feeds
    return {**feeds, **empty_cache(inputs, len(ids))}


def _sizes(spec: TensorSpec, axes: dict[str, int], rows: int) -> tuple[int, ...]:
    return tuple(axis if isinstance(axis, int) else axes.get(axis, rows) for axis in spec.shape)


class _Arrays(Cache):
    """Keys and values as arrays that go from one call to the next."""

    def __init__(self, session: Session, held: Mapping[str, Array]) -> None:
        self._session, self._held = session, HeldInputs(held)
        caches = cached_outputs(session.outputs)
        self._pasts = [spec.name for spec in session.inputs if PAST in spec.shape]
        self._presents = [spec.name for spec in session.outputs if spec.name in caches]
        self._kept: list[Any] | None = None

    def step(self, input_ids: Ids, attention_mask: Ids) -> Array:
        """See :meth:`Cache.step`."""
        if self._kept is None:
            caches = empty_cache(self._session.inputs, len(input_ids))
        else:
            caches = dict(zip(self._pasts, self._kept, strict=True))
        outputs = self._session.run(
            {
                **token_feeds(self._session, input_ids, attention_mask),
                **self._held.arrays,
                **caches,
            }
        )
        self._kept = [outputs[name] for name in self._presents]
        return outputs["logits"]

    def select(self, rows: Ids, first: int) -> None:
        """See :meth:`Cache.select`."""
        self._held.select(rows)
        if self._kept is not None:
            self._kept = [np.ascontiguousarray(kept[rows, :, first:]) for kept in self._kept]


class _Tokens(Cache):
    """The tokens so far, all of which are run again: graphs of older bundles keep nothing."""

    def __init__(self, session: Session, pad_id: int) -> None:
        self._session, self._pad_id = session, pad_id
        self._ids: Ids | None = None

    def step(self, input_ids: Ids, attention_mask: Ids) -> Array:
        """See :meth:`Cache.step`."""
        whole = input_ids if self._ids is None else np.concatenate([self._ids, input_ids], axis=1)
        self._ids = whole  # (B, T)
        lengths = attention_mask.sum(axis=1)  # (B,)
        # Such a graph counts positions from the first place on: rows begin there.
        mask = np.arange(lengths.max()) < lengths[:, None]  # (B, longest)
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = whole[attention_mask.astype(bool)]
        outputs = self._run(ids, mask.astype(np.int64))
        logits = outputs["logits"]  # (B, V), or (B, S, V) where every token is scored
        return logits if logits.ndim == 2 else logits[np.arange(len(ids)), lengths - 1]

    def _run(self, ids: Ids, mask: Ids) -> Outputs:
        feeds: Feeds = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
        }
        return self._session.run(feeds)

    def select(self, rows: Ids, first: int) -> None:
        """See :meth:`Cache.select`."""
        if self._ids is not None:
            self._ids = self._ids[rows, first:]
