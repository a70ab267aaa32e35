"""What the pipelines of pairs of texts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.inputs import check_text, field
from bert_export.runtime.pipelines.pipeline import Pipeline, Reduced
from bert_export.runtime.pipelines.texts import Tokenization, encode_texts

__all__ = ["TextPairPipeline"]


class _Settings(Protocol):
    @property
    def tokenization(self) -> Tokenization: ...


PairSettings = TypeVar("PairSettings", bound=_Settings)


class TextPairPipeline(Pipeline[tuple[str, str], Reduced, PairSettings]):
    """Answers ``text`` and ``text_pair`` of a record, which are one row."""

    def item(self, record: Mapping[str, Any]) -> tuple[str, str]:
        """The record's ``text`` and ``text_pair``.

        Raises:
            InputError: One is missing or no string.
        """
        return (
            check_text(field(record, "text")),
            check_text(field(record, "text_pair"), "text_pair"),
        )

    def encode_items(
        self, items: Sequence[tuple[str, str]], settings: PairSettings
    ) -> list[list[Row]]:
        """One row per pair."""
        return [[row] for row in encode_texts(self.tokenizer, items, settings.tokenization)]
