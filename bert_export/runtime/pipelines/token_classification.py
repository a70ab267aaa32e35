"""Tag tokens and group them into entities, as upstream's ``token-classification`` pipeline does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType

from bert_export.errors import InputError
from bert_export.runtime.batching import Row, row_from_encoding
from bert_export.runtime.checks import check_flag, check_whole, check_word, or_default
from bert_export.runtime.decoding.entities import TaggedText, TagTable, decode_entities
from bert_export.runtime.native import NativeTagger
from bert_export.runtime.on_demand import on_demand
from bert_export.runtime.pipelines.inputs import check_text, several, text_items
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Array, Outputs
from bert_export.tasks.postprocessing import Truncation
from bert_export.tasks.token_classification import (
    TASK,
    Aggregation,
    TokenClassificationPostProcessing,
)

__all__ = ["TokenClassificationPipeline", "TokenClassificationSettings"]

_AGGREGATIONS: tuple[Aggregation, ...] = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True, slots=True)
class TokenClassificationSettings:
    """How a call groups and cuts.

    Args:
        aggregation: How tokens become entities.
        ignore_labels: Labels that are left out of the answer, after the grouping.
        stride: Tokens that two windows of a long text share; ``None`` cuts the text instead.
        truncation: What becomes of a long text that is cut.
    """

    aggregation: Aggregation
    ignore_labels: frozenset[str]
    stride: int | None
    truncation: Truncation


class TokenClassificationPipeline(Pipeline[TaggedText, Array, TokenClassificationSettings]):
    """A tag per token, grouped into entities."""

    definition = TASK
    parameters: TokenClassificationPostProcessing

    def __call__(
        self,
        inputs: Any,
        *,
        aggregation_strategy: str | UnsetType = UNSET,
        ignore_labels: Iterable[str] | None = None,
        stride: int | UnsetType | None = UNSET,
        is_split_into_words: bool = False,
        delimiter: str | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Tag.

        Args:
            inputs: A text, a list of texts, or any other iterable of them; lists of words in place
                of texts with ``is_split_into_words``.
            aggregation_strategy: ``none`` (an entry per token), ``simple`` (neighbours of one type
                become an entity), or ``first``, ``average``, ``max``: the same after the tokens of
                a word agreed on the label of its first token, of their mean, of the surest. As the
                bundle says, as a rule ``none``, when left out.
            ignore_labels: Labels to leave out; the bundle's, as a rule ``["O"]``, when ``None``.
            stride: Tokens that neighbouring windows share when a text is too long for one; needs
                an aggregation. Without it the end of such a text is not tagged. As the bundle says,
                as a rule ``None``, when left out.
            is_split_into_words: Whether each input is a list of words.
            delimiter: What stands between the words in the text that offsets count in; the
                bundle's, as a rule a space, when ``None``.
            batch_size: Rows per graph call at most, besides the token budget.

        Returns:
            A list of entities per text; a list of such lists for a list, and, as upstream, for a
            single list of words. Inputs that are neither are answered lazily.

        Raises:
            InputError: An input or an option is malformed.
        """
        own = self.parameters
        if aggregation_strategy is UNSET and ignore_labels is None and stride is UNSET:
            settings = self._usual_settings
        else:
            settings = self._read_settings(aggregation_strategy, ignore_labels, stride)
        read: Callable[[Any], TaggedText] = _text_item
        if is_split_into_words is not False and check_flag(
            "is_split_into_words", is_split_into_words
        ):
            joined_by = check_text(own.delimiter if delimiter is None else delimiter, "delimiter")
            single, records = False, _word_lists(inputs)
            read = partial(_split_item, delimiter=joined_by)
        else:
            single, records = text_items(inputs)
        return self.respond(
            inputs,
            single=single,
            records=records,
            read=read,
            settings=settings,
            batch_size=batch_size,
        )

    def ask(self, record: Mapping[str, Any], **options: Any) -> Any:
        """Answer one record of a data file, with options of the call; its words may be split."""
        if record.get("tokens") is None:
            return super().ask(record, **options)
        return self([record["tokens"]], **{**options, "is_split_into_words": True})[0]

    def item(self, record: Mapping[str, Any]) -> TaggedText:
        if record.get("tokens") is not None:
            return _split_item(record["tokens"], self.parameters.delimiter)
        if "text" not in record:
            raise InputError(
                "record lacks its text",
                expected="'tokens' or 'text'",
                got=", ".join(map(repr, record)) or "no field",
            )
        return TaggedText(check_text(record["text"]))

    def default_settings(self) -> TokenClassificationSettings:
        own = self.parameters
        return TokenClassificationSettings(
            own.aggregation_strategy, frozenset(own.ignore_labels), own.stride, own.truncation
        )

    def encode_items(
        self, items: Sequence[TaggedText], settings: TokenClassificationSettings
    ) -> list[list[Row]]:
        if len(items) == 1:
            return self._encode_alike(items, settings)
        rows: list[list[Row]] = [[] for _ in items]
        for split in (False, True):
            chosen = [i for i, item in enumerate(items) if (item.words is not None) is split]
            if chosen:
                found = self._encode_alike([items[index] for index in chosen], settings)
                for index, windows in zip(chosen, found, strict=True):
                    rows[index] = windows
        return rows

    def _encode_alike(
        self, items: Sequence[TaggedText], settings: TokenClassificationSettings
    ) -> list[list[Row]]:
        """Rows of texts, at least one, all of which came in words or none."""
        split = items[0].words is not None
        encodings = self.tokenizer.encode(
            [item.text if item.words is None else item.words for item in items],
            truncation=settings.truncation,
            stride=settings.stride or 0,
            windows=settings.stride is not None,
            is_split_into_words=split,
        )
        return [[row_from_encoding(window) for window in windows] for windows in encodings]

    def reduce(self, row: Row, outputs: Outputs, settings: TokenClassificationSettings) -> Array:
        return outputs["logits"]  # (S, L)

    def decode(
        self,
        item: TaggedText,
        rows: Sequence[Row],
        reduced: Sequence[Array],
        settings: TokenClassificationSettings,
    ) -> list[dict[str, Any]]:
        if self._native_tagger is not None and item.words is None and len(rows) == 1:
            entities = self._native_tagger.decode(
                item.text,
                rows[0].encoding,
                reduced[0],
                settings.aggregation,
                settings.ignore_labels,
            )
            if entities is not None:
                return entities
        return decode_entities(
            item,
            [(row.encoding, logits) for row, logits in zip(rows, reduced, strict=True)],
            table=self._tags,
            aggregation=settings.aggregation,
            ignore_labels=settings.ignore_labels,
            prefix=self.tokenizer.continuing_prefix,
            unk_id=self.tokenizer.unk_id,
            join=self.tokenizer.join,
        )

    def _read_settings(
        self,
        aggregation_strategy: str | UnsetType,
        ignore_labels: Iterable[str] | None,
        stride: int | UnsetType | None,
    ) -> TokenClassificationSettings:
        own = self.parameters
        aggregation = check_word(
            "aggregation_strategy",
            or_default(aggregation_strategy, own.aggregation_strategy),
            _AGGREGATIONS,
        )
        return TokenClassificationSettings(
            aggregation,
            _read_labels(own.ignore_labels if ignore_labels is None else ignore_labels),
            self._read_stride(or_default(stride, own.stride), aggregation),
            own.truncation,
        )

    @on_demand
    def _usual_settings(self) -> TokenClassificationSettings:
        """Those of a call that names no option, made once."""
        return self._read_settings(UNSET, None, UNSET)

    @on_demand
    def _tags(self) -> TagTable:
        return TagTable.from_labels(self.labels)

    @on_demand
    def _native_tagger(self) -> NativeTagger | None:
        return self.tokenizer.native_tagger(self.labels)

    def _read_stride(self, stride: int | None, aggregation: str) -> int | None:
        if stride is None:
            return None
        room = self.tokenizer.max_length - self.tokenizer.count_special_tokens(pair=False)
        expected = f"a whole number from 0 to {room - 1}"
        stride = check_whole("stride", stride, least=0, most=room - 1, expected=expected)
        if aggregation == "none":
            raise InputError(
                "stride does not fit aggregation_strategy 'none'",
                expected=" or ".join(_AGGREGATIONS[1:]),
                got="'none'",
            )
        return stride


def _text_item(text: object) -> TaggedText:
    return TaggedText(check_text(text))


def _word_lists(inputs: object) -> Iterable[Any]:
    """Lists of words; a single one is a list of one."""
    listed = several(
        inputs, expected="a list of words, or a list of such lists, with is_split_into_words"
    )
    if isinstance(listed, Iterator) or not any(isinstance(words, str) for words in listed):
        return listed
    return [listed]


def _split_item(words: object, delimiter: str) -> TaggedText:
    listed = several(words, "words", expected="a list of strings")
    return TaggedText.from_words([check_text(word, "word") for word in listed], delimiter)


def _read_labels(labels: Iterable[str]) -> frozenset[str]:
    listed = several(labels, "ignore_labels", expected="a list of labels")
    return frozenset(check_text(label, "ignored label") for label in listed)
