"""The interface of every engine: named numpy arrays in, named numpy arrays out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bert_export.bundle import TensorSpec
from bert_export.errors import InputError, shown
from bert_export.runtime.checks import check_whole_or_none
from bert_export.runtime.closing import Closing
from bert_export.tasks.interface import MASKED, PAST, SEQUENCE, SOURCE, TOTAL

__all__ = [
    "MAY_BE_EMPTY",
    "Array",
    "BoundedSession",
    "Feeds",
    "FeedsCheck",
    "Outputs",
    "PaddingSession",
    "RaggedSession",
    "RawFeeds",
    "Session",
    "check_feeds",
    "check_threads",
]

MAY_BE_EMPTY = frozenset({MASKED, PAST})
"""Axes that may have size 0: a batch of texts may have no mask, a first call has no cache."""

_MOST_THREADS = 1024

_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}

Array = NDArray[Any]
Feeds = Mapping[str, Array]
RawFeeds = Mapping[str, Array | Sequence[Any]]
"""Feeds, or texts in lists for a graph that takes them."""

Outputs = dict[str, Array]


class Session(Closing, Protocol):
    """Runs one graph; safe to call from several threads; leaving the context frees it.

    Attributes:
        inputs: The graph's inputs, in order.
        outputs: The graph's outputs, in order.
        longest: Tokens of a row at most, where that is known: engines differ in what they do with
            more than the model has positions for.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    longest: int | None = None

    @abstractmethod
    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph once.

        Raises:
            InputError: A feed is missing, unknown, or of another dtype or shape (see
                :func:`check_feeds`).
        """
        ...

    @abstractmethod
    def close(self) -> None:
        """Free the engine; later runs raise :class:`~bert_export.errors.InputError`."""


@runtime_checkable
class BoundedSession(Protocol):
    """A session with a largest batch size.

    Attributes:
        max_rows: Rows of a batch at most.
    """

    max_rows: int


@runtime_checkable
class PaddingSession(Protocol):
    """A session that prefers rows of few different lengths.

    Attributes:
        row_multiple: Rows are best padded to a multiple of so many tokens.
    """

    row_multiple: int


@runtime_checkable
class RaggedSession(Protocol):
    """A session that runs rows of unequal length as they are, without padding."""

    @abstractmethod
    def run_ragged(self, feeds: Feeds) -> Outputs:
        """Run the graph once over rows that are not padded.

        Args:
            feeds: ``lengths`` (B,) of the rows; every other input of the graph but the attention
                mask, the rows one behind the other (T,); positions of masks count in all of them.
                All int64.

        Returns:
            Float32 arrays by name: (T, ...) of outputs per token, else as the graph gives them.

        Raises:
            InputError: A feed is missing or unknown, of another shape or dtype, or outside of what
                the model has rows for.
        """
        ...


def check_threads(threads: object) -> int | None:
    """The option ``threads`` of a session; ``None`` leaves it to the engine.

    Raises:
        InputError: It is no whole number from 1 to 1024.
    """
    number = check_whole_or_none("threads", threads, least=1)
    if number is not None and number > _MOST_THREADS:
        raise InputError(
            "threads is wrong",
            expected=f"a whole number from 1 to {_MOST_THREADS}",
            got=shown(threads),
        )
    return number


class FeedsCheck:
    """Compares feeds with a graph's inputs before the engine sees them.

    Args:
        inputs: The graph's inputs; a ``str`` axis is dynamic and must agree between inputs.
    """

    def __init__(self, inputs: tuple[TensorSpec, ...]) -> None:
        self._inputs = inputs
        self._names = {spec.name for spec in inputs}
        self._each = [
            (
                spec.name,
                np.dtype(object if spec.dtype == "string" else spec.dtype),
                spec.shape,
                spec.below,
                spec,
            )
            for spec in inputs
        ]

    def __call__(
        self, feeds: Feeds, longest: int | None = None, held: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """Check feeds; see :func:`check_feeds`."""
        known = type(feeds) is dict or isinstance(feeds, Mapping)
        if not known or feeds.keys() != self._names:
            raise _misnamed(self._inputs, feeds)
        sizes: dict[str, int] = dict(held or {})
        axes, seen = None, None
        for name, dtype, shape, below, spec in self._each:
            array = feeds[name]
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                raise InputError(
                    f"input {name} has the wrong dtype",
                    expected=f"a numpy array of {spec.dtype}",
                    got=getattr(array, "dtype", type(array).__name__),
                )
            if array.shape != seen or shape != axes:  # of inputs that are alike one is enough
                axes, seen = shape, array.shape
                _check_shape(spec, array, sizes)
            # One comparison for both bounds: as an unsigned number, a negative one is the largest.
            if below is not None and _highest(array) >= below:
                raise InputError(
                    f"input {name} holds a number that the model has no row for",
                    expected=f"0 to {below - 1}",
                    got=f"{array.min()} to {array.max()}",
                )
        tokens = sizes.get(SEQUENCE, 0) + sizes.get(PAST, 0)
        if SEQUENCE not in sizes:  # an encoder's own graph, which a text alone goes into
            tokens = sizes.get(SOURCE, 0)
        if sizes.get(TOTAL, tokens) != tokens:
            raise InputError(
                "attention_mask does not fit the cache",
                expected=f"{tokens} tokens, {sizes[PAST]} of the cache and {sizes[SEQUENCE]} of "
                "input_ids",
                got=sizes[TOTAL],
            )
        if longest is not None and tokens > longest:
            raise InputError(
                "rows are longer than the model takes",
                expected=f"at most {longest} tokens, its positions",
                got=tokens,
            )
        return sizes


def check_feeds(
    inputs: tuple[TensorSpec, ...],
    feeds: Feeds,
    *,
    longest: int | None = None,
    held: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Compare feeds with the graph's inputs, once; a session keeps a :class:`FeedsCheck`.

    Args:
        inputs: See :class:`FeedsCheck`.
        feeds: One array per input, by name.
        longest: Tokens of a row at most; see :attr:`Session.longest`.
        held: Sizes of axes that are settled, by inputs that the session itself holds.

    Returns:
        The size of every dynamic axis.

    Raises:
        InputError: A name is missing or unknown, or a dtype, rank or axis does not fit.
    """
    return FeedsCheck(inputs)(feeds, longest, held)


