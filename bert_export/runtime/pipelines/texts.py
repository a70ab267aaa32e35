"""What the pipelines' calls have in common: whose turn it is, and texts to rows.

A call takes one item, a list of items or any other iterable; here it is told which, and what is
neither becomes an :class:`~bert_export.errors.InputError` instead of a stack trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from bert_export.errors import InputError, shown
from bert_export.runtime.batching import Row, row_from_encoding
from bert_export.runtime.checks import check_flag
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks.postprocessing import TextPostProcessing, Truncation

__all__ = [
    "CUT",
    "UNCUT",
    "Tokenization",
    "check_text",
    "encode_texts",
    "field",
    "mapping_items",
    "text_items",
]

_STRATEGIES: dict[bool | str, Truncation] = {
    True: "longest_first",
    False: "none",
    "do_not_truncate": "none",
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
}


@dataclass(frozen=True, slots=True)
class Tokenization:
    """How a call tokenizes its texts.

    Args:
        truncation: ``longest_first``, ``only_first``, ``only_second`` or ``none``.
        max_length: Tokens a row keeps; the tokenizer's own limit when ``None``.
        add_special_tokens: Whether rows get ``[CLS]`` and ``[SEP]``.
    """

    truncation: Truncation = "none"
    max_length: int | None = None
    add_special_tokens: bool = True

    @classmethod
    def from_parameters(cls, parameters: TextPostProcessing) -> Self:
        """What a call does that names no option."""
        return cls(parameters.truncation, parameters.max_length, parameters.add_special_tokens)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], default: Tokenization) -> Self:
        """Read the keyword arguments that upstream's pipelines hand to the tokenizer.

        Args:
            options: ``truncation`` (a flag or a strategy's name), ``max_length`` and
                ``add_special_tokens``; a ``max_length`` alone switches truncation on, as upstream.
            default: What is not named.

        Raises:
            InputError: Another option, or a value of another type.
        """
        known = ("truncation", "max_length", "add_special_tokens")
        if unknown := [name for name in options if name not in known]:
            raise InputError(
                f"tokenizer option {unknown[0]!r} is unknown",
                expected=" or ".join(known),
                got=repr(unknown[0]),
            )
        length = options.get("max_length")
        if length is not None and (
            isinstance(length, bool) or not isinstance(length, int) or length < 1
        ):
            raise InputError(
                "max_length is wrong", expected="a positive whole number", got=repr(length)
            )
        truncation = options.get("truncation")
        if truncation is None:
            strategy = default.truncation if length is None else "longest_first"
        elif isinstance(truncation, bool | str) and truncation in _STRATEGIES:
            strategy = _STRATEGIES[truncation]
        else:
            raise InputError(
                "truncation is unknown",
                expected="a bool, longest_first, only_first or do_not_truncate",
                got=repr(truncation),
            )
        special = options.get("add_special_tokens", default.add_special_tokens)
        return cls(
            strategy,
            default.max_length if length is None else length,
            check_flag("add_special_tokens", special),
        )


UNCUT = Tokenization()
"""Nothing is cut: a text that is too long is an error."""

CUT = Tokenization(truncation="longest_first")
"""Of a row that is too long the longer text loses its end, until it fits."""


def check_text(value: object, name: str = "text") -> str:
    """The value, if it is a string.

    Raises:
        InputError: It is anything else.
    """
    if not isinstance(value, str):
        raise InputError(
            f"{name} is of the wrong type", expected="a string", got=type(value).__name__
        )
    return value


def field(record: object, name: str) -> Any:
    """One field of a record.

    Raises:
        InputError: The record is no mapping, or lacks the field.
    """
    if not isinstance(record, Mapping):
        raise InputError(
            "item is of the wrong type",
            expected=f"a mapping with {name!r}",
            got=type(record).__name__,
        )
    if name not in record:
        raise InputError(
            f"item lacks {name!r}",
            expected=f"a mapping with {name!r}",
            got=", ".join(map(repr, record)) or "an empty mapping",
        )
    return record[name]


def text_items(inputs: object, name: str = "inputs") -> tuple[bool, Iterable[Any]]:
    """Whether a call's argument of that name is a single text, and its texts.

    Raises:
        InputError: It is neither a string nor an iterable of them.
    """
    if isinstance(inputs, str):
        return True, [inputs]
    if isinstance(inputs, Iterable) and not isinstance(inputs, Mapping | bytes | bytearray):
        return False, inputs
    raise InputError(
        f"{name} are of the wrong type",
        expected="a string or an iterable of strings",
        got=type(inputs).__name__,
    )


def mapping_items(inputs: object, **fields: object) -> tuple[bool, Iterable[Any]]:
    """Whether a call names a single record, and its records.

    Args:
        inputs: A record, or an iterable of records, or ``None`` where ``fields`` name one.
        fields: The record's fields as keyword arguments; ``None`` where they were not given.

    Raises:
        InputError: Both or neither were given, or ``inputs`` is no mapping and no iterable of them.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    names = " and ".join(fields)
    if given and inputs is not None:
        raise InputError("inputs are given twice", expected=f"records, or {names}", got="both")
    if given:
        return True, [given]
    if isinstance(inputs, Mapping):
        return True, [inputs]
    if isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes | bytearray):
        return False, inputs
    raise InputError(
        "inputs are of the wrong type",
        expected=f"{names}, or an iterable of mappings with them",
        got="nothing" if inputs is None else type(inputs).__name__,
    )


def encode_texts(
    tokenizer: Tokenizer,
    texts: Sequence[str | tuple[str, str]],
    how: Tokenization = UNCUT,
    *,
    limit: int | None = None,
) -> list[Row]:
    """One row per text or pair.

    Args:
        tokenizer: The bundle's.
        texts: Texts, or pairs of them.
        how: Truncation and its length.
        limit: Tokens that a row may hold where that is less than the tokenizer allows.

    Raises:
        InputError: A row is too long, or has no token at all.
    """
    encodings = tokenizer.encode(
        texts,
        max_length=how.max_length,
        truncation=how.truncation,
        add_special_tokens=how.add_special_tokens,
    )
    rows = [row_from_encoding(encoding) for (encoding,) in encodings]
    for text, row in zip(texts, rows, strict=True):
        if len(row) == 0:
            raise InputError(
                f"text {shown(text)} is empty",
                expected="at least one token",
                got="none",
                fix="Leave add_special_tokens on",
            )
        if limit is not None and len(row) > limit:
            raise InputError(
                f"text {shown(text)} is too long",
                expected=f"at most {limit} tokens",
                got=len(row),
                fix="Shorten it, or turn truncation on",
            )
    return rows
