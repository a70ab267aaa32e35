"""One vector per text: prompts before the graph, truncation and normalization after it.

Pooling and dense layers are inside the graph. What is left here follows sentence-transformers'
``encode``: the prompt is written before the text, the vector is cut to ``truncate_dim`` and only
then normalized.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.runtime.batching import Row
from bert_export.runtime.checks import check_flag, check_whole
from bert_export.runtime.decoding.embeddings import finish_vectors, pooling_mask
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import (
    Tokenization,
    check_text,
    encode_texts,
    field,
    text_items,
)
from bert_export.runtime.sessions.session import Outputs
from bert_export.tasks.sentence_embedding import (
    POOLING_MASK,
    TASK,
    SentenceEmbeddingPostProcessing,
)

__all__ = [
    "SentenceEmbeddingPipeline",
    "SentenceEmbeddingSettings",
    "choose_prompt",
]


@dataclass(frozen=True, slots=True)
class SentenceEmbeddingSettings:
    """A call's choices.

    Args:
        prompt: Written before every text.
        truncate_dim: Numbers that a vector keeps; all when ``None``.
        normalize: Whether vectors are scaled to length 1 after that.
    """

    prompt: str = ""
    truncate_dim: int | None = None
    normalize: bool = False


def choose_prompt(
    parameters: SentenceEmbeddingPostProcessing, prompt: str | None, prompt_name: str | None
) -> str:
    """The text to write before every sentence: the given one, the named one, or the default's.

    Raises:
        InputError: No prompt is called so, or ``prompt`` is no string.
    """
    if prompt is not None:
        if prompt_name is not None:
            warnings.warn(
                f"prompt_name {prompt_name!r} is ignored because prompt is given", stacklevel=3
            )
        return check_text(prompt, "prompt")
    if prompt_name is not None:
        if check_text(prompt_name, "prompt_name") not in parameters.prompts:
            raise InputError(
                f"prompt {prompt_name!r} is unknown",
                expected=f"one of {', '.join(parameters.prompts)}"
                if parameters.prompts
                else "a bundle with prompts",
                got=repr(prompt_name),
                fix="Pass the text itself as prompt",
            )
        return parameters.prompts[prompt_name]
    return parameters.prompts.get(parameters.default_prompt_name or "", "")


class SentenceEmbeddingPipeline(Pipeline[str, NDArray[np.float32], SentenceEmbeddingSettings]):
    """Embeds texts as sentence-transformers' ``encode`` does."""

    definition = TASK
    parameters: SentenceEmbeddingPostProcessing

    @property
    def dimension(self) -> int:
        """Length of the graph's vectors."""
        return cast("int", self._session.outputs[0].shape[-1])

    def __call__(
        self,
        inputs: str | Iterable[str],
        *,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts; longer ones are cut at the tokenizer's limit.

        Args:
            inputs: A text, or any iterable of texts.
            normalize: Whether vectors are scaled to length 1 after truncation; what the graph says
                when ``None``.
            truncate_dim: Numbers that a vector keeps.
            prompt: Written before every text; the model's default prompt when ``None``.
            prompt_name: Names one of the model's prompts instead.
            batch_size: Rows per graph call at most.

        Returns:
            float32 (n, D), in the order of the texts; (D,) for a single text.

        Raises:
            InputError: A text is no string, a prompt is unknown, or ``normalize=False`` is asked of
                a graph that normalizes.
        """
        settings = self.settings(
            normalize=normalize, truncate_dim=truncate_dim, prompt=prompt, prompt_name=prompt_name
        )
        single, items = text_items(inputs)
        texts = list(items)
        raw = replace(settings, truncate_dim=None, normalize=False)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for index, vector in enumerate(self.answers(texts, raw, batch_size=batch_size)):
            vectors[index] = vector
        finished = finish_vectors(
            vectors, truncate_dim=settings.truncate_dim, normalize=settings.normalize
        )
        return cast("NDArray[np.float32]", finished[0]) if single else finished

    def stream(
        self,
        inputs: Iterable[str],
        *,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Embed texts as they are read: vectors (D,) one by one, in bounded memory.

        The arguments are those of a call; ``inputs`` may be endless.
        """
        settings = self.settings(
            normalize=normalize, truncate_dim=truncate_dim, prompt=prompt, prompt_name=prompt_name
        )
        single, items = text_items(inputs)
        if single:
            raise InputError(
                "inputs are of the wrong type",
                expected="an iterable of texts",
                got="a single text",
                fix="Call the pipeline itself",
            )
        return self.answers(items, settings, batch_size=batch_size)

    def settings(
        self,
        *,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
    ) -> SentenceEmbeddingSettings:
        """Check a call's arguments against the bundle; see :meth:`__call__`."""
        scaled = check_flag("normalize", normalize) if normalize is not None else None
        if scaled is False and self.parameters.normalize:
            raise InputError(
                "normalize=False does not fit the bundle",
                expected="True or None",
                got="a graph that ends in a normalization",
                fix="Export the checkpoint without its Normalize module",
            )
        return SentenceEmbeddingSettings(
            choose_prompt(self.parameters, prompt, prompt_name),
            self.parameters.truncate_dim
            if truncate_dim is None
            else check_whole("truncate_dim", truncate_dim, least=1),
            bool(scaled),
        )

    def item(self, record: Mapping[str, Any]) -> str:
        """The record's ``text`` (of a scored pair, the first; embed ``text_pair`` as its own)."""
        return check_text(field(record, "text"))

    def default_settings(self) -> SentenceEmbeddingSettings:
        """The model's default prompt, the whole vector as the graph gives it."""
        return self.settings()

    def encode_items(
        self, items: Sequence[str], settings: SentenceEmbeddingSettings
    ) -> list[list[Row]]:
        """One row per text, with its ``pooling_mask`` where the graph takes one."""
        texts = [f"{settings.prompt}{check_text(item)}" for item in items]
        rows = encode_texts(self.tokenizer, texts, self._tokenization)
        if self.parameters.include_prompt:
            return [[row] for row in rows]
        skipped = self._prompt_tokens(settings.prompt)
        return [
            [replace(row, extra={POOLING_MASK: pooling_mask(len(row), skipped)})] for row in rows
        ]

    def reduce(
        self, row: Row, outputs: Outputs, settings: SentenceEmbeddingSettings
    ) -> NDArray[np.float32]:
        """The row's vector, float32 (D,)."""
        return cast("NDArray[np.float32]", outputs["sentence_embedding"])

    def decode(
        self,
        item: str,
        rows: Sequence[Row],
        reduced: Sequence[NDArray[np.float32]],
        settings: SentenceEmbeddingSettings,
    ) -> NDArray[np.float32]:
        """The vector, cut and scaled as asked."""
        return finish_vectors(
            reduced[0], truncate_dim=settings.truncate_dim, normalize=settings.normalize
        )

    @property
    def _tokenization(self) -> Tokenization:
        return Tokenization(self.parameters.truncation)

    def _prompt_tokens(self, prompt: str) -> int:
        """Tokens that a prompt takes up at a row's start, ``[CLS]`` included; 0 without a prompt.

        Source: sentence-transformers, which counts the row of the prompt alone, less its ``[SEP]``:
        a word that prompt and text would share counts as the prompt alone splits.
        """
        if not prompt:
            return 0
        (row,) = encode_texts(self.tokenizer, [prompt], self._tokenization)
        return len(row) - 1
