"""Text continued token by token by a causal BERT.

The graph keeps keys and values of the tokens so far, so that a step runs the new token alone. The
graphs of older bundles keep nothing: there every step runs all tokens again. Prompts of like length
are continued together, padded on the left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.runtime.batching import Row, run_in_batches
from bert_export.runtime.checks import (
    check_flag,
    check_whole,
    check_whole_or_none,
    or_default,
)
from bert_export.runtime.decoding.generation import (
    Continuation,
    Decoding,
    EarlyStopping,
    start_continuations,
)
from bert_export.runtime.decoding.sampling import added_text
from bert_export.runtime.pipelines.generating import (
    DecodingOptions,
    check_streams,
    check_streams_one,
    grow,
    read_decoding,
    read_ends,
    stream_text,
)
from bert_export.runtime.pipelines.inputs import check_text, field, text_items
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import CUT, Tokenization, encode_texts
from bert_export.runtime.sessions.cache import (
    begin_cache,
    empty_cache,
    keeps_cache,
    open_cache,
)
from bert_export.runtime.sessions.session import Feeds, Outputs, RawFeeds
from bert_export.tasks.text_generation import TASK, TextGenerationPostProcessing

__all__ = ["GenerationOptions", "TextGenerationPipeline", "TextGenerationSettings"]

_CACHED = 8
"""How many times the token budget a batch may hold where a cache is kept: a step runs one token of
each row, whose cost is to read the weights, however many rows share it."""

_SCORES = "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGenerationSettings:
    """A call's choices.

    Args:
        max_new_tokens: Tokens that a prompt grows by at most.
        max_length: Tokens that a prompt and its new ones are at most; ``None`` for the
            tokenizer's limit.
        decoding: How tokens are chosen.
        return_full_text: Whether the answer starts with the prompt.
        tokenization: Truncation of the prompt.
    """

    max_new_tokens: int
    max_length: int | None = None
    decoding: Decoding
    return_full_text: bool
    tokenization: Tokenization


class GenerationOptions(DecodingOptions, total=False):
    """How a text is continued; see :meth:`TextGenerationPipeline.__call__`."""

    return_full_text: bool | UnsetType


class TextGenerationPipeline(Pipeline[str, list[NDArray[np.int64]], TextGenerationSettings]):
    """Continues prompts until ``[SEP]``, ``max_new_tokens`` or the tokenizer's limit."""

    definition = TASK
    parameters: TextGenerationPostProcessing

    def __call__(
        self,
        inputs: str | Iterable[str],
        *,
        max_new_tokens: int | UnsetType = UNSET,
        min_new_tokens: int | UnsetType = UNSET,
        max_length: int | None = None,
        do_sample: bool | UnsetType = UNSET,
        temperature: float | UnsetType = UNSET,
        top_k: int | UnsetType = UNSET,
        top_p: float | UnsetType = UNSET,
        seed: int | None = None,
        num_beams: int | UnsetType = UNSET,
        length_penalty: float | UnsetType = UNSET,
        early_stopping: EarlyStopping | UnsetType = UNSET,
        repetition_penalty: float | UnsetType = UNSET,
        no_repeat_ngram_size: int | UnsetType = UNSET,
        num_return_sequences: int | UnsetType = UNSET,
        eos_token_id: int | Sequence[int] | None = None,
        return_full_text: bool | UnsetType = UNSET,
        batch_size: int | None = None,
    ) -> Any:
        """Continue texts. What is left out is as the bundle says, its ``postprocessing``.

        Args:
            inputs: A prompt, a list of prompts, or any other iterable of them.
            max_new_tokens: Tokens that a prompt grows by at most; the tokenizer's limit may end it
                sooner.
            min_new_tokens: Tokens that come before the end may.
            max_length: Tokens that a prompt and its new ones are at most; with it alone,
                ``max_new_tokens`` bounds nothing, and with both the smaller room holds.
            do_sample: Draw tokens at random instead of taking the likeliest; the next four matter
                only then.
            temperature: Above 1 flattens, below 1 sharpens the distribution.
            top_k: Draw among that many of the likeliest tokens; 0 for all.
            top_p: Draw among the likeliest tokens that together reach this probability.
            seed: Makes an answer repeatable, whichever prompts surround it.
            num_beams: Texts that a beam search keeps side by side; 1 for none.
            length_penalty: Of a beam search: above 0 prefers longer texts, below 0 shorter ones.
            early_stopping: Of a beam search: whether it ends with as many ended texts as beams;
                ``"never"`` goes on as long as a better one could come.
            repetition_penalty: Above 1 makes tokens that are in the text less likely.
            no_repeat_ngram_size: Tokens of an n-gram that may come only once; 0 for no bound.
            num_return_sequences: Continuations of each prompt: of a beam search the best, at most
                as many as beams; else each is drawn by itself.
            eos_token_id: Of the token, or tokens, that end a text; that of ``[SEP]`` when ``None``.
            return_full_text: Whether an answer starts with its prompt.
            batch_size: Prompts that are continued together at most.

        Returns:
            ``[{"generated_text": ...}]`` per prompt, one for each of its continuations; a list of
            them for a list, an iterator for another iterable.

        Raises:
            InputError: A prompt is no string or leaves no room for a token, or an option is out of
                range.
        """
        settings = self._settings(
            max_new_tokens=max_new_tokens,
            min_new_tokens=min_new_tokens,
            max_length=max_length,
            do_sample=do_sample,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            num_beams=num_beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            num_return_sequences=num_return_sequences,
            eos_token_id=eos_token_id,
            return_full_text=return_full_text,
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

    def stream(self, text: str, **options: Unpack[GenerationOptions]) -> Iterator[str]:
        """Continue one text and give what is added to it piece by piece.

        Args:
            text: The prompt.
            options: As a call's, but for ``num_beams`` and ``num_return_sequences`` above 1,
                ``return_full_text`` and ``batch_size``. They are checked before the first piece.

        Returns:
            An iterator of pieces that are not empty. Together they are what a call with
            ``return_full_text=False`` answers. A piece comes once no later token can change it.

        Raises:
            InputError: As a call, or an option means nothing here.
        """
        check_streams(options, GenerationOptions.__annotations__.keys() - {"return_full_text"})
        settings = self._settings(**options)
        check_streams_one(settings.decoding)
        ((row,),) = self.encode_items([check_text(text)], settings)
        prompt = row.input_ids
        room = self._longest(len(prompt), settings) - len(prompt)
        (growing,) = start_continuations(prompt, room, settings.decoding)
        return stream_text(
            self._steps([prompt], [[growing]], settings),
            growing,
            prompt=prompt,
            begun=self.tokenizer.decode(prompt.tolist()),
            decode=self.tokenizer.decode,
        )

    def continue_ids(
        self, prompts: Sequence[NDArray[np.int64]], tokens: int
    ) -> list[NDArray[np.int64]]:
        """Continue prompts of ids by exactly so many of the likeliest tokens, whatever they are.

        Args:
            prompts: int64 (S,) each.
            tokens: How many new ones; the tokenizer's limit may end a row sooner.

        Returns:
            int64 (N,) each.
        """
        defaults = self.defaults
        settings = replace(
            defaults, max_new_tokens=tokens, max_length=None, decoding=Decoding(ends=())
        )
        return [answers[0] for answers in self._continue_prompts(prompts, settings)]

    def _settings(self, **options: Unpack[GenerationOptions]) -> TextGenerationSettings:
        """The options of a call, checked; see :meth:`__call__`."""
        own = self.parameters

        def own_or(name: str, default: Any) -> Any:
            return or_default(options.get(name, UNSET), default)

        whole = check_whole_or_none("max_length", options.get("max_length"), least=1)
        default = own.max_new_tokens if whole is None else whole
        decoding = read_decoding(options, own, self._ends(options.get("eos_token_id")))
        return TextGenerationSettings(
            max_new_tokens=check_whole(
                "max_new_tokens", own_or("max_new_tokens", default), least=1
            ),
            max_length=whole,
            decoding=decoding,
            return_full_text=check_flag(
                "return_full_text", own_or("return_full_text", own.return_full_text)
            ),
            tokenization=Tokenization(own.truncation),
        )

    def _ends(self, eos_token_id: int | Sequence[int] | None) -> tuple[int, ...]:
        """Ids of the tokens that end a text."""
        if eos_token_id is None:
            return (self.tokenizer.sep_id,)
        return read_ends(eos_token_id, vocabulary=self.manifest.model.vocab_size)

    def item(self, record: Mapping[str, Any]) -> str:
        """The record's ``text``."""
        return check_text(field(record, "text"))

    def default_settings(self) -> TextGenerationSettings:
        """As the bundle says; as a rule the likeliest token each time."""
        return self._settings()

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

    def graph_feeds(self, feeds: Feeds) -> Feeds:
        """Add an empty cache, where the graph takes one."""
        return {**feeds, **empty_cache(self._session.inputs, len(feeds["input_ids"]))}

    def run(self, feeds: RawFeeds) -> Outputs:
        """Run the raw graph; feeds without any cache are a first call's, whose cache is empty."""
        return super().run(begin_cache(self._session.inputs, feeds))

    def split_outputs(self, rows: Sequence[Row], outputs: Outputs) -> list[Outputs]:
        """Each row's own scores."""
        return super().split_outputs(rows, {_SCORES: outputs[_SCORES]})

    def reduce(
        self, row: Row, outputs: Outputs, settings: TextGenerationSettings
    ) -> list[NDArray[np.int64]]:
        """The likeliest next token, int64 (1,), as the only continuation."""
        return [np.asarray([np.atleast_2d(outputs["logits"])[-1].argmax()], dtype=np.int64)]

    def decode(
        self,
        item: str,
        rows: Sequence[Row],
        reduced: Sequence[list[NDArray[np.int64]]],
        settings: TextGenerationSettings,
    ) -> list[dict[str, str]]:
        """The prompt as it was written, and what each continuation, int64 (N,), adds to it."""
        prompt = rows[0].input_ids.tolist()
        spell = self.tokenizer.decode
        begun = spell(prompt)
        texts = [added_text(begun, spell(prompt + new.tolist())) for new in reduced[0]]
        before = item if settings.return_full_text else ""
        return [{"generated_text": f"{before}{added}"} for added in texts]

    def complete_rows(
        self,
        rows: Sequence[Row],
        settings: TextGenerationSettings,
        *,
        batch_size: int | None = None,
    ) -> list[list[NDArray[np.int64]]]:
        """The new tokens of each continuation of each prompt."""
        each = settings.decoding.rows
        most = self.rows_per_call(batch_size)
        return run_in_batches(
            rows,
            lambda batch: self._continue_prompts([row.input_ids for row in batch], settings),
            lengths=[each * self._longest(len(row), settings) for row in rows],
            token_budget=self._token_budget * (_CACHED if keeps_cache(self._session) else 1),
            max_rows=None if most is None else max(1, most // each),
            sort=self._sort,
        )

    def _longest(self, begun: int, settings: TextGenerationSettings) -> int:
        """Tokens that a prompt of so many may have in the end.

        Raises:
            InputError: ``max_length`` leaves it no room.
        """
        most = min(begun + settings.max_new_tokens, self.tokenizer.max_length)
        if settings.max_length is None:
            return most
        if settings.max_length <= begun:
            raise InputError(
                "prompt is as long as max_length allows",
                expected=f"a max_length above its {begun} tokens",
                got=settings.max_length,
                fix="Raise max_length, or say max_new_tokens",
            )
        return min(most, settings.max_length)

    def _continue_prompts(
        self, prompts: Sequence[NDArray[np.int64]], settings: TextGenerationSettings
    ) -> list[list[NDArray[np.int64]]]:
        """The new tokens of each continuation of each prompt.

        Args:
            prompts: int64 (S,) each.
            settings: The call's settings.

        Returns:
            int64 (N,) each, with the token that ended it where there is one.
        """
        of_prompts = [
            start_continuations(
                prompt, self._longest(len(prompt), settings) - len(prompt), settings.decoding
            )
            for prompt in prompts
        ]
        for _ in self._steps(prompts, of_prompts, settings):
            pass
        return [
            [answer for each in continuations for answer in each.answers]
            for continuations in of_prompts
        ]

    def _steps(
        self,
        prompts: Sequence[NDArray[np.int64]],
        of_prompts: Sequence[Sequence[Continuation]],
        settings: TextGenerationSettings,
    ) -> Iterator[None]:
        """Let prompts grow by a token each, again and again, until all are done."""
        # The prompts, padded on the left.
        widest = max(map(len, prompts))
        ids = np.full((len(prompts), widest), self.tokenizer.pad_id, dtype=np.int64)  # (B, S)
        mask = np.zeros_like(ids)  # (B, T)
        for row, prompt in enumerate(prompts):
            ids[row, widest - len(prompt) :] = prompt
            mask[row, widest - len(prompt) :] = 1
        most = max(self._longest(len(prompt), settings) for prompt in prompts)
        cache = open_cache(self._session, most, pad_id=self.tokenizer.pad_id)
        yield from grow(cache, ids, mask, of_prompts, in_turn=self.in_turn)


def _without_last(row: Row) -> Row:
    return replace(row, input_ids=row.input_ids[:-1], token_type_ids=row.token_type_ids[:-1])
