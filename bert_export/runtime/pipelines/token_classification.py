"""Tag tokens and group them into entities, as upstream's ``token-classification`` pipeline does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from tokenizers import Encoding

from bert_export.errors import InputError
from bert_export.runtime.batching import Row, row_from_encoding
from bert_export.runtime.checks import check_flag
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.softmax import softmax
from bert_export.runtime.pipelines.texts import check_text, text_items
from bert_export.runtime.sessions.session import Array, Outputs
from bert_export.tasks.token_classification import TASK

__all__ = [
    "Aggregation",
    "TagTable",
    "TokenClassificationPipeline",
    "TokenClassificationSettings",
    "TokenItem",
    "Tokens",
    "group_entities",
    "list_tokens",
    "merge_windows",
    "merge_words",
    "read_tokens",
]

Aggregation = Literal["none", "simple", "first", "average", "max"]
Join = Callable[[list[str]], str]

_AGGREGATIONS: tuple[Aggregation, ...] = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True, slots=True)
class TokenItem:
    """A text, and the words that it was joined from where it came in words.

    Args:
        text: What offsets count in.
        words: Its words, ``None`` for a text that was not split.
        starts: Where each word starts in ``text``.
    """

    text: str
    words: tuple[str, ...] | None = None
    starts: tuple[int, ...] = ()

    @classmethod
    def from_words(cls, words: Sequence[str], delimiter: str = " ") -> TokenItem:
        """Join words, and remember where each starts."""
        starts, position = [], 0
        for word in words:
            starts.append(position)
            position += len(word) + len(delimiter)
        return cls(delimiter.join(words), tuple(words), tuple(starts))


@dataclass(frozen=True, slots=True)
class TokenClassificationSettings:
    """How a call groups and cuts.

    Args:
        aggregation: How tokens become entities.
        ignore_labels: Labels that are left out of the answer, after the grouping.
        stride: Tokens that two windows of a long text share; ``None`` cuts the text instead.
    """

    aggregation: Aggregation = "none"
    ignore_labels: frozenset[str] = frozenset({"O"})
    stride: int | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one window without special tokens, or the words made of them.

    Args:
        words: T texts.
        scores: Probability of each label, float32 (T, L).
        starts, ends: Characters of the text that each covers, int64 (T,).
        index: Position of each in its window, int64 (T,).
        continues: Whether each belongs to the word before it, bool (T,).
    """

    words: list[str]
    scores: Array
    starts: Array
    ends: Array
    index: Array
    continues: Array


@dataclass(frozen=True, slots=True)
class TagTable:
    """What the labels' names say.

    Args:
        names: L labels, in id order.
        tags: Of each label, the number that labels of the same entity type share, int64 (L,).
        begins: Whether each label opens an entity (``B-``), bool (L,).
        groups: The name that an entity of each label is reported under.
    """

    names: tuple[str, ...]
    tags: Array
    begins: Array
    groups: tuple[str, ...]

    @classmethod
    def from_labels(cls, labels: Sequence[str]) -> TagTable:
        """Read ``B-`` and ``I-`` prefixes; a label without one continues an entity, as ``I-``."""
        tags = [label[2:] if label.startswith(("B-", "I-")) else label for label in labels]
        numbers = {tag: number for number, tag in enumerate(dict.fromkeys(tags))}
        return cls(
            tuple(labels),
            np.array([numbers[tag] for tag in tags], dtype=np.int64),
            np.array([label.startswith("B-") for label in labels], dtype=bool),
            # Upstream reports what follows the first dash, whatever stands before it.
            tuple(label.partition("-")[2] if "-" in label else label for label in labels),
        )


def read_tokens(
    item: TokenItem, encoding: Encoding, scores: Array, *, prefix: str | None, unk_id: int
) -> Tokens:
    """A window's tokens as the text has them.

    A token continues a word when it is not as long as the characters that it covers, which is how a
    continuation prefix shows. An unknown token never does, and its word is its characters.

    Args:
        item: The text.
        encoding: The window's encoding, S tokens.
        scores: Probability of each label, float32 (S, L).
        prefix: What the tokenizer puts before a token that continues a word. Without one a token
            continues a word when no space stands before it.
        unk_id: Id of ``[UNK]``.
    """
    plain = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)  # (T,)
    offsets = np.array(encoding.offsets, dtype=np.int64)[plain].reshape(-1, 2)  # (T, 2)
    if item.words is not None:
        word_ids = encoding.word_ids
        owners = [word_ids[position] for position in plain]
        origins = [0 if owner is None else item.starts[owner] for owner in owners]
        offsets += np.array(origins, dtype=np.int64).reshape(-1, 1)
    ids, tokens = encoding.ids, encoding.tokens
    words, continues = [], []
    for position, (start, end) in zip(plain, offsets.tolist(), strict=True):
        source = item.text[start:end]
        unknown = ids[position] == unk_id
        words.append(source if unknown else tokens[position])
        joined = (
            len(tokens[position]) != len(source)
            if prefix
            else start > 0 and " " not in item.text[start - 1 : start + 1]
        )
        continues.append(joined and not unknown)
    return Tokens(
        words, scores[plain], offsets[:, 0], offsets[:, 1], plain, np.array(continues, dtype=bool)
    )


