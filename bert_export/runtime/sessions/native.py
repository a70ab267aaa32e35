"""Our own fused kernels behind the session interface: a program over rows that are not padded.

The compiled module runs the program (``bert-export cpp --native`` builds it). A caller that hands
over padded rows gets padded outputs: the mask says which tokens there are, what it hides is left
out, and outputs are 0 there. Keys and values of a growing batch stay in the module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.bundle import EngineRecord, TensorSpec
from bert_export.bundle.integrity import WEIGHTS_FILE
from bert_export.bundle.program import Gather, Program, read_program
from bert_export.bundle.program_check import check_program
from bert_export.errors import BundleError, InputError, TargetError, one_line
from bert_export.runtime.engine_choice import Standing
from bert_export.runtime.native import has_native, require_native
from bert_export.runtime.processor import processor_flags
from bert_export.runtime.sessions.cache import Cache, CachingSession, token_feeds
from bert_export.runtime.sessions.forking import Forkable, refuse_after_fork, survive_fork
from bert_export.runtime.sessions.session import (
    Array,
    Feeds,
    FeedsCheck,
    Outputs,
    Session,
    check_feeds,
    check_threads,
)
from bert_export.tasks.interface import (
    BATCH,
    CHOICES,
    MASKED_POSITIONS,
    PAST,
    SEQUENCE,
    outputs_per_token,
)

__all__ = ["NativeSession", "open_engine", "standing"]

_IDS, _TYPES, _MASK, _LENGTHS = "input_ids", "token_type_ids", "attention_mask", "lengths"
_TOKENS = "tokens"  # the axis of all rows' tokens
_FEATURE = "target native"
_AHEAD = ("amx",)
"""Instructions with which it was measured ahead of every other engine at every shape."""
_AHEAD_FLAGS = frozenset({"amx_int8", "amx_tile"})
"""What the system calls them."""


class NativeSession(Session, Forkable, CachingSession):
    """A program that the compiled module opened.

    Args:
        path: The program; its weights lie beside it.
        threads: That a call shares; ``None`` for as many as the process may run on.
        isa: The set of instructions, such as ``amx`` or ``avx2``; the fastest that the machine has
            when empty, unless ``BERT_EXPORT_ISA`` forces a lower one.
        open_program: What opens the program; the compiled module's ``Program`` when ``None``.

    Raises:
        MissingExtraError: The compiled module is not built.
        TargetError: This machine lacks the instructions.
        BundleError: The program cannot be read or is not legal.
        InputError: ``threads`` is not from 1 to 1024.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        isa: str = "",
        open_program: Callable[..., Any] | None = None,
    ) -> None:
        opener = open_program or require_native(_FEATURE).Program
        number = check_threads(threads)
        program = read_program(path)
        weights = path.with_name(WEIGHTS_FILE)
        check_program(program, weights, where=f"program {path}")
        try:
            self._program: Any = opener(str(path), str(weights), threads=number or 0, isa=isa)
        except ValueError as error:
            raise TargetError(
                f"program {path} cannot be opened",
                expected="a program and instructions for this machine",
                got=one_line(error),
            ) from error
        except OSError as error:
            raise BundleError(f"program {path} cannot be opened", got=one_line(error)) from error
        self.inputs = program.interface.inputs
        self.outputs = program.interface.outputs
        self._per_token = outputs_per_token(self.outputs)
        self._per_choice = {spec.name for spec in self.outputs if CHOICES in spec.shape}
        self._reads_first = any(
            isinstance(one, Gather) and one.index == "first" for one in program.operations
        )
        self._ragged_inputs = _ragged_inputs(program)
        self._pasts = [
            name for cache in program.caches for name in (cache.past_key, cache.past_value)
        ]
        self._presents = [
            name for cache in program.caches for name in (cache.present_key, cache.present_value)
        ]
        survive_fork(self)

    @property
    def isa(self) -> str:
        """The set of instructions in use."""
        return str(self._opened().isa)

    def run(self, feeds: Feeds) -> Outputs:
        """Run padded rows; see :class:`bert_export.runtime.sessions.session.Session`."""
        self._opened()
        check_feeds(self.inputs, feeds, longest=self.longest)
        if self._pasts:
            return self._run_behind_past(feeds)
        shape = feeds[_IDS].shape
        flat = {
            name: array if name == MASKED_POSITIONS else array.reshape(-1, shape[-1])
            for name, array in feeds.items()
        }
        mask = flat[_MASK] != 0  # (B, S), or (B * C, S)
        rows = self._joined(flat, mask)
        outputs = self._run(rows)
        return {
            name: self._padded(name, array, mask, shape[:-1]) for name, array in outputs.items()
        }

    def run_ragged(self, feeds: Feeds) -> Outputs:
        """Run rows as they are; see :class:`bert_export.runtime.sessions.session.RaggedSession`."""
        self._opened()
        check_feeds(self._ragged_inputs, feeds)
        lengths = feeds[_LENGTHS]
        if lengths.min() < 1 or lengths.sum() != len(feeds[_IDS]):
            raise InputError(
                "lengths do not add up to the tokens",
                expected=f"numbers above 0 with the sum {len(feeds[_IDS])}",
                got=f"the sum {lengths.sum()}, the least {lengths.min()}",
            )
        if self.longest is not None and lengths.max() > self.longest:
            raise InputError(
                "rows are longer than the model takes",
                expected=f"at most {self.longest} tokens, its positions",
                got=int(lengths.max()),
            )
        outputs = self._run(feeds)
        return {
            name: array[:, None] if name in self._per_choice else array
            for name, array in outputs.items()
        }

    def open_cache(self, most: int, held: Mapping[str, Array]) -> Cache:
        """See :meth:`bert_export.runtime.sessions.cache.CachingSession.open_cache`."""
        assert not held, "a program has no inputs that are held"
        return _NativeCache(self, self._opened().open_cache())

    def step(self, input_ids: Array, mask: NDArray[np.bool_], cache: Any) -> Outputs:
        """Run the next tokens of every row, whose keys and values join a cache of the module.

        Args:
            input_ids: int64 (B, S).
            mask: Which of them are tokens, (B, S).
            cache: Of the module.
        """
        ids = input_ids[mask]
        rows = {_IDS: ids, _TYPES: np.zeros_like(ids), _LENGTHS: _lengths(mask)}
        return self._run(rows, cache)

    def held(self) -> list[Any]:
        """The program."""
        return [] if self._program is None else [self._program]

    def close(self) -> None:
        """Free the program; a run that is under way in another thread finishes first."""
        self._program = None

    def _opened(self) -> Any:
        if self._program is None:
            raise InputError("session is closed", fix="Load the bundle again")
        refuse_after_fork(self)
        return self._program

    def _run_behind_past(self, feeds: Feeds) -> Outputs:
        """Run padded rows behind keys and values that are handed over; hand all of them back."""
        visible = feeds[_MASK] != 0  # (B, T)
        own = visible[:, -feeds[_IDS].shape[1] :]  # (B, S)
        before = visible[:, : visible.shape[1] - own.shape[1]]  # (B, P)
        pasts = [feeds[name].swapaxes(1, 2)[before] for name in self._pasts]  # (tokens, N, D)
        cache = self._opened().open_cache()
        cache.fill(
            before.sum(axis=1, dtype=np.int64),
            [past.reshape(len(past), past.shape[1] * past.shape[2]) for past in pasts],
        )
        rows = {name: feeds[name][own] for name in (_IDS, _TYPES)}
        results = self._run({**rows, _LENGTHS: _lengths(own)}, cache)
        outputs = {
            name: self._padded(name, array, own, own.shape[:1]) for name, array in results.items()
        }
        for name, past, kept in zip(self._presents, self._pasts, cache.read(), strict=True):
            heads, size = feeds[past].shape[1::2]
            present = np.zeros((*visible.shape, heads, size), np.float32)  # (B, T, N, D)
            present[visible] = kept.reshape(-1, heads, size)
            outputs[name] = np.ascontiguousarray(present.swapaxes(1, 2))
        return outputs

    def _run(self, rows: Feeds, cache: Any = None) -> Outputs:
        further = {
            name: np.ascontiguousarray(array)
            for name, array in rows.items()
            if name not in (_IDS, _TYPES, _LENGTHS)
        }
        try:
            outputs: Outputs = self._opened().run(
                np.ascontiguousarray(rows[_IDS]),
                np.ascontiguousarray(rows[_TYPES]),
                np.ascontiguousarray(rows[_LENGTHS]),
                further,
                cache,
            )
        except ValueError as error:
            raise InputError(
                "feeds make the program fail",
                expected="ids, types and positions of the model",
                got=one_line(error),
            ) from error
        return outputs

    def _joined(self, flat: Feeds, mask: NDArray[np.bool_]) -> dict[str, Array]:
        """Padded rows as rows that are not."""
        lengths = _lengths(mask)
        rows = {
            name: array[mask]
            for name, array in flat.items()
            if name not in (_MASK, MASKED_POSITIONS)
        }
        rows[_LENGTHS] = lengths
        holes = mask[:, 1:] > mask[:, :-1]  # a token behind padding
        if holes.any():
            if self._reads_first and not mask[:, 0].all():
                raise InputError(
                    f"{_MASK} hides the first token of a row, which the head reads",
                    expected="rows padded on the right",
                )
            rows["position_ids"] = np.nonzero(mask)[1].astype(np.int64)
        if MASKED_POSITIONS in flat:
            rows[MASKED_POSITIONS] = _positions_among(flat[MASKED_POSITIONS], mask)
        return rows

    def _padded(
        self, name: str, array: Array, mask: NDArray[np.bool_], rows: Sequence[int]
    ) -> Array:
        """An output with the axes of padded rows."""
        if name in self._per_choice:
            return array.reshape(*rows)
        if name not in self._per_token:
            return array
        padded = np.zeros((*mask.shape, *array.shape[1:]), dtype=array.dtype)
        padded[mask] = array
        return padded


