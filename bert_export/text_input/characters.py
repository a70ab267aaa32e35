"""What a tokenizer makes of every code point, found out by asking it.

Most code points are treated like their neighbours: dropped, left as they are, or set between
spaces. So a run of them is asked about at once, and taken apart where the answer is none of these.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bert_export.errors import TokenizerError
from bert_export.text_input.refusals import refuse

__all__ = ["CODE_POINTS", "Answers", "Pieces", "ask", "characters", "combining_classes"]

CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)
_CHUNK = 0x1000
_FEW = 8
"""Characters that are asked about one by one where the answer to all of them says nothing."""
_FENCE = "\uab30"
"""A letter that nothing else is normalized to. It stands on both sides of a character, so that what
the character does to its neighbours shows."""
_LAST = "\u0345"
"""The mark of the highest combining class."""

Pieces: TypeAlias = tuple[tuple[str, bool], ...]
"""Normalized characters, each with whether it is a word of its own; a space is ``(" ", True)``."""


def characters() -> Iterator[str]:
    """Every code point that a text may hold, in order."""
    return (chr(point) for point in range(CODE_POINTS) if point not in _SURROGATES)


@dataclass(slots=True)
class Answers:
    """What becomes of every code point between two letters; those that are not here leave nothing.

    Args:
        plain: bool (code points): letters that stay as they are.
        pieces: What becomes of others.
    """

    plain: NDArray[np.bool_]
    pieces: dict[str, Pieces]


def ask(tokenizer: tokenizers.Tokenizer) -> Answers:
    """Ask about every code point.

    Raises:
        TokenizerError: The tokenizer's answer depends on a character's neighbours.
    """
    answers = Answers(np.zeros(CODE_POINTS, np.bool_), {})
    letters = list(characters())
    for start in range(0, len(letters), _CHUNK):
        _ask_run(tokenizer, letters[start : start + _CHUNK], answers)
    return answers


def combining_classes() -> dict[str, int]:
    """Canonical combining classes above 0 of what the library puts in order when it decomposes."""
    decompose = tokenizers.normalizers.NFD().normalize_str
    classes: dict[str, int] = {}
    for character in characters():
        if unicodedata.combining(character) or unicodedata.decomposition(character):
            first = unicodedata.normalize("NFD", character)[0]
            number = unicodedata.combining(first)
            moves = not decompose(f"{_LAST}{character}").startswith(_LAST)
            if number and (moves or first == _LAST):
                classes[character] = number
    return classes


def _ask_run(tokenizer: tokenizers.Tokenizer, run: Sequence[str], answers: Answers) -> None:
    """Ask about characters that are treated alike, or about each half of them."""
    joined = "".join(run)
    text = _normalize(tokenizer, joined)
    if not text:
        return
    words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    if words == [text] == [joined]:
        answers.plain[[ord(character) for character in run]] = True
    elif words == run and text == "".join(f" {character} " for character in run):
        answers.pieces.update((character, ((character, True),)) for character in run)
    elif len(run) > _FEW:
        half = len(run) // 2
        _ask_run(tokenizer, run[:half], answers)
        _ask_run(tokenizer, run[half:], answers)
    else:
        for character in run:
            text = _normalize(tokenizer, f"{_FENCE}{character}{_FENCE}")
            words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
            answers.pieces[character] = _read_pieces(words)


def _normalize(tokenizer: tokenizers.Tokenizer, text: str) -> str:
    normalizer = tokenizer.normalizer
    normalized: str = text if normalizer is None else normalizer.normalize_str(text)
    return normalized


def _read_pieces(words: Sequence[str]) -> Pieces:
    """Read what stands between the fences."""
    first, last = (words[0], words[-1]) if words else ("", "")
    if not first.startswith(_FENCE) or not last.endswith(_FENCE):
        raise _refuse_context()
    if len(words) == 1:
        return tuple([(letter, False) for letter in first[1:-1]])
    if any(len(word) != 1 for word in words):
        raise _refuse_context()
    return tuple([(word, True) for word in words[1:-1]]) or ((" ", True),)


def _refuse_context() -> TokenizerError:
    return refuse("normalizer", "one that looks at one character at a time", "another")
