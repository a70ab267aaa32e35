"""CoNLL files: a word a line in columns, the tag in the last one, sentences between blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bert_export.datasets.opening import read_lines
from bert_export.datasets.table import Table
from bert_export.errors import DatasetError, shown

__all__ = ["looks_like_conll", "read_conll"]

_DOCUMENT = "-DOCSTART-"
_TAG = re.compile(r"O|[BIESLUM]-.+")
_HEAD_LINES = 200


def read_conll(path: Path) -> Table:
    """Sentences as ``tokens`` and ``tags``; the number is that of the first word's line.

    Columns stand between tabs, or between spaces where a line has no tab. The first is the word,
    the last its tag; a file with one column has no tags. A line with ``-DOCSTART-`` ends a
    sentence, and a line that begins with ``#`` and holds no word is a comment.
    """
    return Table(_sentences(path), "line")


def looks_like_conll(path: Path) -> bool:
    """Whether the first lines of a file are words with tags such as ``O`` and ``B-x``."""
    try:
        words = [
            columns
            for _, line in islice(read_lines(path), _HEAD_LINES)
            if (columns := _columns(line)) and not _is_mark(columns)
        ]
    except DatasetError:
        return False  # whoever reads the file says what is wrong with it
    words = [columns for columns in words if not columns[0].startswith("#") or _has_tag(columns)]
    return bool(words) and all(map(_has_tag, words))


def _sentences(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    begin, words = 0, list[Sequence[str]]()
    width: int | None = None  # columns of a word's line
    for number, line in read_lines(path):
        columns = _columns(line)
        if not columns or _is_mark(columns):
            if words:
                yield begin, _sentence(words)
            words = []
            continue
        if columns[0].startswith("#") and not _is_word(columns, width):
            continue
        width = width or len(columns)
        if len(columns) != width:
            raise DatasetError(
                f"data file {path} line {number} does not fit the lines before",
                expected=f"{width} columns, the word first and its tag last",
                got=f"{len(columns)}, {shown(line.rstrip())}",
            )
        begin = begin if words else number
        words.append(columns)
    if words:
        yield begin, _sentence(words)


def _columns(line: str) -> list[str]:
    """The columns of a line, none of a blank one. Other white space may be part of a word."""
    line = line.rstrip("\r\n")
    if not line.strip():
        return []
    if "\t" in line:
        return line.rstrip("\t ").split("\t")
    return [column for column in line.split(" ") if column]


def _sentence(words: Sequence[Sequence[str]]) -> dict[str, Any]:
    tokens = [columns[0] for columns in words]
    if len(words[0]) == 1:
        return {"tokens": tokens}
    return {"tokens": tokens, "tags": [columns[-1] for columns in words]}


def _is_mark(columns: Sequence[str]) -> bool:
    return columns[0] == _DOCUMENT


def _has_tag(columns: Sequence[str]) -> bool:
    return len(columns) > 1 and _TAG.fullmatch(columns[-1]) is not None


def _is_word(columns: Sequence[str], width: int | None) -> bool:
    """Whether a line that begins with ``#`` is a word, such as a hashtag, and no comment."""
    if width is None:
        return _has_tag(columns)
    return len(columns) == width and (_has_tag(columns) or columns[0] != "#")