def list_tokens(tokens: Tokens, table: TagTable) -> list[dict[str, Any]]:
    """Every token with its likeliest label: the answer without aggregation."""
    best = tokens.scores.argmax(axis=-1)
    return [
        {
            "entity": table.names[label],
            "score": float(row[label]),
            "index": int(index),
            "word": word,
            "start": int(start),
            "end": int(end),
        }
        for label, row, index, word, start, end in zip(
            best,
            tokens.scores,
            tokens.index,
            tokens.words,
            tokens.starts,
            tokens.ends,
            strict=True,
        )
    ]


def merge_words(tokens: Tokens, how: Literal["first", "average", "max"], join: Join) -> Tokens:
    """Merge the tokens of each word.

    Args:
        tokens: A window's tokens.
        how: A word's scores: those of its first token, the mean over its tokens, or those of the
            token that is surest of its label (the first of equals).
        join: Tokens to text.
    """
    if not tokens.words:
        return tokens
    splits = ~tokens.continues
    splits[0] = True
    first, last = _edges(splits)
    if how == "first":
        scores = tokens.scores[first]
    elif how == "average":
        sizes = (last - first + 1).astype(tokens.scores.dtype)
        scores = np.add.reduceat(tokens.scores, first, axis=0) / sizes[:, np.newaxis]
    else:
        sureness = tokens.scores.max(axis=-1)
        surest = [a + int(sureness[a : b + 1].argmax()) for a, b in zip(first, last, strict=True)]
        scores = tokens.scores[surest]
    return Tokens(
        [join(tokens.words[a : b + 1]) for a, b in zip(first, last, strict=True)],
        scores,
        tokens.starts[first],
        tokens.ends[last],
        tokens.index[first],
        np.zeros(len(first), dtype=bool),
    )


def group_entities(tokens: Tokens, table: TagTable, join: Join) -> list[dict[str, Any]]:
    """Merge neighbours of one entity type until a ``B-`` label opens the next.

    Args:
        tokens: A window's tokens or words.
        table: The labels.
        join: Tokens or words to text.

    Returns:
        ``entity_group, score, word, start, end`` in the text's order; a score is the mean of its
        members' highest.
    """
    if not tokens.words:
        return []
    labels = tokens.scores.argmax(axis=-1)  # (T,)
    tags = table.tags[labels]
    splits = table.begins[labels]
    splits[1:] |= tags[1:] != tags[:-1]
    splits[0] = True
    first, last = _edges(splits)
    means = np.add.reduceat(tokens.scores.max(axis=-1), first) / (last - first + 1)
    return [
        {
            "entity_group": table.groups[labels[a]],
            "score": float(mean),
            "word": join(tokens.words[a : b + 1]),
            "start": int(tokens.starts[a]),
            "end": int(tokens.ends[b]),
        }
        for a, b, mean in zip(first, last, means, strict=True)
    ]


