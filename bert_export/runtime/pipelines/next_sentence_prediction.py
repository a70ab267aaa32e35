"""Whether the second text follows the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.runtime.batching import Row
from bert_export.runtime.decoding.labels import judge_next_sentence
from bert_export.runtime.pipelines.text_pairs import TextPairPipeline
from bert_export.runtime.pipelines.texts import Tokenization
from bert_export.runtime.sessions.session import Outputs
from bert_export.tasks.next_sentence_prediction import (
    TASK,
    NextSentencePredictionPostProcessing,
)

__all__ = [
    "NextSentencePredictionPipeline",
    "NextSentencePredictionSettings",
]


@dataclass(frozen=True, slots=True)
class NextSentencePredictionSettings:
    """A call has nothing to choose; pairs are cut as the bundle says."""

    tokenization: Tokenization


class NextSentencePredictionPipeline(
    TextPairPipeline[NDArray[np.float32], NextSentencePredictionSettings]
):
    """Judges pairs of texts."""

    definition = TASK
    parameters: NextSentencePredictionPostProcessing

    def __call__(
        self,
        inputs: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
        *,
        text: str | None = None,
        text_pair: str | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Judge whether ``text_pair`` follows ``text``.

        Args:
            inputs: A mapping with both, a list of mappings, or any other iterable of them.
            text: The first text of one pair, instead of ``inputs``.
            text_pair: The second. A pair that is too long is cut, the longer text first.
            batch_size: Rows per graph call at most.

        Returns:
            ``{"is_next": bool, "score": probability that it is}`` per pair; a list of them for a
            list, an iterator for another iterable.

        Raises:
            InputError: A text is missing or no string.
        """
        return self.respond_to_records(
            inputs, self.defaults, batch_size=batch_size, text=text, text_pair=text_pair
        )

    def default_settings(self) -> NextSentencePredictionSettings:
        """The only settings."""
        return NextSentencePredictionSettings(Tokenization(self.parameters.truncation))

    def reduce(
        self, row: Row, outputs: Outputs, settings: NextSentencePredictionSettings
    ) -> NDArray[np.float32]:
        """The pair's logits, float32 (2,)."""
        return outputs["logits"]

    def decode(
        self,
        item: tuple[str, str],
        rows: Sequence[Row],
        reduced: Sequence[NDArray[np.float32]],
        settings: NextSentencePredictionSettings,
    ) -> dict[str, Any]:
        """The verdict."""
        return judge_next_sentence(reduced[0])
