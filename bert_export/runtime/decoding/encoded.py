"""A row as a tokenizer made it, without the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Encoded"]


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