def merge_windows(entities: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of entities that overlap keep the longer, then the one with the higher score."""
    kept: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda entity: int(entity["start"])):
        if kept and kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            if _weight(entity) > _weight(kept[-1]):
                kept[-1] = entity
        else:
            kept.append(entity)
    return kept


class TokenClassificationPipeline(Pipeline[TokenItem, Array, TokenClassificationSettings]):
    """A tag per token, grouped into entities."""

    definition = TASK

    def __call__(
        self,
        inputs: Any,
        *,
        aggregation_strategy: str = "none",
        ignore_labels: Iterable[str] | None = None,
        stride: int | None = None,
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
                a word agreed on the label of its first token, of their mean, of the surest.
            ignore_labels: Labels to leave out; ``["O"]`` when ``None``.
            stride: Tokens that neighbouring windows share when a text is too long for one; needs
                an aggregation. Without it the end of such a text is not tagged.
            is_split_into_words: Whether each input is a list of words.
            delimiter: What stands between the words in the text that offsets count in; a space
                when ``None``.
            batch_size: Rows per graph call at most, besides the token budget.

        Returns:
            A list of entities per text; a list of such lists for a list, and, as upstream, for a
            single list of words. Inputs that are neither are answered lazily.

        Raises:
            InputError: An input or an option is malformed.
        """
        settings = TokenClassificationSettings(
            _read_aggregation(aggregation_strategy),
            _read_labels(ignore_labels),
            self._read_stride(stride, aggregation_strategy),
        )
        if not check_flag("is_split_into_words", is_split_into_words):
            single, texts = text_items(inputs)
            items: Iterable[TokenItem] = (TokenItem(check_text(text)) for text in texts)
        else:
            single, items = False, _split_items(inputs, " " if delimiter is None else delimiter)
        return self.respond(
            inputs, single=single, items=items, settings=settings, batch_size=batch_size
        )

    def ask(self, record: Mapping[str, Any], **options: Any) -> Any:
        """Answer one record of a data file, with options of the call; its words may be split."""
        if record.get("tokens") is None:
            return super().ask(record, **options)
        return self([record["tokens"]], **{**options, "is_split_into_words": True})[0]

    def item(self, record: Mapping[str, Any]) -> TokenItem:
        if record.get("tokens") is not None:
            return _split_item(record["tokens"], " ")
        if "text" not in record:
            raise InputError(
                "record lacks its text",
                expected="'tokens' or 'text'",
                got=", ".join(map(repr, record)) or "no field",
            )
        return TokenItem(check_text(record["text"]))

    def default_settings(self) -> TokenClassificationSettings:
        return TokenClassificationSettings()

    def encode(
        self, items: Sequence[TokenItem], settings: TokenClassificationSettings
    ) -> list[list[Row]]:
        rows: list[list[Row]] = [[] for _ in items]
        for split in (False, True):
            chosen = [i for i, item in enumerate(items) if (item.words is not None) is split]
            encodings = self.tokenizer.encode(
                [_source(items[index]) for index in chosen],
                stride=settings.stride or 0,
                windows=settings.stride is not None,
                is_split_into_words=split,
            )
            for index, windows in zip(chosen, encodings, strict=True):
                rows[index] = [row_from_encoding(window) for window in windows]
        return rows

    def reduce(self, row: Row, outputs: Outputs, settings: TokenClassificationSettings) -> Array:
        return outputs["logits"]  # (S, L)

    def decode(
        self,
        item: TokenItem,
        rows: Sequence[Row],
        reduced: Sequence[Array],
        settings: TokenClassificationSettings,
    ) -> list[dict[str, Any]]:
        table = TagTable.from_labels(self.labels)
        prefix = self.tokenizer.continuing_prefix
        join = self.tokenizer.join
        entities: list[dict[str, Any]] = []
        for row, logits in zip(rows, reduced, strict=True):
            tokens = read_tokens(
                item, row.encoding, softmax(logits), prefix=prefix, unk_id=self.tokenizer.unk_id
            )
            if settings.aggregation == "none":
                found = list_tokens(tokens, table)
            elif settings.aggregation == "simple":
                found = group_entities(tokens, table, join)
            else:
                found = group_entities(merge_words(tokens, settings.aggregation, join), table, join)
            entities += (
                entity
                for entity in found
                if entity.get("entity", entity.get("entity_group")) not in settings.ignore_labels
            )
        return merge_windows(entities) if len(rows) > 1 else entities

    def _read_stride(self, stride: int | None, aggregation: str) -> int | None:
        if stride is None:
            return None
        room = self.tokenizer.max_length - len(("[CLS]", "[SEP]"))
        if isinstance(stride, bool) or not isinstance(stride, int) or not 0 <= stride < room:
            raise InputError(
                "stride is wrong", expected=f"a whole number from 0 to {room - 1}", got=repr(stride)
            )
        if aggregation == "none":
            raise InputError(
                "stride does not fit aggregation_strategy 'none'",
                expected=" or ".join(_AGGREGATIONS[1:]),
                got="'none'",
            )
        return stride


def _edges(splits: Array) -> tuple[Array, Array]:
    """First and last index of each run that a true entry opens."""
    first = np.flatnonzero(splits)
    return first, np.append(first[1:], len(splits)) - 1


def _weight(entity: Mapping[str, Any]) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]


def _source(item: TokenItem) -> str | tuple[str, ...]:
    return item.text if item.words is None else item.words


def _split_items(inputs: object, delimiter: object) -> Iterable[TokenItem]:
    """Items of lists of words, or of a single one."""
    separator = check_text(delimiter, "delimiter")
    if isinstance(inputs, list | tuple):
        lists = inputs if all(isinstance(words, list | tuple) for words in inputs) else [inputs]
        return [_split_item(words, separator) for words in lists]
    if isinstance(inputs, Iterator):
        return (_split_item(words, separator) for words in inputs)
    raise InputError(
        "inputs are of the wrong type",
        expected="a list of words, or a list of such lists",
        got=type(inputs).__name__,
        fix="Leave out is_split_into_words to tag a text",
    )


def _split_item(words: object, delimiter: str) -> TokenItem:
    if not isinstance(words, list | tuple):
        raise InputError(
            "words are of the wrong type", expected="a list of strings", got=type(words).__name__
        )
    return TokenItem.from_words([check_text(word, "word") for word in words], delimiter)


def _read_aggregation(name: object) -> Aggregation:
    for aggregation in _AGGREGATIONS:
        if isinstance(name, str) and name.lower() == aggregation:
            return aggregation
    raise InputError(
        "aggregation_strategy is unknown",
        expected=f"one of {', '.join(_AGGREGATIONS)}",
        got=repr(name),
    )


def _read_labels(labels: Iterable[str] | None) -> frozenset[str]:
    if labels is None:
        return TokenClassificationSettings().ignore_labels
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise InputError(
            "ignore_labels are of the wrong type", expected="a list of labels", got=repr(labels)
        )
    return frozenset(check_text(label, "ignored label") for label in labels)
