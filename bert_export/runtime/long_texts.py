"""The beginning of a text that is far longer than a row, instead of all of it.

The ``tokenizers`` library tokenizes a text whole before it cuts it to a row: a million characters
take seconds, of which a row of 512 tokens shows the first thousands. BERT splits texts at spaces,
and what it makes of a word depends on no other word. So the tokens of a text up to a space are the
first tokens of the whole, with the same places, and where they are more than the row takes, the row
is the same. Two kinds of text are left whole: of tokenizers that split otherwise, and of which the
end counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tokenizers
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

__all__ = ["Prepared", "shorten", "splits_at_spaces"]

Prepared: TypeAlias = str | tuple[str, str] | list[str]
"""A text, a pair of texts, or the words of a text that is split already."""

Count: TypeAlias = Callable[[str | list[str]], int]
"""How many tokens a text has, without special tokens."""

_CHARACTERS = 16
"""Per token of the row: a text of so many is tokenized whole."""

_WORDS = 2
"""The same for words."""

_GROWTH = 4


def splits_at_spaces(backend: tokenizers.Tokenizer) -> bool:
    """Whether tokens before a space are the same whatever follows it."""
    added = backend.get_added_tokens_decoder().values()
    return (
        isinstance(backend.model, WordPiece)
        and isinstance(backend.pre_tokenizer, BertPreTokenizer)
        and isinstance(backend.normalizer, BertNormalizer | None)
        and not any(character.isspace() for token in added for character in token.content)
    )


def shorten(text: Prepared, room: int, count: Count, *, longest_first: bool) -> Prepared:
    """A text that is cut to the same row.

    Args:
        text: That fills a row from its beginning.
        room: Tokens of the row, without special tokens.
        count: Counts tokens.
        longest_first: Whether both texts of a pair are cut.

    Returns:
        The text, or so much of its beginning that it has more tokens than there is room for.
    """
    if isinstance(text, list):
        return _first_words(text, room, count)
    if isinstance(text, str):
        return _beginning(text, room, count)
    first, second = text
    if not longest_first:
        return _beginning(first, room, count), _beginning(second, room, count)
    # Where both are cut and the room is odd, the longer one gets the odd token: then the beginning
    # of one must have more tokens than all of the other, and beginnings of both do not tell.
    threshold = _CHARACTERS * (room + 1)
    if len(first) > threshold and len(second) > threshold:
        return (
            text if room % 2 else (_beginning(first, room, count), _beginning(second, room, count))
        )
    if len(first) > threshold:
        return _beginning(first, max(room, count(second)), count), second
    if len(second) > threshold:
        return first, _beginning(second, max(room, count(first)), count)
    return text


def _beginning(text: str, room: int, count: Count) -> str:
    """So much of a text, up to a space, that it has more tokens than ``room``; or all of it."""
    size = _CHARACTERS * (room + 1)
    if size >= len(text) or not _is_unicode(text):
        return text
    while size < len(text):
        end = text.rfind(" ", size // 2, size)
        if end > 0 and count(text[:end]) > room:
            return text[:end]
        size *= _GROWTH
    return text


def _first_words(words: list[str], room: int, count: Count) -> list[str]:
    """The same of words."""
    size = _WORDS * (room + 1)
    if size >= len(words) or not all(map(_is_unicode, words)):
        return words
    while size < len(words):
        if count(words[:size]) > room:
            return words[:size]
        size *= _GROWTH
    return words


def _is_unicode(text: str) -> bool:
    """Whether the library takes a text; what is refused must be so whatever its beginning is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
