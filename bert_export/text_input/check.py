"""The parity check of a tokenizer's graph: no text may have other ids than the library's."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import onnxruntime
import tokenizers
from numpy.typing import NDArray

from bert_export.errors import VerificationError, shown
from bert_export.tasks.interface import OFFSETS, TEXT, TEXT_PAIR
from bert_export.text_input.characters import characters
from bert_export.text_input.graph import TokenizerPlan

__all__ = [
    "HOSTILE",
    "MAX_LENGTHS",
    "Compared",
    "check_tokenizer",
    "compare_texts",
    "every_code_point",
    "hostile_texts",
    "pairs_of_lengths",
]

MAX_LENGTHS = (3, 4, 16, 63, 64, 512)
"""Tokens per row that are tried besides the bundle's own."""

HOSTILE = 100_000
"""Texts that are put together at random: each length of rows gets its share of them."""

_BATCH = 256
_CHARACTERS_PER_TEXT = 64
_SURROUNDINGS = ("{}", "a{}b", "e\u0301{}")
_MOST_TOKENS = 1 << 20
_WORDS = "word"
_PIECES = (
    *" \t\n.,'-#[]()_@!aeinorstXYZ09",
    *("\u00e9", "e\u0301", "\u0130", "\u00df", "\u03a3", "\u03c2", "\u1fb3", "\ufb01", "\u01c6"),
    *("\u4e2d", "\u6587", "\uac00", "\u3000", "\u00a0", "\u200d", "\u0000", "\ufffd", "\ue000"),
    *("\U0001f600", "\U00020000", "[MASK]", "[SEP]", "[CLS]", "[UNK]", "##", "word", "q" * 101),
    *("\u0323", "\u302e", "\u0345", "\ufe0f"),
)


class Compared(NamedTuple):
    """What was compared: numbers of texts, but for characters and lengths.

    Args:
        code_points: Characters, each alone, between letters and after an accent.
        texts: Those that were given.
        hostile: Put together at random.
        pairs: In all relations of their lengths; and of the texts above, where rows are pairs.
        max_lengths: Tokens per row. Given texts were compared with each, others with one of them.
    """

    code_points: int
    texts: int
    hostile: int
    pairs: int
    max_lengths: tuple[int, ...]


def check_tokenizer(
    plan: TokenizerPlan,
    text: str,
    *,
    pairs: bool,
    texts: Sequence[str] = (),
    hostile: int = HOSTILE,
    max_lengths: Sequence[int] = MAX_LENGTHS,
    code_points: bool = True,
    seed: int = 0,
) -> Compared:
    """Compare a graph with the ``tokenizers`` library.

    Args:
        plan: Of the graph.
        text: The ``tokenizer.json`` that it was made of.
        pairs: Whether the graph takes pairs.
        texts: Real ones, which are compared too.
        hostile: How many texts are put together at random, over all lengths.
        max_lengths: Tokens per row that are tried besides the plan's own.
        code_points: Whether every character is compared, without truncation.
        seed: Of the random choices.

    Raises:
        VerificationError: A text has other ids, types or offsets, or another mask; the message
            shows it.
    """
    lengths = tuple(sorted({*max_lengths, plan.template.max_length}))
    points = 0
    if code_points:
        graph = _Graph(plan, text, max_length=_MOST_TOKENS, pairs=pairs)
        points = sum(1 for _ in characters())
        graph.compare_rows(_in_pairs(every_code_point()) if pairs else every_code_point())
    made = hostile_texts(hostile, seed=seed)
    words = _words(plan, text)
    compared = 0
    for number, length in enumerate(lengths):
        share = list(islice(made, len(range(number, hostile, len(lengths)))))
        graph = _Graph(plan, text, max_length=length, pairs=pairs)
        if pairs:
            rows = [
                *pairs_of_lengths(words, length - 3),
                *zip(share, reversed(share), strict=True),
                *zip(texts, reversed(texts), strict=True),
            ]
            compared += len(rows)
            graph.compare_rows(rows)
        else:
            graph.compare_rows([*texts, *share])
    return Compared(points, len(texts), hostile, compared, lengths)


def compare_texts(plan: TokenizerPlan, text: str, rows: Iterable[Row], *, pairs: bool) -> None:
    """Compare a graph with the library on given texts, or pairs of them, alone.

    Raises:
        VerificationError: See :func:`check_tokenizer`.
    """
    graph = _Graph(plan, text, max_length=plan.template.max_length, pairs=pairs)
    graph.compare_rows(rows)


def hostile_texts(count: int, *, seed: int) -> Iterator[str]:
    """Characters that tokenizers are known to treat differently, put together at random."""
    chance = random.Random(seed)  # noqa: S311 - a seeded choice, not cryptography
    for _ in range(count):
        length = chance.choice((0, 1, 2, 5, 10, 30, 80))
        yield "".join(_character(chance) for _ in range(length))


