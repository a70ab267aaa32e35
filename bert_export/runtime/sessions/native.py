"""Our own fused kernels behind the session interface: a program over rows that are not padded.

The compiled module runs the program (``bert-export cpp --native`` builds it). A caller that hands
over padded rows gets padded outputs: the mask says which tokens there are, what it hides is left
out, and outputs are 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.bundle import EngineRecord, TensorSpec
from bert_export.bundle.program import Gather, Program, read_program
from bert_export.bundle.program_check import check_program
from bert_export.errors import BundleError, InputError, TargetError, one_line
from bert_export.runtime.engine_choice import Standing
from bert_export.runtime.native import has_native, require_native
from bert_export.runtime.sessions.forking import Forkable, refuse_after_fork, survive_fork
from bert_export.runtime.sessions.session import (
    Array,
    Feeds,
    Outputs,
    Session,
    check_feeds,
    check_threads,
)
from bert_export.tasks.interface import CHOICES, MASKED_POSITIONS, outputs_per_token

__all__ = ["NativeSession", "open_engine", "standing"]

_IDS, _TYPES, _MASK, _LENGTHS = "input_ids", "token_type_ids", "attention_mask", "lengths"
_TOKENS = "tokens"  # the axis of all rows' tokens
_FEATURE = "target native"
_AHEAD = ("amx",)
"""Instructions with which it was measured ahead of every other engine at every shape."""


class NativeSession(Session, Forkable):
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
        weights = path.with_name(program.weights)
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
        survive_fork(self)

    @property
    def isa(self) -> str:
        """The set of instructions in use."""
        return str(self._opened().isa)

    def run(self, feeds: Feeds) -> Outputs:
        """Run padded rows; see :class:`bert_export.runtime.sessions.session.Session`."""
        self._opened()
        check_feeds(self.inputs, feeds, longest=self.longest)
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

    def _run(self, rows: Feeds) -> Outputs:
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
        lengths = mask.sum(axis=1)
        if not lengths.all():
            raise InputError(
                f"{_MASK} hides a whole row", expected="a 1 at least in each", got="none"
            )
        rows = {
            name: array[mask]
            for name, array in flat.items()
            if name not in (_MASK, MASKED_POSITIONS)
        }
        rows[_LENGTHS] = lengths.astype(np.int64)
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
        return "absent"
    fastest = require_native(_FEATURE).native_isas()[0]
    return "ahead" if fastest in _AHEAD else "able"
