"""What the tasks that generate share: options of a call, and rows that grow token by token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypedDict, TypeVar

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from bert_export.errors import InputError, shown, suggestion
from bert_export.runtime.checks import (
    check_flag,
    check_number,
    check_whole,
    check_whole_or_none,
    or_default,
)
from bert_export.runtime.decoding.generation import Continuation, Decoding, EarlyStopping
from bert_export.runtime.decoding.sampling import Sampling, added_text, settled_text
from bert_export.runtime.sessions.cache import Cache

__all__ = [
    "DecodingOptions",
    "GenerationParameters",
    "check_streams",
    "check_streams_one",
    "grow",
    "read_decoding",
    "read_ends",
    "stream_text",
]

_MOST_ROWS = 1024
_ROWS = f"a whole number from 1 to {_MOST_ROWS}"

Result = TypeVar("Result")


class DecodingOptions(TypedDict, total=False):
    """Options of a call that say how tokens are chosen, and how many."""

    max_new_tokens: int | UnsetType
    min_new_tokens: int | UnsetType
    max_length: int | None
    do_sample: bool | UnsetType
    temperature: float | UnsetType
    top_k: int | UnsetType
    top_p: float | UnsetType
    seed: int | None
    num_beams: int | UnsetType
    length_penalty: float | UnsetType
    early_stopping: EarlyStopping | UnsetType
    repetition_penalty: float | UnsetType
    no_repeat_ngram_size: int | UnsetType
    num_return_sequences: int | UnsetType
    eos_token_id: int | Sequence[int] | None


class GenerationParameters(Protocol):
    """Defaults of the options, a bundle's post-processing."""

    @property
    def do_sample(self) -> bool: ...
    @property
    def temperature(self) -> float: ...
    @property
    def top_k(self) -> int: ...
    @property
    def top_p(self) -> float: ...
    @property
    def num_beams(self) -> int: ...
    @property
    def length_penalty(self) -> float: ...
    @property
    def early_stopping(self) -> EarlyStopping: ...
    @property
    def repetition_penalty(self) -> float: ...
    @property
    def no_repeat_ngram_size(self) -> int: ...
    @property
    def min_new_tokens(self) -> int: ...
    @property
    def num_return_sequences(self) -> int: ...


