"""How the texts of a call become rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bert_export.errors import InputError, shown, suggestion
from bert_export.runtime.batching import Row, row_from_encoding
from bert_export.runtime.checks import check_flag, check_whole_or_none
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks.postprocessing import TextPostProcessing, Truncation

__all__ = [
    "CUT",
    "UNCUT",
    "Tokenization",
    "encode_texts",
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
                fix=suggestion(unknown[0], known),
            )
        length = options.get("max_length")
        longest = check_whole_or_none("max_length", length, least=1)
        truncation = options.get("truncation")
        if truncation is None:
            strategy = default.truncation if longest is None else "longest_first"
        else:
            strategy = _read_truncation(truncation)
        special = options.get("add_special_tokens", default.add_special_tokens)
        return cls(
            strategy,
            default.max_length if longest is None else longest,
            check_flag("add_special_tokens", special),
        )


def _read_truncation(value: object) -> Truncation:
    """A strategy by a flag, numpy's included, or by its name."""
    if isinstance(value, bool | np.bool_):
        return _STRATEGIES[bool(value)]
    if isinstance(value, str) and value in _STRATEGIES:
        return _STRATEGIES[value]
    names = [name for name in _STRATEGIES if isinstance(name, str)]
    raise InputError(
        "truncation is unknown",
        expected=f"true, false, {', '.join(names)}",
        got=shown(value),
        fix=suggestion(value, names),
    )


UNCUT = Tokenization()
"""Nothing is cut: a text that is too long is an error."""

CUT = Tokenization(truncation="longest_first")
"""Of a row that is too long the longer text loses its end, until it fits."""


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