class _NativeCache(Cache):
    """Keys and values that stay in the module, each row's own tokens and no padding.

    Args:
        session: That runs the steps.
        cache: The module's, empty.
    """

    def __init__(self, session: NativeSession, cache: Any) -> None:
        self._session, self._cache = session, cache
        self._check = FeedsCheck(tuple(spec for spec in session.inputs if PAST not in spec.shape))
        self._rows = self._columns = 0

    def step(self, input_ids: Array, attention_mask: Array) -> Array:
        """See :meth:`bert_export.runtime.sessions.cache.Cache.step`."""
        held = {PAST: self._columns} | ({BATCH: self._rows} if self._rows else {})
        feeds = token_feeds(self._session, input_ids, attention_mask)
        sizes = self._check(feeds, self._session.longest, held)
        before = attention_mask[:, : self._columns].sum(axis=1)
        if self._rows and not np.array_equal(before, self._cache.lengths()):
            raise InputError(
                f"{_MASK} does not fit the cache",
                expected=f"rows of {self._cache.lengths().tolist()} earlier tokens",
                got=before.tolist(),
            )
        own = attention_mask[:, self._columns :] != 0
        logits = self._session.step(input_ids, own, self._cache)["logits"]
        self._rows, self._columns = sizes[BATCH], self._columns + sizes[SEQUENCE]
        return logits

    def select(self, rows: Array, first: int) -> None:
        """See :meth:`bert_export.runtime.sessions.cache.Cache.select`."""
        self._cache.select(rows)
        self._rows, self._columns = len(rows), self._columns - first