class InTurn(Protocol):
    """A pipeline's :meth:`~bert_export.runtime.pipelines.pipeline.Pipeline.in_turn`."""

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Let the engine work for this call."""
        ...


def read_decoding(
    options: Mapping[str, Any], own: GenerationParameters, ends: tuple[int, ...]
) -> Decoding:
    """How tokens are chosen, by the options of a call.

    Args:
        options: By name; what is missing or ``UNSET`` is as the bundle says.
        own: What the bundle says.
        ends: Ids of the tokens that end a text.

    Raises:
        InputError: An option is out of range, or two do not go together.
    """

    def own_or(name: str, default: Any) -> Any:
        return or_default(options.get(name, UNSET), default)

    drawn = Sampling(
        temperature=check_number("temperature", own_or("temperature", own.temperature)),
        top_k=check_whole("top_k", own_or("top_k", own.top_k), least=0),
        top_p=check_number("top_p", own_or("top_p", own.top_p)),
        seed=check_whole_or_none("seed", options.get("seed"), least=0),
    )
    if drawn.temperature <= 0:
        raise InputError(
            "temperature is out of range",
            expected="a number above 0",
            got=drawn.temperature,
            fix="Use do_sample=False for the likeliest token",
        )
    if not 0 <= drawn.top_p <= 1:
        raise InputError("top_p is out of range", expected="0 to 1", got=drawn.top_p)
    sampled = check_flag("do_sample", own_or("do_sample", own.do_sample))
    decoding = Decoding(
        ends=ends,
        min_new_tokens=check_whole(
            "min_new_tokens", own_or("min_new_tokens", own.min_new_tokens), least=0
        ),
        repetition_penalty=check_number(
            "repetition_penalty", own_or("repetition_penalty", own.repetition_penalty)
        ),
        no_repeat_ngram_size=check_whole(
            "no_repeat_ngram_size",
            own_or("no_repeat_ngram_size", own.no_repeat_ngram_size),
            least=0,
        ),
        sampling=drawn if sampled else None,
        num_beams=check_whole(
            "num_beams",
            own_or("num_beams", own.num_beams),
            least=1,
            most=_MOST_ROWS,
            expected=_ROWS,
        ),
        length_penalty=check_number("length_penalty", own_or("length_penalty", own.length_penalty)),
        early_stopping=_check_stopping(own_or("early_stopping", own.early_stopping)),
        num_return_sequences=check_whole(
            "num_return_sequences",
            own_or("num_return_sequences", own.num_return_sequences),
            least=1,
            most=_MOST_ROWS,
            expected=_ROWS,
        ),
    )
    _check_decoding(decoding)
    return decoding


def read_ends(eos_token_id: int | Sequence[int], *, vocabulary: int) -> tuple[int, ...]:
    """Ids of the tokens that end a text, checked.

    Args:
        eos_token_id: One, or several.
        vocabulary: How many ids there are.
    """
    given = eos_token_id if isinstance(eos_token_id, list | tuple) else [eos_token_id]
    return tuple(
        check_whole(
            "eos_token_id",
            each,
            least=0,
            most=vocabulary - 1,
            expected=f"ids from 0 to {vocabulary - 1}",
        )
        for each in given
    )


def grow(
    cache: Cache,
    ids: NDArray[np.int64],
    mask: NDArray[np.int64],
    of_prompts: Sequence[Sequence[Continuation]],
    *,
    in_turn: InTurn,
) -> Iterator[None]:
    """Let prompts grow by a token each, again and again, until all are done.

    Args:
        cache: Empty.
        ids: The prompts, padded on the left, int64 (B, S).
        mask: 1 where there is a token, int64 (B, S).
        of_prompts: What grows out of each prompt.
        in_turn: Lets the engine work for a step.
    """
    # The first call runs the prompts; its scores begin every continuation.
    scores = in_turn(partial(cache.step, ids, mask))  # (B, V)
    growing = [each for continuations in of_prompts for each in continuations]
    counts = [len(continuations) for continuations in of_prompts]
    starts = np.repeat(np.arange(len(of_prompts)), counts)  # of each continuation, its first row
    sizes = np.ones(len(growing), dtype=np.int64)  # rows of each
    while True:
        for each, start, size in zip(growing, starts, sizes, strict=True):
            each.advance(scores[start : start + size])
        yield
        going = [index for index, each in enumerate(growing) if not each.done]
        if not going:
            return
        parents = np.concatenate([starts[index] + growing[index].parents for index in going])
        growing = [growing[index] for index in going]
        # Rows that ended leave, and with them the padding that they alone needed.
        kept = mask[parents]
        first = int(kept.any(axis=0).argmax())
        if len(parents) != len(mask) or (parents != np.arange(len(mask))).any():
            cache.select(parents, first)
            mask = kept[:, first:]
        mask = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)  # (B, T + 1)
        sizes = np.asarray([len(each.tokens) for each in growing])
        starts = np.cumsum(sizes) - sizes
        ids = np.concatenate([each.tokens for each in growing])[:, None]  # (B, 1)
        scores = in_turn(partial(cache.step, ids, mask))  # (B, V)


def check_streams(options: Iterable[str], known: Collection[str]) -> None:
    """Refuse an option that means nothing where a text comes piece by piece.

    Args:
        options: Names, as they are given.
        known: Names that mean something.

    Raises:
        InputError: There is another one.
    """
    for name in options:
        if name not in known:
            raise InputError(
                f"option {name} means nothing to stream",
                expected="an option of generation, such as max_new_tokens",
                got=name,
                fix=suggestion(name, known),
            )


def check_streams_one(decoding: Decoding) -> None:
    """Refuse several texts where one comes piece by piece.

    Raises:
        InputError: Several are asked for.
    """
    if decoding.rows > 1:
        raise InputError(
            "stream gives one text",
            expected="num_beams and num_return_sequences of 1",
            got=f"{decoding.num_beams} and {decoding.num_return_sequences}",
        )


def stream_text(
    steps: Iterable[None],
    growing: Continuation,
    *,
    prompt: NDArray[np.int64],
    begun: str,
    decode: Callable[[list[int]], str],
) -> Iterator[str]:
    """What tokens add to a text, piece by piece; a piece comes once no later token changes it.

    Args:
        steps: Let the text grow by a token each.
        growing: The text.
        prompt: What it grows out of, int64 (S,).
        begun: What of the prompt's spelling is no part of a piece.
        decode: Ids to text.
    """
    given = ""
    for _ in steps:
        ids = [*prompt.tolist(), *growing.answers[0].tolist()]
        added = added_text(begun, settled_text(decode, ids, done=growing.done))
        if len(added) > len(given):
            yield added[len(given) :]
            given = added


def _check_stopping(value: object) -> EarlyStopping:
    if isinstance(value, str) and value == "never":
        return "never"
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise InputError("early_stopping is wrong", expected="true, false or never", got=shown(value))


def _check_decoding(decoding: Decoding) -> None:
    """Refuse options that do not go together.

    Raises:
        InputError: They do not.
    """
    if decoding.repetition_penalty <= 0:
        raise InputError(
            "repetition_penalty is out of range",
            expected="a number above 0, where 1 changes nothing",
            got=decoding.repetition_penalty,
        )
    beams, sequences = decoding.num_beams, decoding.num_return_sequences
    if decoding.sampling is not None and beams > 1:
        raise InputError(
            "do_sample and num_beams do not go together",
            expected="num_beams of 1 where tokens are drawn",
            got=beams,
        )
    if decoding.sampling is None and sequences > beams:
        raise InputError(
            "num_return_sequences is larger than what there is to return",
            expected=f"at most num_beams, {beams}, where tokens are not drawn",
            got=sequences,
            fix="Raise num_beams, or use do_sample",
        )
