"""The encoder's vector of every token, as the upstream ``feature-extraction`` pipeline gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.runtime.batching import Row
from bert_export.runtime.checks import check_flag, check_mapping
from bert_export.runtime.pipelines.inputs import check_text, field, text_items
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import CUT, Tokenization, encode_texts
from bert_export.runtime.sessions.session import Outputs
from bert_export.tasks.feature_extraction import TASK, FeatureExtractionPostProcessing

__all__ = ["FeatureExtractionPipeline", "FeatureExtractionSettings"]


@dataclass(frozen=True, slots=True)
class FeatureExtractionSettings:
    """A call's choices.

    Args:
        tokenization: Truncation, its length and special tokens.
        return_arrays: Whether an answer is an array (S, H) instead of nested lists (1, S, H).
    """

    tokenization: Tokenization
    return_arrays: bool = False


class FeatureExtractionPipeline(Pipeline[str, NDArray[np.float32], FeatureExtractionSettings]):
    """Token vectors of the last layer, special tokens included."""

    definition = TASK
    parameters: FeatureExtractionPostProcessing

    def __call__(
        self,
        inputs: str | Iterable[str],
        *,
        truncation: bool | str | None = None,
        tokenize_kwargs: Mapping[str, Any] | None = None,
        return_arrays: bool = False,
        batch_size: int | None = None,
    ) -> Any:
        """Extract the features of texts.

        Args:
            inputs: A text, a list of texts, or any other iterable of them.
            truncation: Whether a text is cut at the tokenizer's limit; otherwise a longer one is an
                error.
            tokenize_kwargs: ``truncation``, ``max_length`` and ``add_special_tokens``, as upstream.
            return_arrays: Return float32 arrays (S, H), which differ in S, instead of lists.
            batch_size: Rows per graph call at most.

        Returns:
            Per text nested lists (1, S, H) of floats, or one array; a list of them for a list, an
            iterator for another iterable.

        Raises:
            InputError: A text is no string or too long, or an option is unknown.
        """
        options = dict(check_mapping("tokenize_kwargs", tokenize_kwargs))
        if truncation is not None:
            if "truncation" in options:
                raise InputError("truncation is given twice", fix="Leave it out of tokenize_kwargs")
            options["truncation"] = truncation
        single, texts = text_items(inputs)
        return self.respond(
            inputs,
            single=single,
            records=texts,
            read=check_text,
            settings=FeatureExtractionSettings(
                Tokenization.from_options(options, self.defaults.tokenization),
                check_flag("return_arrays", return_arrays),
            ),
            batch_size=batch_size,
        )

    def summary(self) -> dict[str, object]:
        return {**super().summary(), "dimension": self.manifest.model.hidden_size}

    def item(self, record: Mapping[str, Any]) -> str:
        """The record's ``text``."""
        return check_text(field(record, "text"))

    def default_settings(self) -> FeatureExtractionSettings:
        """Lists, not arrays."""
        return FeatureExtractionSettings(Tokenization.from_parameters(self.parameters))

    def dataset_settings(self) -> FeatureExtractionSettings:
        """As a call that cuts long text."""
        return FeatureExtractionSettings(CUT)

    def encode_items(
        self, items: Sequence[str], settings: FeatureExtractionSettings
    ) -> list[list[Row]]:
        """One row per text."""
        rows = encode_texts(
            self.tokenizer,
            items,
            settings.tokenization,
        )
        return [[row] for row in rows]

    def reduce(
        self, row: Row, outputs: Outputs, settings: FeatureExtractionSettings
    ) -> NDArray[np.float32]:
        """The row's vectors, float32 (S, H); a copy, so that the padded batch can be freed."""
        return np.array(outputs["last_hidden_state"], dtype=np.float32)

    def decode(
        self,
        item: str,
        rows: Sequence[Row],
        reduced: Sequence[NDArray[np.float32]],
        settings: FeatureExtractionSettings,
    ) -> NDArray[np.float32] | list[list[list[float]]]:
        """The vectors as they are, or as lists with a batch axis of one."""
        (states,) = reduced  # (S, H)
        return states if settings.return_arrays else [states.tolist()]