def _character(chance: random.Random) -> str:
    if chance.random() < 0.85:
        piece: str = chance.choice(_PIECES)
        return piece
    point = chance.randrange(0x20, 0x110000)
    return "\ufffd" if point in _SURROGATES else chr(point)


def every_code_point() -> Iterator[str]:
    """Every code point in three surroundings, some of them to a text, each in a word of its own."""
    points = characters()
    while some := list(islice(points, _CHARACTERS_PER_TEXT)):
        for form in _SURROUNDINGS:
            yield " ".join(form.format(character) for character in some)


def _in_pairs(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    iterator = iter(texts)
    return ((first, next(iterator, "")) for first in iterator)


def _words(plan: TokenizerPlan, text: str) -> Sequence[str]:
    """Words of one token, mostly different ones."""
    vocabulary = tokenizers.Tokenizer.from_str(text).get_vocab(with_added_tokens=False)
    letters = plan.alphabet.letters
    words = [piece for piece in vocabulary if all(letter in letters for letter in piece)]
    return sorted(words)[:: max(1, len(words) // 2000)] or [_WORDS]


def pairs_of_lengths(words: Sequence[str], limit: int) -> Iterator[tuple[str, str]]:
    """Pairs around every length at which truncation decides: each text fits its half or does not.

    Args:
        words: Of one token each.
        limit: Tokens that both texts may have together.
    """
    half = limit // 2
    counts = {0, 1, half - 1, half, half + 1, limit - 1, limit, limit + 1, 2 * limit + 1}
    chance = random.Random(limit)  # noqa: S311 - a seeded choice, not cryptography
    for first in sorted(counts):
        for second in sorted(counts):
            yield (
                " ".join(chance.choices(words, k=max(0, first))),
                " ".join(chance.choices(words, k=max(0, second))),
            )


class _Graph:
    """The tokenizer's graph and the library's tokenizer, with one length of rows.

    Args:
        plan: Of the graph.
        text: The ``tokenizer.json`` that it was made of.
        max_length: Tokens per row.
        pairs: Whether rows are pairs.
    """

    def __init__(self, plan: TokenizerPlan, text: str, *, max_length: int, pairs: bool) -> None:
        from bert_export.text_input.model import tokenizer_model

        template = replace(plan.template, max_length=max_length)
        model = tokenizer_model(replace(plan, template=template), pairs=pairs)
        data = ir.serde.serialize_model(model).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised, and need no second line on stderr
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]
        self._has_offsets = OFFSETS in self._names
        self._template = template
        self._thread = ThreadPoolExecutor(1)  # both sides compute without Python's lock
        self._library = tokenizers.Tokenizer.from_str(text)
        self._library.enable_truncation(max_length)
        self._library.enable_padding(pad_id=template.pad_id)

    def compare_rows(self, rows: Iterable[Row]) -> None:
        """Compare texts, or pairs of them.

        Raises:
            VerificationError: See :func:`check_tokenizer`.
        """
        iterator = iter(rows)
        while batch := list(islice(iterator, _BATCH)):
            self._compare(batch)

    def _compare(self, rows: Sequence[Row]) -> None:
        running = self._thread.submit(self._session.run, None, _feeds(rows))
        encode = (
            self._library.encode_batch if self._has_offsets else self._library.encode_batch_fast
        )
        encodings = encode(rows)
        made = dict(zip(self._names, running.result(), strict=True))
        expected = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        if not self._template.token_types:
            expected["token_type_ids"] = np.zeros_like(expected["input_ids"]).tolist()
        if self._has_offsets:
            expected[OFFSETS] = [encoding.offsets for encoding in encodings]
        for name, values in expected.items():
            array = np.array(values, np.int64)
            if np.array_equal(array, made[name]):
                continue
            if array.shape == made[name].shape:
                row = int(np.argmax((array != made[name]).reshape(len(rows), -1).any(axis=1)))
            else:
                row = 0
            if len(rows) > 1:  # shapes are those of the longest row: show the one that differs
                for one in rows:
                    self._compare([one])
            raise VerificationError(
                f"the tokenizer's graph reads {shown(rows[row])} differently",
                expected=f"{name} {array[row].tolist()[:20]}",
                got=str(made[name][row].tolist()[:20]),
                fix="Report the tokenizer.json, please, and export without --text-input",
            )


Row = str | tuple[str, str]
"""A text or a pair of texts."""


def _feeds(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    if isinstance(rows[0], str):
        return {TEXT: np.array(rows, object)}
    return {
        name: np.array([row[index] for row in rows], object)
        for index, name in enumerate((TEXT, TEXT_PAIR))
    }


_SURROGATES = range(0xD800, 0xE000)
