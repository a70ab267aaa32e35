"""Logits of tokens to tagged tokens, words and entities."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import or_
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
        starts, ends: T characters of the text: the first that each covers, and the one behind.
        index: T positions in the window.
        continues: Whether each belongs to the word before it, T.
    """

    words: list[str]
    scores: Scores
    starts: list[int]
    ends: list[int]
    index: list[int]
    continues: list[bool]


@dataclass(frozen=True, slots=True)
class TagTable:
    """What the labels' names say.

    Args:
        names: L labels, in id order.
        tags: Of each label, the number that labels of the same entity type share, L.
        begins: Whether each label opens an entity (``B-``), L.
        groups: The name that an entity of each label is reported under.
    """

    names: tuple[str, ...]
    tags: tuple[int, ...]
    begins: tuple[bool, ...]
    groups: tuple[str, ...]

    @classmethod
    def from_labels(cls, labels: Sequence[str]) -> TagTable:
        """Read ``B-`` and ``I-`` prefixes; a label without one continues an entity, as ``I-``."""
        tags = [label[2:] if label.startswith(("B-", "I-")) else label for label in labels]
        numbers = {tag: number for number, tag in enumerate(dict.fromkeys(tags))}
        return cls(
            tuple(labels),
            tuple(numbers[tag] for tag in tags),
            tuple(label.startswith("B-") for label in labels),
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
            entities += list_tokens(tokens, table, ignore_labels)
        else:
            if aggregation != "simple":
                tokens = merge_words(tokens, aggregation, join)
            entities += group_entities(tokens, table, join, ignore_labels)
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
    plain = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
    offsets, ids, tokens = encoding.offsets, encoding.ids, encoding.tokens
    word_ids = None if text.words is None else encoding.word_ids
    # Special tokens stand at both ends, as a rule: a slice is had sooner than chosen rows.
    close = len(plain) > 0 and plain[-1] - plain[0] < len(plain)
    chosen = scores[plain[0] : plain[-1] + 1] if close else scores[plain]
    whole = text.text
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    continues: list[bool] = []
    for position in plain:
        start, end = offsets[position]
        if word_ids is not None:  # places count in the word
            owner = word_ids[position]
            origin = 0 if owner is None else text.starts[owner]
            start, end = start + origin, end + origin
        token, source = tokens[position], whole[start:end]
        unknown = ids[position] == unk_id
        joined = (
            len(token) != len(source)
            if prefix
            else start > 0 and " " not in whole[start - 1 : start + 1]
        )
        words.append(source if unknown else token)
        starts.append(start)
        ends.append(end)
        continues.append(joined and not unknown)
    return Tokens(words, chosen, starts, ends, plain, continues)


def list_tokens(
    tokens: Tokens, table: TagTable, ignore_labels: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Every token with its likeliest label: the answer without aggregation."""
    names = table.names
    return [
        {
            "entity": names[label],
            "score": score,
            "index": tokens.index[place],
            "word": tokens.words[place],
            "start": tokens.starts[place],
            "end": tokens.ends[place],
        }
        for place, (label, score) in enumerate(_likeliest(tokens.scores))
        if names[label] not in ignore_labels
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
    first, last = _edges([not continues for continues in tokens.continues])
    if how == "first":
        scores = tokens.scores[first]
    elif how == "average":
        sizes = np.array([b - a + 1 for a, b in zip(first, last, strict=True)], tokens.scores.dtype)
        sums = np.add.reduceat(tokens.scores, first, axis=0)
        scores = np.asarray(sums / sizes[:, np.newaxis])
    else:
        sureness = tokens.scores.max(axis=-1)
        surest = [a + int(sureness[a : b + 1].argmax()) for a, b in zip(first, last, strict=True)]
        scores = tokens.scores[surest]
    return Tokens(
        [join(tokens.words[a : b + 1]) for a, b in zip(first, last, strict=True)],
        scores,
        [tokens.starts[place] for place in first],
        [tokens.ends[place] for place in last],
        [tokens.index[place] for place in first],
        [False] * len(first),
    )


def group_entities(
    tokens: Tokens, table: TagTable, join: Join, ignore_labels: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Merge neighbours of one entity type until a ``B-`` label opens the next.

    Args:
        tokens: A window's tokens or words.
        table: The labels.
        join: Tokens or words to text.
        ignore_labels: Groups that are left out.

    Returns:
        ``entity_group, score, word, start, end`` in the text's order; a score is the mean of its
        members' highest.
    """
    if not tokens.words:
        return []
    labels = tokens.scores.argmax(axis=-1).tolist()  # (T,)
    tags = [table.tags[label] for label in labels]
    opens = [table.begins[label] for label in labels]
    others = (tag != before for tag, before in zip(tags[1:], tags, strict=False))
    first, last = _edges([opens[0], *map(or_, opens[1:], others)])
    sizes = np.array([b - a + 1 for a, b in zip(first, last, strict=True)])
    highest = np.maximum.reduce(tokens.scores, axis=-1)  # (T,)
    means = (np.add.reduceat(highest, first) / sizes).tolist()
    return [
        {
            "entity_group": table.groups[labels[a]],
            "score": mean,
            "word": join(tokens.words[a : b + 1]),
            "start": tokens.starts[a],
            "end": tokens.ends[b],
        }
        for a, b, mean in zip(first, last, means, strict=True)
        if table.groups[labels[a]] not in ignore_labels
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


def _likeliest(scores: Scores) -> Iterable[tuple[int, float]]:
    """Of each row the label of the highest score, the first of equals, and that score."""
    highest = np.maximum.reduce(scores, axis=-1).tolist()
    return zip(scores.argmax(axis=-1).tolist(), highest, strict=True)


def _edges(splits: Sequence[bool]) -> tuple[list[int], list[int]]:
    """First and last index of each run: the first entry opens one, and so does each true one."""
    first = [place for place, split in enumerate(splits) if split or place == 0]
    return first, [*(place - 1 for place in first[1:]), len(splits) - 1]


def _weight(entity: Mapping[str, Any]) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]
