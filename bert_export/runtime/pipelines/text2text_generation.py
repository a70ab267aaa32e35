"""Text that follows from another text, token by token: an encoder reads, a decoder writes.

A text is encoded once. Its answers begin with one token, and a step runs the newest token of each
alone. Texts of like length are answered together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Unpack

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from bert_export.runtime.batching import Row, pad_rows, run_in_batches
from bert_export.runtime.checks import check_whole, check_whole_or_none, or_default
from bert_export.runtime.decoding.generation import (
    Continuation,
    Decoding,
    EarlyStopping,
    start_continuations,
)
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
from bert_export.runtime.sessions.cache import begin_cache, empty_cache
from bert_export.runtime.sessions.encoder_decoder import open_text_cache
from bert_export.runtime.sessions.session import Feeds, Outputs, RawFeeds
from bert_export.tasks.interface import kept_outputs
from bert_export.tasks.text2text_generation import SUMMARIZATION, TASK, TextToTextPostProcessing

__all__ = [
    "SummarizationPipeline",
    "TextToTextOptions",
    "TextToTextPipeline",
    "TextToTextSettings",
]

_CACHED = 8
"""How many times the token budget a batch may hold: a step runs one token of each answer, whose
cost is to read the weights, however many answers share it."""

_TAUGHT = 63
"""Tokens of a text that stand in for an answer where a graph runs without generating: as a rule
most words of a summary are words of its text, and often the first ones."""

_OWN_IDS = "decoder_input_ids"

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToTextSettings:
    """A call's choices.

    Args:
        max_new_tokens: Tokens that an answer has at most behind its first.
        decoding: How tokens are chosen.
        tokenization: Truncation of the text.
    """

    max_new_tokens: int
    decoding: Decoding
    tokenization: Tokenization


class TextToTextOptions(DecodingOptions, total=False):
    """How a text is answered; see :meth:`TextToTextPipeline.__call__`."""

    min_length: int | None
    truncation: bool | str | UnsetType


class TextToTextPipeline(Pipeline[str, list[Ids], TextToTextSettings]):
    """Answers texts until an end token, ``max_new_tokens`` or the decoder's last position."""

    definition = TASK
    parameters: TextToTextPostProcessing
    answer_key: ClassVar[str] = "generated_text"

    def __call__(
        self,
        inputs: str | Iterable[str],
        *,
        truncation: bool | str | UnsetType = UNSET,
        max_new_tokens: int | UnsetType = UNSET,
        min_new_tokens: int | UnsetType = UNSET,
        max_length: int | None = None,
        min_length: int | None = None,
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
        batch_size: int | None = None,
    ) -> Any:
        """Answer texts. What is left out is as the bundle says, its ``postprocessing``.

        Args:
            inputs: A text, a list of texts, or any other iterable of them.
            truncation: Whether a text that is too long for the encoder loses its end; else it is an
                error.
            max_new_tokens: Tokens that an answer has at most behind its first; the decoder's
                positions may end it sooner.
            min_new_tokens: Tokens that come before the end may.
            max_length: The same as ``max_new_tokens``, with the first token counted.
            min_length: The same as ``min_new_tokens``, with the first token counted.
            do_sample: Draw tokens at random instead of taking the likeliest, with ``num_beams`` of
                1; the next four matter only then.
            temperature: Above 1 flattens, below 1 sharpens the distribution.
            top_k: Draw among that many of the likeliest tokens; 0 for all.
            top_p: Draw among the likeliest tokens that together reach this probability.
            seed: Makes an answer repeatable, whichever texts surround it.
            num_beams: Answers that a beam search keeps side by side; 1 for none.
            length_penalty: Of a beam search: above 0 prefers longer answers, below 0 shorter ones.
            early_stopping: Of a beam search: whether it ends with as many ended answers as beams;
                ``"never"`` goes on as long as a better one could come.
            repetition_penalty: Above 1 makes tokens that are in the answer less likely.
            no_repeat_ngram_size: Tokens of an n-gram that may come only once; 0 for no bound.
            num_return_sequences: Answers to each text: of a beam search the best, at most as many
                as beams; else each is drawn by itself.
            eos_token_id: Of the token, or tokens, that end an answer; the checkpoint's when
                ``None``.
            batch_size: Texts that are answered together at most.

        Returns:
            ``[{"generated_text": ...}]`` for a text, one for each of its answers; for summarization
            the key is ``summary_text``. For a list a list of such answers, or where every text has
            several, of such lists; an iterator of lists for another iterable.

        Raises:
            InputError: A text is no string or too long, or an option is out of range.
        """
        settings = self._settings(
            truncation=truncation,
            max_new_tokens=max_new_tokens,
            min_new_tokens=min_new_tokens,
            max_length=max_length,
            min_length=min_length,
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
        )
        single, texts = text_items(inputs)
        answers = self.respond(
            inputs,
            single=single,
            records=texts,
            read=check_text,
            settings=settings,
            batch_size=batch_size,
        )
        if isinstance(inputs, list | tuple) and settings.decoding.num_return_sequences == 1:
            return [answer for (answer,) in answers]  # as upstream's pipeline
        return answers

    def stream(self, text: str, **options: Unpack[TextToTextOptions]) -> Iterator[str]:
        """Answer one text piece by piece.

        Args:
            text: What is answered.
            options: As a call's, but for ``num_beams`` and ``num_return_sequences`` above 1, and
                ``batch_size``. ``num_beams`` is 1 whatever the bundle says: beams have no first
                word before they end. Options are checked before the first piece.

        Returns:
            An iterator of pieces that are not empty. Together they are what a call with
            ``num_beams=1`` answers. A piece comes once no later token can change it.

        Raises:
            InputError: As a call, or an option means nothing here.
        """
        check_streams(options, TextToTextOptions.__annotations__.keys())
        given: TextToTextOptions = {"num_beams": 1, "num_return_sequences": 1}
        given.update(options)
        settings = self._settings(**given)
        check_streams_one(settings.decoding)
        (rows,) = self.encode_items([check_text(text)], settings)
        start = np.asarray([self._start], dtype=np.int64)
        (growing,) = start_continuations(start, settings.max_new_tokens, settings.decoding)
        return stream_text(
            self._steps(rows, [[growing]], settings),
            growing,
            prompt=start,
            begun="",
            decode=partial(self.tokenizer.decode, clean_up=False),
        )

    def _settings(self, **options: Unpack[TextToTextOptions]) -> TextToTextSettings:
        """The options of a call, checked; see :meth:`__call__`."""
        own, positions = self.parameters, self._positions
        most = or_default(options.get("max_new_tokens", UNSET), own.max_new_tokens)
        whole = options.get("max_length")
        if whole is not None and options.get("max_new_tokens", UNSET) is UNSET:
            most = check_whole("max_length", whole, least=2) - 1
        least, whole = options.get("min_new_tokens", UNSET), options.get("min_length")
        if whole is not None and least is UNSET:
            least = max(check_whole("min_length", whole, least=0) - 1, 0)
        eos = options.get("eos_token_id")
        ends = (
            own.eos_token_id
            if eos is None
            else read_ends(eos, vocabulary=self.manifest.model.vocab_size)
        )
        checked = check_whole_or_none("max_new_tokens", most, least=1)
        return TextToTextSettings(
            max_new_tokens=min(
                positions - 1 if checked is None else checked, max(1, positions - 1)
            ),
            decoding=read_decoding({**options, "min_new_tokens": least}, own, ends),
            tokenization=Tokenization.from_options(
                {}
                if options.get("truncation", UNSET) is UNSET
                else {"truncation": options["truncation"]},
                Tokenization(own.truncation),
            ),
        )

    @property
    def _positions(self) -> int:
        """Tokens that an answer may have, its first among them."""
        return self._session.longest or self.tokenizer.max_length

    @property
    def _start(self) -> int:
        """Id of the token that every answer begins with."""
        own = self.parameters.decoder_start_token_id
        return self.tokenizer.cls_id if own is None else own

    def item(self, record: Mapping[str, Any]) -> str:
        """The record's ``text``."""
        return check_text(field(record, "text"))

    def default_settings(self) -> TextToTextSettings:
        """As the bundle says."""
        return self._settings()

    def dataset_settings(self) -> TextToTextSettings:
        """As a call that cuts long text."""
        return replace(self.defaults, tokenization=CUT)

    def encode_items(self, items: Sequence[str], settings: TextToTextSettings) -> list[list[Row]]:
        """One row per text, behind the checkpoint's prefix."""
        prefix = self.parameters.prefix
        texts = [prefix + text for text in items] if prefix else items
        return [[row] for row in encode_texts(self.tokenizer, texts, settings.tokenization)]

    def teach(self, row: Row, ids: Ids) -> Row:
        """A text's row with the beginning of an answer to it, int64 (N,), as much as has places."""
        own = np.concatenate([[self._start], ids[: self._positions - 1]])
        return replace(row, extra={_OWN_IDS: own.astype(np.int64)})

    def feeds(self, rows: Sequence[Row], *, length: int | None = None) -> Feeds:
        """The graph's inputs for texts, with the answers that :meth:`teach` gave them, if any."""
        taught = [row.extra[_OWN_IDS] for row in rows if row.extra and _OWN_IDS in row.extra]
        feeds = super().feeds([replace(row, extra=None) for row in rows], length=length)
        if len(taught) < len(rows):
            return feeds
        own = np.full((len(rows), max(map(len, taught))), self.tokenizer.pad_id, dtype=np.int64)
        mask = np.zeros_like(own)
        for index, ids in enumerate(taught):
            own[index, : len(ids)] = ids
            mask[index, : len(ids)] = 1
        return {**feeds, _OWN_IDS: own, "decoder_attention_mask": mask}

    def graph_feeds(self, feeds: Feeds) -> Feeds:
        """The inputs of a run that generates nothing: beginnings of the texts are the answers.

        They are as long as the shortest text of the batch allows, so that none is padded.
        """
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        rows, words = len(ids), int(mask.sum(axis=1).min()) - 2  # without [CLS] and [SEP]
        words = max(0, min(words, _TAUGHT, self._positions - 1))
        start = np.full((rows, 1), self._start, dtype=np.int64)
        own = np.concatenate([start, ids[:, 1 : 1 + words]], axis=1)  # (B, S)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            _OWN_IDS: np.minimum(own, self.manifest.model.vocab_size - 1),
            "decoder_attention_mask": np.ones_like(own),
            **empty_cache(self._session.inputs, rows),
        }

    def run(self, feeds: RawFeeds) -> Outputs:
        """Run the raw graphs; feeds without any cache are a first call's, whose cache is empty."""
        return super().run(begin_cache(self._session.inputs, feeds))

    def split_outputs(self, rows: Sequence[Row], outputs: Outputs) -> list[Outputs]:
        """Each row's own scores, without keys and values."""
        caches = kept_outputs(self._session.outputs)
        scores = {name: array for name, array in outputs.items() if name not in caches}
        return super().split_outputs(rows, scores)

    def reduce(self, row: Row, outputs: Outputs, settings: TextToTextSettings) -> list[Ids]:
        """The likeliest next token, int64 (1,), as the only answer."""
        return [np.asarray([np.atleast_2d(outputs["logits"])[-1].argmax()], dtype=np.int64)]

    def decode(
        self,
        item: str,
        rows: Sequence[Row],
        reduced: Sequence[list[Ids]],
        settings: TextToTextSettings,
    ) -> list[dict[str, str]]:
        """What each answer's tokens, int64 (N,), spell."""
        return [
            {self.answer_key: self.tokenizer.decode([self._start, *new.tolist()], clean_up=False)}
            for new in reduced[0]
        ]

    def complete_rows(
        self, rows: Sequence[Row], settings: TextToTextSettings, *, batch_size: int | None = None
    ) -> list[list[Ids]]:
        """The new tokens of each answer to each text."""
        each, most = settings.decoding.rows, self.rows_per_call(batch_size)
        return run_in_batches(
            rows,
            lambda batch: self._answer_texts(batch, settings),
            lengths=[each * (len(row) + settings.max_new_tokens) for row in rows],
            token_budget=self._token_budget * _CACHED,
            max_rows=None if most is None else max(1, most // each),
            sort=self._sort,
        )

    def _answer_texts(self, rows: Sequence[Row], settings: TextToTextSettings) -> list[list[Ids]]:
        """The new tokens of each answer, int64 (N,), with the token that ended it."""
        start = np.asarray([self._start], dtype=np.int64)
        of_texts: list[list[Continuation]] = [
            start_continuations(start, settings.max_new_tokens, settings.decoding) for _ in rows
        ]
        for _ in self._steps(rows, of_texts, settings):
            pass
        return [[answer for each in own for answer in each.answers] for own in of_texts]

    def _steps(
        self,
        rows: Sequence[Row],
        of_texts: Sequence[Sequence[Continuation]],
        settings: TextToTextSettings,
    ) -> Iterator[None]:
        """Encode texts, and let answers grow by a token each, again and again, until all end."""
        length = self._padded_length(max(map(len, rows)))
        text = pad_rows(rows, pad_id=self.tokenizer.pad_id, length=length)
        cache = self.in_turn(
            lambda: open_text_cache(
                self._session,
                text["input_ids"],
                text["attention_mask"],
                1 + settings.max_new_tokens,
            )
        )
        ids = np.full((len(rows), 1), self._start, dtype=np.int64)  # (B, 1)
        yield from grow(cache, ids, np.ones_like(ids), of_texts, in_turn=self.in_turn)


class SummarizationPipeline(TextToTextPipeline):
    """The same, with answers as transformers' pipeline for summaries gives them."""

    definition = SUMMARIZATION
    answer_key = "summary_text"
