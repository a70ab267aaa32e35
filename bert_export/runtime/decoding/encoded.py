"""A row as a tokenizer made it, without the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Encoded", "TokenLists"]

TokenLists: TypeAlias = tuple[list[str], list[int], list[int], list[int], list[bool]]
"""Words, first and last characters, positions in the row, and whether each continues a word."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What a tokenizer says of the S tokens of a row.

    Args:
        ids: Token ids.
        type_ids: 0 for the first text and its special tokens, 1 for the second's.
        tokens: Texts of the tokens, as the vocabulary has them.
        offsets: First character of the text that a token covers, and the one behind its last; both
            0 for a special token. They count in the token's own text, or word where it came split.
        word_ids: Which word of its text a token belongs to; ``None`` for a special token.
        sequence_ids: Which text a token belongs to, 0 or 1; ``None`` for a special token.
        special_tokens_mask: 1 for a token that the tokenizer added, 0 for any other.
        overflowing: What was cut off, as windows of the same form; of a text that is far longer
            than the row, the beginning of that.
    """

    ids: Sequence[int]
    type_ids: Sequence[int]
    tokens: Sequence[str]
    offsets: Sequence[tuple[int, int]]
    word_ids: Sequence[int | None]
    sequence_ids: Sequence[int | None]
    special_tokens_mask: Sequence[int]
    overflowing: Sequence[Encoded] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.ids)

    def read_tokens(self, text: str, *, prefixed: bool, unk_id: int | None) -> TokenLists | None:
        """What :func:`bert_export.runtime.decoding.entities.read_tokens` reads of an unsplit text.

        Args:
            text: What was encoded.
            prefixed: Whether the tokenizer puts a prefix before a token that continues a word.
            unk_id: Id of ``[UNK]``; ``None`` where the tokenizer has none.

        Returns:
            ``None`` where the fields are all that there is to read from.
        """
        return None
