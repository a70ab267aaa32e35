"""Both heads of pre-training in one pass: the masked words and the next sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from bert_export.runtime.batching import Row
from bert_export.runtime.checks import or_default
from bert_export.runtime.decoding.labels import judge_next_sentence
from bert_export.runtime.decoding.masks import (
    Candidates,
    describe_candidates,
    find_candidates,
)
from bert_export.runtime.pipelines.fill_mask import check_top_k
from bert_export.runtime.pipelines.text_pairs import TextPairPipeline
from bert_export.runtime.pipelines.texts import CUT, Tokenization
from bert_export.runtime.sessions.session import Outputs
from bert_export.tasks.pretraining import TASK, PretrainingPostProcessing

__all__ = ["PretrainingPipeline", "PretrainingResult", "PretrainingSettings"]


@dataclass(frozen=True, slots=True)
class PretrainingSettings:
    """A call's choices.

    Args:
        top_k: Candidates per mask.
        tokenization: Truncation.
    """

    top_k: int
    tokenization: Tokenization


@dataclass(frozen=True, slots=True)
class PretrainingResult:
    """What is kept of a row's outputs.

    Args:
        candidates: The best tokens of every mask.
        next_sentence: Logits, float32 (2,).
    """

    candidates: Candidates
    next_sentence: NDArray[np.float32]


class PretrainingPipeline(TextPairPipeline[PretrainingResult, PretrainingSettings]):
    """Fills the masks of a pair of texts and judges whether the second follows the first."""

    definition = TASK
    parameters: PretrainingPostProcessing

    def __call__(
        self,
        inputs: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
        *,
        text: str | None = None,
        text_pair: str | None = None,
        top_k: int | UnsetType = UNSET,
        batch_size: int | None = None,
    ) -> Any:
        """Answer both questions of pre-training.

        Args:
            inputs: A mapping with ``text`` and ``text_pair``, a list of mappings, or any other
                iterable of them.
            text: The first text of one pair, instead of ``inputs``; masks may stand in either.
            text_pair: The second.
            top_k: Candidates per mask; as the bundle says, as a rule 5, when left out.
            batch_size: Rows per graph call at most.

        Returns:
            ``{"next_sentence": {"is_next", "score"}, "masks": [...]}`` per pair, ``masks`` with one
            list of candidates per mask, each as fill-mask gives it; a list of them for a list, an
            iterator for another iterable.

        Raises:
            InputError: A text is missing or no string, the pair is too long (cutting it could lose
                a mask), or ``top_k`` does not fit the vocabulary.
        """
        settings = replace(
            self.defaults,
            top_k=check_top_k(or_default(top_k, self.parameters.top_k)),
        )
        return self.respond_to_records(
            inputs, settings, batch_size=batch_size, text=text, text_pair=text_pair
        )

    def default_settings(self) -> PretrainingSettings:
        """As many candidates per mask as the bundle says."""
        return PretrainingSettings(self.parameters.top_k, Tokenization(self.parameters.truncation))

    def dataset_settings(self) -> PretrainingSettings:
        """As a call that cuts long text."""
        return replace(self.defaults, tokenization=CUT)

    def reduce(
        self, row: Row, outputs: Outputs, settings: PretrainingSettings
    ) -> PretrainingResult:
        """The best tokens of the masks and the next-sentence logits; logits (S, V) are not kept."""
        return PretrainingResult(
            find_candidates(
                row.input_ids,
                outputs["prediction_logits"],
                mask_id=self.tokenizer.required_mask_id,
                top_k=settings.top_k,
            ),
            outputs["seq_relationship_logits"],
        )

    def decode(
        self,
        item: tuple[str, str],
        rows: Sequence[Row],
        reduced: Sequence[PretrainingResult],
        settings: PretrainingSettings,
    ) -> dict[str, Any]:
        """Both answers."""
        return {
            "next_sentence": judge_next_sentence(reduced[0].next_sentence),
            "masks": describe_candidates(
                rows[0].input_ids,
                reduced[0].candidates,
                pad_id=self.tokenizer.pad_id,
                spell=self.tokenizer.spell,
            ),
        }
