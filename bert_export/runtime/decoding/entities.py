"""Logits of tokens to tagged tokens, words and entities."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bert_export.runtime.decoding.encoded import Encoded
from bert_export.runtime.decoding.softmax import softmax
from bert_export.tasks.token_classification import Aggregation

__all__ = [
    "Join",
    "TagTable",
    "TaggedText",
    "Tokens",
    "decode_entities",
    "group_entities",
    "list_tokens",
    "merge_windows",
    "merge_words",
    "read_tokens",
]

Join = Callable[[Sequence[str]], str]
"""A tokenizer's way from tokens to the text that they spell."""

Scores = NDArray[np.float32]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TaggedText:
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
    def from_words(cls, words: Sequence[str], delimiter: str = " ") -> TaggedText:
        """Join words, and remember where each starts."""
        starts, position = [], 0
        for word in words:
            starts.append(position)
            position += len(word) + len(delimiter)
        return cls(delimiter.join(words), tuple(words), tuple(starts))


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
    scores: Scores
    starts: Places
    ends: Places
    index: Places
    continues: Mask


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
    tags: Places
    begins: Mask
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


def decode_entities(
    text: TaggedText,
    windows: Sequence[tuple[Encoded, Scores]],
    *,
    table: TagTable,
    aggregation: Aggregation,
    ignore_labels: Collection[str],
    prefix: str | None,
    unk_id: int | None,
    join: Join,
) -> list[dict[str, Any]]:
    """The tagged tokens or the entities of a text.

    Args:
        text: What was encoded.
        windows: Encoding and logits, float32 (S, L), of each window over it.
        table: The labels.
        aggregation: How tokens become entities.
        ignore_labels: Labels that are left out, after the grouping.
        prefix: See :func:`read_tokens`.
        unk_id: Id of ``[UNK]``; ``None`` where the tokenizer has none.
        join: Tokens to text.

    Returns:
        Entries of :func:`list_tokens` or :func:`group_entities`, in the text's order.
    """
    entities: list[dict[str, Any]] = []
    for encoding, logits in windows:
        tokens = read_tokens(text, encoding, softmax(logits), prefix=prefix, unk_id=unk_id)
        if aggregation == "none":
            entries, name = list_tokens(tokens, table), "entity"
        else:
            if aggregation != "simple":
                tokens = merge_words(tokens, aggregation, join)
            entries, name = group_entities(tokens, table, join), "entity_group"
        entities += (entry for entry in entries if entry[name] not in ignore_labels)
    return merge_windows(entities) if len(windows) > 1 else entities


def read_tokens(
    text: TaggedText, encoding: Encoded, scores: Scores, *, prefix: str | None, unk_id: int | None
) -> Tokens:
    """A window's tokens as the text has them.

    A token continues a word when it is not as long as the characters that it covers, which is how a
    continuation prefix shows. An unknown token never does, and its word is its characters.

    Args:
        text: What was encoded.
        encoding: The window's encoding, S tokens.
        scores: Probability of each label, float32 (S, L).
        prefix: What the tokenizer puts before a token that continues a word. Without one a token
            continues a word when no space stands before it.
        unk_id: Id of ``[UNK]``; ``None`` where the tokenizer has none.
    """
    plain = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)  # (T,)
    offsets = np.array(encoding.offsets, dtype=np.int64)[plain].reshape(-1, 2)  # (T, 2)
    if text.words is not None:
        word_ids = encoding.word_ids
        owners = [word_ids[position] for position in plain.tolist()]
        origins = [0 if owner is None else text.starts[owner] for owner in owners]
        offsets += np.array(origins, dtype=np.int64).reshape(-1, 1)
    ids, tokens = encoding.ids, encoding.tokens
    words, continues = [], []
    for position, (start, end) in zip(plain.tolist(), offsets.tolist(), strict=True):
        source = text.text[start:end]
        unknown = ids[position] == unk_id
        words.append(source if unknown else tokens[position])
        joined = (
            len(tokens[position]) != len(source)
            if prefix
            else start > 0 and " " not in text.text[start - 1 : start + 1]
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
        sums = np.add.reduceat(tokens.scores, first, axis=0)
        scores = np.asarray(sums / sizes[:, np.newaxis])
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


def _edges(splits: Mask) -> tuple[Places, Places]:
    """First and last index of each run that a true entry opens."""
    first = np.flatnonzero(splits)
    return first, np.append(first[1:], len(splits)) - 1


def _weight(entity: Mapping[str, Any]) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]
