"""The parity check of a tokenizer's graph: no text may have other ids than the library's."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import tokenizers
from numpy.typing import NDArray

from bert_export.errors import VerificationError, shown

__all__ = ["check_tokenizer", "hostile_texts"]

_BATCH = 256
_SURROGATES = range(0xD800, 0xE000)
_WORDS_PER_TEXT = 20
_PIECES = (
    *" \t\n.,'-#[]()_@!aeinorstXYZ09",
    *("\u00e9", "e\u0301", "\u0130", "\u00df", "\u03a3", "\u03c2", "\u1fb3", "\ufb01", "\u01c6"),
    *("\u4e2d", "\u6587", "\uac00", "\u3000", "\u00a0", "\u200d", "\u0000", "\ufffd", "\ue000"),
    *("\U0001f600", "\U00020000", "[MASK]", "[SEP]", "[CLS]", "[UNK]", "##", "word", "q" * 101),
)


def check_tokenizer(
    model: ir.Model,
    text: str,
    *,
    max_length: int,
    pairs: bool,
    hostile: int = 20_000,
    seed: int = 0,
) -> int:
    """Compare a graph with the ``tokenizers`` library.

    Every code point is compared alone, between letters and after an accent, then texts and pairs
    that are put together at random.

    Args:
        model: The graph.
        text: The ``tokenizer.json`` that it was made of.
        max_length: Tokens per row.
        pairs: Whether the graph takes pairs.
        hostile: How many texts are put together at random.
        seed: Of the random choices.

    Returns:
        How many texts were compared.

    Raises:
        VerificationError: A text has other ids; the message shows it.
    """
    data = ir.serde.serialize_model(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    library = tokenizers.Tokenizer.from_str(text)
    library.enable_truncation(max_length)
    library.no_padding()
    count = 0
    texts = hostile_texts(hostile, seed=seed)
    for batch in _batches((*_code_points(), *texts)):
        count += len(batch)
        if pairs:
            others = batch[::-1]
            _compare(session, library, batch, others)
        else:
            _compare(session, library, batch)
    return count


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


def _code_points() -> Iterator[str]:
    """Every code point in three surroundings, some of them to a text."""
    points = (chr(point) for point in range(0x110000) if point not in _SURROGATES)
    while characters := list(islice(points, _WORDS_PER_TEXT)):
        for form in ("{}", "a{}b", "e\u0301{}"):
            yield " ".join(form.format(character) for character in characters)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _compare(
    session: onnxruntime.InferenceSession,
    library: tokenizers.Tokenizer,
    texts: Sequence[str],
    others: Sequence[str] | None = None,
) -> None:
    feeds: dict[str, NDArray[Any]] = {"text": np.array(texts, object)}
    if others is not None:
        feeds["text_pair"] = np.array(others, object)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids, mask, types = session.run(names, feeds)
    rows = list(texts) if others is None else list(zip(texts, others, strict=True))
    for index, encoding in enumerate(library.encode_batch(rows)):
        length = len(encoding.ids)
        same = (
            ids[index, :length].tolist() == encoding.ids
            and types[index, :length].tolist() == encoding.type_ids
            and mask[index].sum() == length == mask[index, :length].sum()
        )
        if not same:
            raise VerificationError(
                f"the tokenizer's graph splits {shown(rows[index])} differently",
                expected=f"ids {encoding.ids[:20]}",
                got=str(ids[index, :20].tolist()),
                fix="Report the tokenizer.json, please",
            )
