"""Text continued token by token by a causal BERT.

Every step runs the graph over all tokens so far (there is no cache): simple, and exact. Prompts of
like length are continued together, padded on the right, which the causal mask makes harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.runtime.batching import Row
from bert_export.runtime.checks import (
    check_flag,
    check_number,
    check_whole,
    check_whole_or_none,
    or_default,
)
from bert_export.runtime.decoding.sampling import (
    Sampling,
    added_text,
    draw_token,
    filter_logits,
)
from bert_export.runtime.pipelines.inputs import check_text, field, text_items
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import CUT, Tokenization, encode_texts
from bert_export.runtime.sessions.session import Outputs
from bert_export.tasks.text_generation import TASK, TextGenerationPostProcessing

__all__ = ["TextGenerationPipeline", "TextGenerationSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGenerationSettings:
    """A call's choices.

    Args:
        max_new_tokens: Tokens that a prompt grows by at most.
        sampling: How tokens are drawn; the likeliest is taken when ``None``.
        return_full_text: Whether the answer starts with the prompt.
        tokenization: Truncation of the prompt.
    """

    max_new_tokens: int
    sampling: Sampling | None
    return_full_text: bool
    tokenization: Tokenization


class TextGenerationPipeline(Pipeline[str, NDArray[np.int64], TextGenerationSettings]):
    """Continues prompts until ``[SEP]``, ``max_new_tokens`` or the tokenizer's limit."""

    definition = TASK
    parameters: TextGenerationPostProcessing

    def __call__(
        self,
        inputs: str | Iterable[str],
        *,
        max_new_tokens: int | UnsetType = UNSET,
        do_sample: bool | UnsetType = UNSET,
        temperature: float | UnsetType = UNSET,
        top_k: int | UnsetType = UNSET,
        top_p: float | UnsetType = UNSET,
        seed: int | None = None,
        return_full_text: bool | UnsetType = UNSET,
        batch_size: int | None = None,
    ) -> Any:
        """Continue texts. What is left out is as the bundle says, its ``postprocessing``.

        Args:
            inputs: A prompt, a list of prompts, or any other iterable of them.
            max_new_tokens: Tokens that a prompt grows by at most; the tokenizer's limit may end it
                sooner.
            do_sample: Draw tokens at random instead of taking the likeliest; the next four matter
                only then.
            temperature: Above 1 flattens, below 1 sharpens the distribution.
            top_k: Draw among that many of the likeliest tokens; 0 for all.
            top_p: Draw among the likeliest tokens that together reach this probability.
            seed: Makes an answer repeatable, whichever prompts surround it.
            return_full_text: Whether an answer starts with its prompt.
            batch_size: Prompts that are continued together at most.

        Returns:
            ``[{"generated_text": ...}]`` per prompt; a list of them for a list, an iterator for
            another iterable.

        Raises:
            InputError: A prompt is no string or leaves no room for a token, or an option is out of
                range.
        """
        own = self.parameters
        longest = check_whole(
            "max_new_tokens", or_default(max_new_tokens, own.max_new_tokens), least=1
        )
        drawn = Sampling(
            temperature=check_number("temperature", or_default(temperature, own.temperature)),
            top_k=check_whole("top_k", or_default(top_k, own.top_k), least=0),
            top_p=check_number("top_p", or_default(top_p, own.top_p)),
            seed=check_whole_or_none("seed", seed, least=0),
        )
        if drawn.temperature <= 0:
            raise InputError(
                "temperature is out of range",
                expected="a number above 0",
                got=temperature,
                fix="Use do_sample=False for the likeliest token",
            )
        if not 0 <= drawn.top_p <= 1:
            raise InputError("top_p is out of range", expected="0 to 1", got=top_p)
        sampled = check_flag("do_sample", or_default(do_sample, own.do_sample))
        settings = TextGenerationSettings(
            max_new_tokens=longest,
            sampling=drawn if sampled else None,
            return_full_text=check_flag(
                "return_full_text", or_default(return_full_text, own.return_full_text)
            ),
            tokenization=Tokenization(own.truncation),
        )
        single, texts = text_items(inputs)
        return self.respond(
            inputs,
            single=single,
            records=texts,
            read=check_text,
            settings=settings,
            batch_size=batch_size,
        )

    def item(self, record: Mapping[str, Any]) -> str:
        """The record's ``text``."""
        return check_text(field(record, "text"))

    def default_settings(self) -> TextGenerationSettings:
        """As the bundle says; as a rule the likeliest token each time."""
        own = self.parameters
        return TextGenerationSettings(
            max_new_tokens=own.max_new_tokens,
            sampling=Sampling(temperature=own.temperature, top_k=own.top_k, top_p=own.top_p)
            if own.do_sample
            else None,
            return_full_text=own.return_full_text,
            tokenization=Tokenization(own.truncation),
        )

    def dataset_settings(self) -> TextGenerationSettings:
        """As a call that cuts long text."""
        return replace(self.defaults, tokenization=CUT)

    def encode_items(
        self, items: Sequence[str], settings: TextGenerationSettings
    ) -> list[list[Row]]:
        """One row per prompt: ``[CLS]`` and its tokens, without the ``[SEP]`` that would end it.

        Its place is left for a new token, so a prompt that fits the limit can always grow.
        """
        rows = encode_texts(self.tokenizer, items, settings.tokenization)
        return [[_without_last(row)] for row in rows]

    def reduce(
        self, row: Row, outputs: Outputs, settings: TextGenerationSettings
    ) -> NDArray[np.int64]:
        """The likeliest next token, int64 (1,)."""
        return np.asarray([np.atleast_2d(outputs["logits"])[-1].argmax()], dtype=np.int64)

    def decode(
        self,
        item: str,
        rows: Sequence[Row],
        reduced: Sequence[NDArray[np.int64]],
        settings: TextGenerationSettings,
    ) -> list[dict[str, str]]:
        """The prompt as it was written, and what the new tokens, int64 (N,), add to it."""
        prompt = rows[0].input_ids.tolist()
        spell = self.tokenizer.decode
        added = added_text(spell(prompt), spell(prompt + reduced[0].tolist()))
        return [{"generated_text": f"{item}{added}" if settings.return_full_text else added}]

    def complete_rows(
        self,
        rows: Sequence[Row],
        settings: TextGenerationSettings,
        *,
        batch_size: int | None = None,
    ) -> list[NDArray[np.int64]]:
        """The new tokens of each prompt: the graph runs once per new token of a batch."""
        limit = self.tokenizer.max_length
        return self._in_batches(
            rows,
            lambda batch: self._continue_prompts([row.input_ids for row in batch], settings),
            lengths=[min(len(row) + settings.max_new_tokens, limit) for row in rows],
            max_rows=self.rows_per_call(batch_size),
        )

    def _continue_prompts(
        self, prompts: Sequence[NDArray[np.int64]], settings: TextGenerationSettings
    ) -> list[NDArray[np.int64]]:
        """The new tokens of each prompt, a final ``[SEP]`` included where there is one.

        Args:
            prompts: int64 (S,) each.
            settings: The call's settings.

        Returns:
            int64 (N,) each.
        """
        begun = np.asarray([len(prompt) for prompt in prompts])  # (B,)
        room = min(settings.max_new_tokens, self.tokenizer.max_length)
        ends = np.minimum(begun + room, self.tokenizer.max_length)
        ids = np.full((len(prompts), ends.max()), self.tokenizer.pad_id, dtype=np.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = prompt
        seed = settings.sampling.seed if settings.sampling is not None else None
        generators = [np.random.default_rng(seed) for _ in prompts]
        lengths = begun.copy()
        active = np.arange(len(prompts))  # rows that still grow
        while active.size:
            own = lengths[active]  # (A,)
            logits = self._next_logits(ids[active, : own.max()], own)  # (A, V)
            if settings.sampling is None:
                tokens = logits.argmax(axis=-1)
            else:
                numbers = [generators[index].random() for index in active]
                tokens = np.asarray(
                    [
                        draw_token(filter_logits(row, settings.sampling), number)
                        for row, number in zip(logits, numbers, strict=True)
                    ]
                )
            ids[active, own] = tokens
            lengths[active] += 1
            active = active[(tokens != self.tokenizer.sep_id) & (own + 1 < ends[active])]
        return [row[start:stop] for row, start, stop in zip(ids, begun, lengths, strict=True)]

    def _next_logits(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Logits behind each row's last token.

        Args:
            ids: int64 (A, S), padded on the right.
            lengths: int64 (A,).

        Returns:
            float32 (A, V).
        """
        mask = np.arange(ids.shape[1]) < lengths[:, None]  # (A, S)
        outputs = self.run(
            {
                "input_ids": ids,
                "attention_mask": mask.astype(np.int64),
                "token_type_ids": np.zeros_like(ids),
            }
        )
        logits = outputs["logits"]  # (A, V), or (A, S, V) where every token is scored
        return logits if logits.ndim == 2 else logits[np.arange(len(ids)), lengths - 1]


def _without_last(row: Row) -> Row:
    return replace(row, input_ids=row.input_ids[:-1], token_type_ids=row.token_type_ids[:-1])
