"""What each character means to a WordPiece tokenizer, found out by asking the tokenizer itself.

A *code* stands for a character after normalization. A *symbol* stands for a character of the text:
it says which codes the normalizer makes of it. Characters that mean the same share a symbol.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bert_export.errors import TokenizerError
from bert_export.text_input.refusals import refuse

__all__ = [
    "DROPPED",
    "FIRST_CODE",
    "SPACE",
    "UNKNOWN",
    "UNKNOWN_ALONE",
    "Alphabet",
    "make_alphabet",
]

DROPPED, SPACE, UNKNOWN, UNKNOWN_ALONE = range(4)
"""Codes of a character that leaves nothing, a space, a letter that no piece of the vocabulary has,
and such a character that is a word of its own."""
FIRST_CODE = 4
"""The code of the first known character; those below say what is no known character."""

_CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)
_CHUNK = 0x2000
_CROWD = 2000
_FENCE = "\uab30"
"""A letter that nothing else is normalized to. It stands on both sides of a character, so that what
the character does to its neighbours shows."""

Pieces: TypeAlias = tuple[tuple[str, bool], ...]
"""Normalized characters, each with whether it is a word of its own; a space is ``(" ", True)``."""


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Characters, symbols and codes.

    Args:
        symbols: Of single characters.
        classes: Of characters by the thousand, such as ideographs that the vocabulary lacks: a
            regular expression that matches one of them, and the symbol of all of them.
        common: The symbol of all others: most code points stand for no known letter.
        table: int32 (symbols, 1 + W): the code of the character as it stands in the text, then the
            codes that the normalizer makes of it, filled up with :data:`DROPPED`.
        raw: Codes of characters as they stand in the text; only added tokens read them.
        letters: Codes of normalized characters that are part of a word.
        alone: Codes of normalized characters that are words of their own.
        size: One above the largest code.
    """

    symbols: dict[str, int]
    classes: tuple[tuple[str, int], ...]
    common: int
    table: NDArray[np.int32]
    raw: dict[str, int]
    letters: dict[str, int]
    alone: dict[str, int]
    size: int

    @property
    def words_of_their_own(self) -> list[int]:
        """Codes of characters that neither go on with a word nor are gone on with."""
        return [UNKNOWN_ALONE, *self.alone.values()]


def make_alphabet(
    tokenizer: tokenizers.Tokenizer, known: Iterable[str], raw: Iterable[str]
) -> Alphabet:
    """Ask a tokenizer what it makes of every character.

    Args:
        tokenizer: With a normalizer that looks at one character at a time.
        known: Normalized characters that pieces of the vocabulary hold.
        raw: Characters that added tokens hold as they stand in the text.

    Raises:
        TokenizerError: The tokenizer's answer depends on a character's neighbours.
    """
    known, raw = set(known), set(raw)
    _refuse_reordered(tokenizer, known)
    letters: dict[str, int] = {}
    alone: dict[str, int] = {}
    raw_codes = {character: index for index, character in enumerate(sorted(raw), FIRST_CODE)}
    next_code = FIRST_CODE + len(raw_codes)
    rows: dict[tuple[int, ...], int] = {(DROPPED,): 0}  # symbol 0 leaves nothing
    symbols: dict[str, int] = {}
    for character, pieces in _meanings(tokenizer):
        codes = [raw_codes.get(character, DROPPED)]
        for piece, stands_alone in pieces:
            if piece == " ":
                codes.append(SPACE)
            elif piece not in known:
                codes.append(UNKNOWN_ALONE if stands_alone else UNKNOWN)
            else:
                places = alone if stands_alone else letters
                if piece not in places:
                    places[piece] = next_code
                    next_code += 1
                codes.append(places[piece])
        symbols[character] = rows.setdefault(tuple(codes), len(rows))
    (common, _), *others = Counter(symbols.values()).most_common()
    crowded = [symbol for symbol, count in others if count >= _CROWD]
    width = max(map(len, rows))
    table = np.zeros((len(rows), width), np.int32)
    for row, symbol in rows.items():
        table[symbol, : len(row)] = row
    rare = {
        character: symbol
        for character, symbol in symbols.items()
        if symbol != common and symbol not in crowded
    }
    classes = tuple(
        (_pattern(character for character in symbols if symbols[character] == symbol), symbol)
        for symbol in crowded
    )
    return Alphabet(rare, classes, common, table, raw_codes, letters, alone, next_code)


def _pattern(characters: Iterable[str]) -> str:
    """A regular expression of ranges, as RE2 reads it."""
    points = sorted(map(ord, characters))
    starts = [point for before, point in pairwise([-2, *points]) if point != before + 1]
    ends = [point for point, after in pairwise([*points, _CODE_POINTS + 1]) if after != point + 1]
    ranges = zip(starts, ends, strict=True)
    return "[" + "".join(f"\\x{{{start:X}}}-\\x{{{end:X}}}" for start, end in ranges) + "]"


def _meanings(tokenizer: tokenizers.Tokenizer) -> Iterator[tuple[str, Pieces]]:
    """Every code point, with what becomes of it between two letters."""
    for start in range(0, _CODE_POINTS, _CHUNK):
        points = (point for point in range(start, start + _CHUNK) if point not in _SURROGATES)
        characters = [chr(point) for point in points]
        text = " ".join(f"{_FENCE}{character}{_FENCE}" for character in characters)
        if tokenizer.normalizer is not None:
            text = tokenizer.normalizer.normalize_str(text)
        words = iter([word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)])
        for character in characters:
            yield character, _read_pieces(words)
        if next(words, None) is not None:
            raise _refuse_context()


def _read_pieces(words: Iterator[str]) -> Pieces:
    """Read what stands between the next two fences."""
    first = next(words, "")
    if not first.startswith(_FENCE):
        raise _refuse_context()
    if first != _FENCE:
        if not first.endswith(_FENCE):
            raise _refuse_context()
        return tuple([(letter, False) for letter in first[1:-1]])
    alone = []
    while (word := next(words, "")) != _FENCE:
        if len(word) != 1:
            raise _refuse_context()
        alone.append((word, True))
    return tuple(alone) or ((" ", True),)


def _refuse_context() -> TokenizerError:
    return refuse("normalizer", "one that looks at one character at a time", "another")


def _refuse_reordered(tokenizer: tokenizers.Tokenizer, known: Iterable[str]) -> None:
    """Refuse marks that a decomposition may put into another order and does not remove."""
    for character in known:
        if unicodedata.combining(character) and unicodedata.category(character) != "Mn":
            normalizer = tokenizer.normalizer
            if normalizer is not None and normalizer.normalize_str(character):
                raise refuse(
                    "vocabulary", "no mark that normalization reorders", f"U+{ord(character):04X}"
                )
