"""A batch's keys and values in buffers that ONNX Runtime reads and writes where they lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_export.bundle import TensorSpec
from bert_export.errors import InputError, one_line
from bert_export.runtime.sessions.cache import Cache, HeldInputs, token_feeds
from bert_export.runtime.sessions.session import Array, FeedsCheck
from bert_export.tasks.interface import BATCH, PAST, SEQUENCE, TOTAL, cached_outputs

if TYPE_CHECKING:  # imports this module
    from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession

__all__ = ["BoundCache", "graph_errors"]


class BoundCache(Cache):
    """Keys and values in two sets of buffers, each large enough for all tokens to come.

    A call reads the one set and writes the other; the next call changes their parts. Nothing is
    allocated or copied between calls but where rows leave the batch.

    Args:
        session: On a processor or on a GPU, whose results ONNX Runtime then brings over.
        most: Tokens of a row at most.
        held: Inputs by name whose first axis is the row, and that no step changes.
    """

    def __init__(self, session: OnnxRuntimeSession, most: int, held: Mapping[str, Array]) -> None:
        self._session, self._most, self._held = session, most, HeldInputs(held)
        self._pasts = [spec for spec in session.inputs if PAST in spec.shape]
        caches = cached_outputs(session.outputs)
        self._presents = [spec for spec in session.outputs if spec.name in caches]
        self._check = FeedsCheck(tuple(spec for spec in session.inputs if PAST not in spec.shape))
        self._binding = session.engine.io_binding()
        self._bind_held()
        self._rows = self._tokens = 0
        self._buffers: list[list[Array]] = []
        self._logits = np.empty(0, np.float32)

    def step(self, input_ids: Array, attention_mask: Array) -> Array:
        """See :meth:`bert_export.runtime.sessions.cache.Cache.step`."""
        session, binding = self._session.engine, self._binding
        feeds = token_feeds(self._session, input_ids, attention_mask)
        held = {PAST: self._tokens} | ({BATCH: self._rows} if self._rows else {})
        sizes = self._check({**feeds, **self._held.arrays}, self._session.longest, held)
        total = self._tokens + sizes[SEQUENCE]
        if not self._rows:
            self._allocate(sizes[BATCH])
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        read, written = self._buffers
        for spec, buffer in zip(self._pasts, read, strict=True):
            self._bind(binding.bind_input, spec, buffer, self._tokens)
        for spec, buffer in zip(self._presents, written, strict=True):
            self._bind(binding.bind_output, spec, buffer, total)
        binding.bind_output(
            "logits", "cpu", 0, np.float32, self._logits.shape, self._logits.ctypes.data
        )
        with graph_errors():
            session.run_with_iobinding(binding)
        self._buffers.reverse()
        self._tokens = total
        return self._logits

    def select(self, rows: Array, first: int) -> None:
        """See :meth:`bert_export.runtime.sessions.cache.Cache.select`."""
        if self._held.select(rows):
            self._bind_held()
        read, written = self._buffers
        shapes = [self._shape(spec, self._tokens) for spec in self._pasts]
        self._tokens -= first
        grown = len(rows) > self._rows
        if grown:
            self._allocate(len(rows))
        self._rows = len(rows)
        for spec, shape, old, new in zip(
            self._pasts, shapes, read, self._buffers[1] if grown else written, strict=True
        ):
            kept = old[: math.prod(shape)].reshape(shape)[:, :, first:]
            into = self._shape(spec, self._tokens)
            np.take(kept, rows, axis=0, out=new[: math.prod(into)].reshape(into), mode="clip")
        self._buffers.reverse()
        self._logits = self._logits[: self._rows]

    def _bind_held(self) -> None:
        """Bind the inputs that no step changes, once for all steps."""
        for name, array in self._held.arrays.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def _allocate(self, rows: int) -> None:
        """Make room for so many rows."""
        self._rows = rows
        self._buffers = [
            [np.empty(math.prod(self._shape(spec, self._most)), spec.dtype) for spec in self._pasts]
            for _ in range(2)
        ]
        vocabulary = next(spec for spec in self._session.outputs if spec.name == "logits").shape[-1]
        self._logits = np.empty((rows, int(vocabulary)), np.float32)

    def _shape(self, spec: TensorSpec, tokens: int) -> tuple[int, ...]:
        sizes = {BATCH: self._rows, PAST: tokens, TOTAL: tokens}
        return tuple(axis if isinstance(axis, int) else sizes[axis] for axis in spec.shape)

    def _bind(self, bind: Any, spec: TensorSpec, buffer: Array, tokens: int) -> None:
        shape = self._shape(spec, tokens)
        bind(spec.name, "cpu", 0, buffer.dtype, shape, buffer.ctypes.data)


@contextmanager
def graph_errors() -> Iterator[None]:
    """Say that a graph failed: an id beyond a table's rows ends up here."""
    try:
        yield
    except Exception as error:  # onnxruntime's own exceptions share no base but Exception
        raise InputError(
            "feeds make the graph fail",
            expected="ids within the vocabulary, types and positions of the model",
            got=one_line(error),
        ) from error
