"""How much a service takes at once; the numbers of Text Embeddings Inference."""

from __future__ import annotations

from dataclasses import dataclass, fields

from bert_export.runtime.checks import check_whole

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may be, and how many wait.

    Args:
        queue: Requests that one bundle holds at most; more get 429.
        items: Texts or records of a request at most; more get 413.
        tokens: Tokens of a request's rows at most; more get 413.
        characters: Of a text at most; more get 413.
        body_bytes: Of a request's body at most; more get 413.
        body_seconds: In which a body must have come; a slower client gets 408.

    Raises:
        InputError: One is no whole number of at least 1.
    """

    queue: int = 512
    items: int = 32
    tokens: int = 16_384
    characters: int = 100_000
    body_bytes: int = 2_000_000
    body_seconds: int = 60

    def __post_init__(self) -> None:
        for each in fields(self):
            check_whole(each.name, getattr(self, each.name), least=1)
