"""What each character means to a WordPiece tokenizer, found out by asking the tokenizer itself.

A *code* stands for a character after normalization. A *symbol* stands for a character of the text:
it says which codes the normalizer makes of it. Characters that mean the same share a symbol.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bert_export.text_input.characters import CODE_POINTS, ask, characters, combining_classes
from bert_export.text_input.refusals import refuse

__all__ = [
    "DROPPED",
    "FIRST_CODE",
    "GONE",
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

GONE = -1
"""In the place of a combining class: a character that is gone before marks are put in order."""

_CROWD = 2000
_MARK = "Mn"
"""The category of the marks that ``strip_accents`` removes."""


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
        orders: int32 (symbols): the combining class by which decomposition puts marks in order; 0
            for all other characters, :data:`GONE` for those that it never sees.
        raw: Codes of characters as they stand in the text; only added tokens read them.
        letters: Codes of normalized characters that are part of a word.
        alone: Codes of normalized characters that are words of their own.
        size: One above the largest code.
    """

    symbols: dict[str, int]
    classes: tuple[tuple[str, int], ...]
    common: int
    table: NDArray[np.int32]
    orders: NDArray[np.int32]
    raw: dict[str, int]
    letters: dict[str, int]
    alone: dict[str, int]
    size: int

    @property
    def words_of_their_own(self) -> list[int]:
        """Codes of characters that neither go on with a word nor are gone on with."""
        return [UNKNOWN_ALONE, *self.alone.values()]

    @property
    def moving(self) -> NDArray[np.bool_]:
        """Bool (symbols): marks that are put in order and stay in the text."""
        stays: NDArray[np.bool_] = (self.table[:, 1:] != DROPPED).any(axis=1)
        return (self.orders > 0) & stays


def make_alphabet(
    tokenizer: tokenizers.Tokenizer,
    known: Iterable[str],
    raw: Iterable[str],
    *,
    decomposes: bool = False,
) -> Alphabet:
    """Ask a tokenizer what it makes of every character.

    Args:
        tokenizer: With a normalizer that looks at one character at a time, but for the order of
            marks.
        known: Normalized characters that pieces of the vocabulary hold.
        raw: Characters that added tokens hold as they stand in the text.
        decomposes: Whether marks are put in order and the order is asked for.

    Raises:
        TokenizerError: The tokenizer's answer depends on a character's neighbours.
    """
    known, raw = set(known), set(raw)
    _refuse_reordered(tokenizer, known)
    classes = combining_classes() if decomposes else {}
    letters: dict[str, int] = {}
    alone: dict[str, int] = {}
    raw_codes = {character: index for index, character in enumerate(sorted(raw), FIRST_CODE)}
    next_code = FIRST_CODE + len(raw_codes)

    def code_of(piece: str, *, stands_alone: bool) -> int:
        nonlocal next_code
        if piece == " ":
            return SPACE
        if piece not in known:
            return UNKNOWN_ALONE if stands_alone else UNKNOWN
        places = alone if stands_alone else letters
        if piece not in places:
            places[piece] = next_code
            next_code += 1
        return places[piece]

    gone = GONE if decomposes else 0
    rows: dict[tuple[int, ...], int] = {(gone, DROPPED): 0}  # symbol 0 leaves nothing
    answers = ask(tokenizer)
    symbols = np.zeros(CODE_POINTS, np.int32)
    symbols[answers.plain] = rows.setdefault((0, DROPPED, UNKNOWN), len(rows))
    named = dict.fromkeys((*known, *raw, *_standing_marks(classes), *answers.pieces))
    for character in named:
        plain = answers.plain[ord(character)]
        pieces = ((character, False),) if plain else answers.pieces.get(character, ())
        stands = pieces or unicodedata.category(character) == _MARK
        order = classes.get(character, 0 if stands else gone)
        codes = [code_of(piece, stands_alone=stands_alone) for piece, stands_alone in pieces]
        row = (order, raw_codes.get(character, DROPPED), *codes)
        symbols[ord(character)] = rows.setdefault(row, len(rows))
    table = np.zeros((len(rows), max(2, max(map(len, rows)) - 1)), np.int32)
    for row, symbol in rows.items():
        table[symbol, : len(row) - 1] = row[1:]
    # Few characters are named one by one: most are like most others, or like thousands.
    counts = np.bincount(symbols, minlength=len(rows))
    common, *crowded = [int(symbol) for symbol in np.argsort(-counts) if counts[symbol] >= _CROWD]
    rare = np.flatnonzero(~np.isin(symbols, [common, *crowded]))
    return Alphabet(
        symbols={chr(point): int(symbols[point]) for point in rare},
        classes=tuple((_pattern(np.flatnonzero(symbols == symbol)), symbol) for symbol in crowded),
        common=common,
        table=table,
        orders=np.array([row[0] for row in rows], np.int32),
        raw=raw_codes,
        letters=letters,
        alone=alone,
        size=next_code,
    )


def _standing_marks(classes: Mapping[str, int]) -> Iterator[str]:
    """Characters that may leave nothing, and yet marks are put in order around them."""
    if classes:
        yield from classes
        yield from (letter for letter in characters() if unicodedata.category(letter) == _MARK)


def _pattern(points: NDArray[np.int64]) -> str:
    """A regular expression of ranges, as RE2 reads it."""
    starts = [point for before, point in pairwise([-2, *points]) if point != before + 1]
    ends = [point for point, after in pairwise([*points, CODE_POINTS + 1]) if after != point + 1]
    ranges = zip(starts, ends, strict=True)
    return "[" + "".join(f"\\x{{{start:X}}}-\\x{{{end:X}}}" for start, end in ranges) + "]"


def _refuse_reordered(tokenizer: tokenizers.Tokenizer, known: Iterable[str]) -> None:
    """Refuse marks that a decomposition may put into another order and does not remove."""
    for character in known:
        if unicodedata.combining(character) and unicodedata.category(character) != "Mn":
            normalizer = tokenizer.normalizer
            if normalizer is not None and normalizer.normalize_str(character):
                raise refuse(
                    "vocabulary", "no mark that normalization reorders", f"U+{ord(character):04X}"
                )