def _check_shape(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> None:
    """Check an array's axes, and note the sizes of dynamic ones in ``sizes``."""
    fits = len(array.shape) == len(spec.shape)
    for axis, size in zip(spec.shape, array.shape, strict=False):
        fits &= size == (sizes.setdefault(axis, size) if isinstance(axis, str) else axis)
    if not fits:
        raise InputError(
            f"input {spec.name} has the wrong shape",
            expected=f"({', '.join(str(axis) for axis in spec.shape)})"
            + (f" with {sizes}" if sizes else ""),
            got=str(array.shape),
        )
    if 0 in array.shape and MAY_BE_EMPTY.isdisjoint(spec.shape):
        raise InputError(
            f"input {spec.name} is empty", expected="no axis of size 0", got=str(array.shape)
        )


def _highest(array: Array) -> int:
    """The largest of whole numbers, read as unsigned ones; 0 where there are none."""
    numbers = array.view(_UNSIGNED[array.itemsize])
    return int(np.maximum.reduce(numbers, axis=None, initial=0))


def _misnamed(inputs: tuple[TensorSpec, ...], feeds: object) -> InputError:
    """The error of feeds that are no mapping of exactly the inputs' names."""
    if not isinstance(feeds, Mapping):
        return InputError(
            "feeds are wrong",
            expected="a mapping of the inputs' names to numpy arrays",
            got=shown(feeds),
        )
    return InputError(
        "feeds do not name the graph's inputs",
        expected=", ".join(sorted(spec.name for spec in inputs)),
        got=", ".join(sorted(map(str, feeds))) or "none",
    )