def _lengths(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Tokens of each row of a mask, one at least."""
    lengths: NDArray[np.int64] = mask.sum(axis=1, dtype=np.int64)
    if not lengths.all():
        raise InputError(f"{_MASK} hides a whole row", expected="a 1 at least in each", got="none")
    return lengths


def _ragged_inputs(program: Program) -> tuple[TensorSpec, ...]:
    """What a call without padding hands over."""
    below = {spec.name: spec.below for spec in program.interface.inputs}
    axes = {MASKED_POSITIONS: "masked"}
    tokens = [
        TensorSpec(
            name=name, dtype="int64", shape=(axes.get(name, _TOKENS),), below=below.get(name)
        )
        for name in program.inputs
    ]
    return (*tokens, TensorSpec(name=_LENGTHS, dtype="int64", shape=("batch",)))


def _positions_among(positions: Array, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Positions in padded rows (M,) as positions among the tokens that a mask leaves."""
    flat = mask.reshape(-1)
    inside = (positions >= 0) & (positions < flat.size)
    if not inside.all() or not flat[positions].all():
        raise InputError(
            f"input {MASKED_POSITIONS} names no token of a row",
            expected=f"0 to {flat.size - 1}, where {_MASK} is 1",
            got=f"{positions.min()} to {positions.max()}",
        )
    ordinals: NDArray[np.int64] = np.cumsum(flat, dtype=np.int64) - 1
    return ordinals[positions]


def open_engine(folder: Path, engine: EngineRecord, *, threads: int | None = None) -> NativeSession:
    """Open an engine of a bundle; for the options see :class:`NativeSession`."""
    return NativeSession(folder / engine.graph.file, threads=threads)


def standing() -> Standing:
    """How the target stands on this machine, by what was measured: see ``scripts/NUMBERS.md``."""
    if not has_native():
        return "unbuilt" if processor_flags() >= _AHEAD_FLAGS else "absent"
    fastest = require_native(_FEATURE).native_isas()[0]
    return "ahead" if fastest in _AHEAD else "able"
