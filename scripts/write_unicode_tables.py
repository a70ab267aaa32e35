"""Write the Unicode tables of the C++ tokenizer, by asking the installed ``tokenizers``.

No Unicode library agrees with ``tokenizers``, which mixes three versions of the standard: every
code point is therefore put to the library itself. ``python scripts/write_unicode_tables.py`` writes
``bert_export/runtime/cpp/src/text/unicode_tables.cpp``; a test compares the file with the installed
release.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import cache
from itertools import chain
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

__all__ = ["CODE_POINTS", "PATH", "Flag", "Tables", "ask", "render"]

PATH = Path(__file__).parents[1] / "bert_export/runtime/cpp/src/text/unicode_tables.cpp"

CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)
_HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic, in every version of the standard
_BLOCK = 256
_FEW = 256  # characters of a text with an added token for each, which takes the square of that
_ADDED = "[X]"
_BETWEEN = "|"
_LOWEST_CLASS, _HIGHEST_CLASS = "\u0334", "\u0345"  # of combining classes 1 and 240
_STARTER = "a"
_WIDTH = 100

Lengthened = dict[int, tuple[int, ...]]
"""Code points that become others."""


class Flag(IntFlag):
    """What the library does with a code point; the C++ side has the same bits."""

    CONTROL = 1  # clean_text drops it
    BLANK = 2  # clean_text makes a space of it
    WHITESPACE = 4  # splits words, and is stripped beside added tokens
    PUNCTUATION = 8  # is a word of its own
    CHINESE = 16  # handle_chinese_chars puts spaces around it
    NONSPACING_MARK = 32  # strip_accents of BERT's normalizer drops it
    MARK = 64  # the normalizer StripAccents drops it
    WORD = 128  # beside it no token with single_word is found
    DECOMPOSED = 256
    LOWERCASED = 512


@dataclass(frozen=True)
class Tables:
    """What the library says of every code point.

    Args:
        flags: By code point.
        classes: Canonical combining class by code point; 0 where it is not in here.
        decompositions: Full canonical ones, but for Hangul syllables.
        lower_case: Where it differs from the code point.
    """

    flags: Sequence[int]
    classes: dict[int, int]
    decompositions: Lengthened
    lower_case: Lengthened


def ask() -> Tables:
    """Put every code point to the installed library."""
    flags = [0] * CODE_POINTS
    for flag, found in _flagged():
        for code in found:
            flags[code] |= int(flag)
    decompositions = _code_points(_changed(normalizers.NFD().normalize_str))
    lower_case = _code_points(_changed(normalizers.Lowercase().normalize_str))
    for code in decompositions:
        flags[code] |= int(Flag.DECOMPOSED)
    for code in lower_case:
        flags[code] |= int(Flag.LOWERCASED)
    for code in _HANGUL:
        if decompositions.pop(code) != _jamo(code):
            raise SystemExit(f"Hangul syllable {code:04X} is not decomposed by arithmetic")
    return Tables(flags, _combining_classes(), decompositions, lower_case)


def _flagged() -> Iterator[tuple[Flag, list[int]]]:
    """Each flag that one question answers, with the code points that have it."""
    clean = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
    ).normalize_str
    yield Flag.CONTROL, _where(clean, lambda answer: answer == "")
    yield Flag.BLANK, _where(clean, lambda answer: answer == " ")
    chinese = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False
    ).normalize_str
    yield Flag.CHINESE, _where(chinese, lambda answer: len(answer) == 3)
    strip = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
    ).normalize_str
    yield Flag.NONSPACING_MARK, _where(strip, lambda answer: answer == "")
    strip_accents = normalizers.StripAccents().normalize_str
    yield Flag.MARK, _where(strip_accents, lambda answer: answer == "")
    whitespace, punctuation = _pre_tokenized()
    yield Flag.WHITESPACE, whitespace
    yield Flag.PUNCTUATION, punctuation
    if _stripped_beside_added_tokens() != whitespace:
        raise SystemExit("added tokens strip other whitespace than the pre-tokenizer splits on")
    yield Flag.WORD, _words()


@cache
def _characters() -> str:
    """All characters but the one that stands between them in a question, in order."""
    codes = chain(range(_SURROGATES.start), range(_SURROGATES.stop, CODE_POINTS))
    return "".join(map(chr, codes)).replace(_BETWEEN, "")


def _chunks(size: int = 4096) -> Iterator[str]:
    for start in range(0, len(_characters()), size):
        yield _characters()[start : start + size]


def _changed(
    normalize: Callable[[str], str], *, before: str = "", behind: str = ""
) -> dict[int, str]:
    """What a normalizer makes of the code points that it changes, between two others or alone."""

    def asked(character: str) -> str:
        return before + character + behind

    answer = normalize(asked(_BETWEEN))
    changed = {} if answer == asked(_BETWEEN) else {ord(_BETWEEN): answer}
    for chunk in _chunks():
        question = _BETWEEN.join(map(asked, chunk) if before + behind else chunk)
        answers = normalize(_BETWEEN + question).split(_BETWEEN)[1:]
        changed |= {
            ord(character): answer
            for character, answer in zip(chunk, answers, strict=True)
            if answer != asked(character)
        }
    return changed


def _where(normalize: Callable[[str], str], holds: Callable[[str], bool]) -> list[int]:
    return [code for code, answer in _changed(normalize).items() if holds(answer)]


def _code_points(answers: dict[int, str]) -> Lengthened:
    return {code: tuple(map(ord, answer)) for code, answer in answers.items()}


def _pre_tokenized() -> tuple[list[int], list[int]]:
    """What splits words, and what is a word of its own."""
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    whitespace, punctuation = [], [ord(_BETWEEN)]
    for chunk in _chunks():
        text = _STARTER + _STARTER.join(chunk) + _STARTER
        spans = [span for _, span in split(text)]
        covered = {place for start, end in spans for place in range(start, end)}
        alone = {start for start, end in spans if end - start == 1 and start % 2}
        for index, character in enumerate(chunk):
            place = 2 * index + 1
            if place not in covered:
                whitespace.append(ord(character))
            elif place in alone:
                punctuation.append(ord(character))
    return sorted(whitespace), sorted(punctuation)


def _with_added_token(token: AddedToken) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106
    backend.add_tokens([token])
    return backend


def _stripped_beside_added_tokens() -> list[int]:
    """What a token with lstrip takes up."""
    backend = _with_added_token(AddedToken(_ADDED, lstrip=True, normalized=False))
    found = []
    for chunk in _chunks(_FEW):
        encoding = backend.encode("".join(f"{_STARTER}{one}{_ADDED}" for one in chunk))
        spans = [
            span for index, span in zip(encoding.ids, encoding.offsets, strict=True) if index == 1
        ]
        found += [
            ord(one)
            for one, (start, end) in zip(chunk, spans, strict=True)
            if end - start > len(_ADDED)
        ]
    return sorted(found)


def _words() -> list[int]:
    """What a token with single_word may not stand beside."""
    backend = _with_added_token(AddedToken(_ADDED, single_word=True, normalized=False))
    found = [ord(_BETWEEN)] if 1 not in backend.encode(f"{_BETWEEN}{_ADDED} ").ids else []
    for chunk in _chunks(_FEW):
        encoding = backend.encode("".join(f" {one}{_ADDED} " for one in chunk))
        stops = {
            end
            for index, (_, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if index == 1
        }
        length = len(_ADDED) + 3
        found += [
            ord(one) for place, one in enumerate(chunk) if place * length + length - 1 not in stops
        ]
    return sorted(found)


def _combining_classes() -> dict[int, int]:
    """Canonical combining classes, told by how marks change places.

    One mark of every class is a ruler: a mark moves in front of those of higher classes, and those
    of lower ones move in front of it. A class that the library does not know measures nothing.
    """
    order = normalizers.NFD().normalize_str
    least, most = _LOWEST_CLASS, _HIGHEST_CLASS
    lower_first, higher_first = _changed(order, behind=least), _changed(order, before=most)
    marks = sorted(
        {chr(code) for code, answer in lower_first.items() if answer == least + chr(code)}
        | {chr(code) for code, answer in higher_first.items() if answer == chr(code) + most}
    )
    rulers: dict[int, str] = {}
    for mark in marks:
        rulers.setdefault(unicodedata.combining(mark), mark)
    classes = {}
    for mark in marks:
        same = [
            number
            for number, ruler in rulers.items()
            if not _swaps(order, mark, ruler) and not _swaps(order, ruler, mark)
        ]
        if len(same) != 1 or same[0] == 0:
            raise SystemExit(f"the combining class of {ord(mark):04X} is not one of those known")
        classes[ord(mark)] = same[0]
    return classes


def _swaps(order: Callable[[str], str], first: str, second: str) -> bool:
    both = _STARTER + first + second
    return order(both) != both


def _jamo(syllable: int) -> tuple[int, ...]:
    """Leading consonant, vowel and perhaps a final consonant (Unicode, section 3.12)."""
    index = syllable - _HANGUL.start
    parts = (0x1100 + index // 588, 0x1161 + index % 588 // 28, 0x11A7 + index % 28)
    return parts if index % 28 else parts[:2]


def render(tables: Tables) -> str:
    """The C++ file."""
    records = sorted(
        {(flags, tables.classes.get(code, 0)) for code, flags in enumerate(tables.flags)}
    )
    numbers = {record: index for index, record in enumerate(records)}
    kinds = [numbers[flags, tables.classes.get(code, 0)] for code, flags in enumerate(tables.flags)]
    blocks: dict[tuple[int, ...], int] = {}
    places = [
        blocks.setdefault(tuple(kinds[start : start + _BLOCK]), len(blocks))
        for start in range(0, CODE_POINTS, _BLOCK)
    ]
    if max(len(records), len(blocks)) > 256:
        raise SystemExit("the tables need wider indices")
    return "\n".join(
        (
            "// Written by scripts/write_unicode_tables.py; do not edit.",
            f"// Asked of tokenizers {tokenizers.__version__}.",
            "",
            '#include "text/unicode_tables.hpp"',
            "",
            "namespace bert_export::text {",
            "",
            *_array("Properties", "unicode_records", [f"{{{f}, {c}}}" for f, c in records]),
            *_array("std::uint8_t", "unicode_blocks", places),
            *_array("std::uint8_t", "unicode_kinds", [kind for block in blocks for kind in block]),
            *_lengthened("decomposition", tables.decompositions),
            *_lengthened("lower_case", tables.lower_case),
            "}  // namespace bert_export::text",
            "",
        )
    )


def _lengthened(name: str, table: Lengthened) -> list[str]:
    pool: list[int] = []
    entries = []
    for code in sorted(table):
        entries.append(f"{{{code}, {len(pool)}, {len(table[code])}}}")
        pool += table[code]
    return [
        *_array("Mapping", f"{name}_mappings", entries),
        f"const std::size_t {name}_count = {len(entries)};",
        "",
        *_array("char32_t", f"{name}_pool", pool),
    ]


def _array(kind: str, name: str, values: Iterable[object]) -> list[str]:
    lines, line = [f"const {kind} {name}[] = {{"], ""
    for value in values:
        entry = f"{value},"
        if len(line) + len(entry) > _WIDTH:
            lines.append(line)
            line = ""
        line += entry
    return [*lines, line, "};", ""]


def main() -> None:
    """Write the file."""
    PATH.write_text(render(ask()), encoding="utf-8")
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
