"""What a graph is verified on: real text, and shapes that break exports.

One token, the longest row, very unequal rows in one batch, a row that is nearly all padding, emoji,
unknown characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from bert_export.exporter.unseen_text import UnseenText
from bert_export.runtime.batching import Row, batches_of, row_from_encoding
from bert_export.runtime.sessions.session import Array, Feeds, Outputs
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks import MASKED_POSITIONS, GraphInterface, ScoredPositions
from bert_export.tasks.interface import BATCH, PAST, SEQUENCE, TOTAL, cached_outputs

__all__ = ["Case", "MakeFeeds", "cached_cases", "make_cases", "scored_part", "text_batches"]

_TOKEN_BUDGET = 1024
_IDS = "input_ids"
_HEAD_SIZES = (32, 64)
_AWKWARD_TEXTS = (
    "🙂🚀👩‍👩‍👧 done ✅",
    "ᚠᛇᚻ ᛒᛦᚦ 𒀀𒈾 ꧁꧂ unknown",
    "naïve façade — Ünïcödé, 東京都, Привет",
    "a",
    "!?",
)


@dataclass(frozen=True, slots=True)
class Case:
    """Feeds of one batch and what is peculiar about them.

    Args:
        name: What the batch tries.
        feeds: int64 arrays by input name, axes as the graph's.
        text: The real text that the rows are of, on which agreement is measured; ``None`` for
            shapes that were made up.
    """

    name: str
    feeds: Feeds
    text: UnseenText | None = None


class MakeFeeds(Protocol):
    """A pipeline's :meth:`~bert_export.runtime.pipelines.pipeline.Pipeline.feeds`."""

    def __call__(self, rows: Sequence[Row], *, length: int | None = None) -> Feeds:
        """The graph's inputs for a batch of rows, padded to a length."""
        ...


def make_cases(
    tokenizer: Tokenizer,
    texts: Sequence[UnseenText],
    *,
    feeds: MakeFeeds,
    vocab_size: int,
    seed: int = 0,
) -> list[Case]:
    """Batches of real text and of awkward shapes.

    Args:
        tokenizer: Of the checkpoint; its ``max_length`` is tried.
        texts: Rows of real text, as the task makes them; one at least.
        feeds: The graph's inputs for a batch of rows.
        vocab_size: Rows of the word table; the tokenizer may know tokens beyond.
        seed: Of the random ids that fill the longest rows.
    """
    rng = np.random.default_rng(seed)
    most = min(tokenizer.vocab_size, vocab_size)
    cases = [
        Case("real text", batch, text)
        for text in texts
        for batch in text_batches(text.records, feeds=feeds)
    ]
    like = texts[0].rows[0]

    def case(name: str, lengths: Sequence[int], *, padded: int | None = None) -> Case:
        """Random ids behind ``[CLS]``, the last of them a mask."""
        ids = rng.integers(0, most, (len(lengths), padded or max(lengths)))
        ids[:, 0] = tokenizer.cls_id
        if tokenizer.mask_id is not None and tokenizer.mask_id < vocab_size:
            longer = [row for row, length in enumerate(lengths) if length > 1]
            ids[longer, [lengths[row] - 1 for row in longer]] = tokenizer.mask_id
        made = [_like(like, own[:length]) for own, length in zip(ids, lengths, strict=True)]
        return Case(name, feeds(made, length=padded))

    longest = tokenizer.max_length
    cases += [
        case("one token", [1]),
        case("longest row", [longest]),
        case("unequal rows", [1, max(2, longest // 2), 3, longest]),
        case("nearly all padding", [2, 2], padded=longest),
        case("many short rows", [min(4, longest)] * 33),
        # As many tokens as heads have channels: OpenVINO was wrong there alone.
        *(case(f"rows of {size}", [size] * 2) for size in _HEAD_SIZES if size <= longest),
    ]
    encoded = tokenizer.encode(list(_AWKWARD_TEXTS))
    awkward = [row_from_encoding(windows[0]) for windows in encoded]
    made = [_like(like, row.input_ids) for row in awkward if row.input_ids.max() < vocab_size]
    cases.append(Case("emoji and unknown characters", feeds(made)))
    return cases


def cached_cases(
    run: Callable[[Feeds], Outputs],
    tokenizer: Tokenizer,
    like: Row,
    *,
    feeds: MakeFeeds,
    interface: GraphInterface,
    vocab_size: int,
    positions: int,
    seed: int = 0,
) -> Iterator[tuple[Case, Outputs]]:
    """Calls that follow others, each with what the head gives.

    Args:
        run: The head.
        tokenizer: Of the checkpoint.
        like: A row as the task makes them.
        feeds: The graph's inputs for a batch of rows, with an empty cache.
        interface: With a cache; its outputs' caches follow its inputs' in order.
        vocab_size: Rows of the word table.
        positions: Tokens that the head has positions for, with those of earlier calls.
        seed: Of the random ids.
    """
    pasts = [tensor.name for tensor in interface.inputs if PAST in tensor.shape]
    caches = cached_outputs(interface.outputs)
    presents = [tensor.name for tensor in interface.outputs if tensor.name in caches]
    rng = np.random.default_rng(seed)
    most, longest = min(tokenizer.vocab_size, vocab_size), tokenizer.max_length
    (mask,) = (tensor.name for tensor in interface.inputs if tensor.shape == (BATCH, TOTAL))
    tokens_of = [tensor.name for tensor in interface.inputs if tensor.shape == (BATCH, SEQUENCE)]
    begun = [max(1, longest // 2), 1, min(3, longest)]
    given = feeds([_like(like, rng.integers(0, most, length)) for length in begun])
    outputs = run(given)
    for name, tokens in (("one token behind a cache", 1), ("several tokens behind a cache", 3)):
        total = given[mask].shape[1] + tokens
        if total > min(longest, positions):
            return
        ids = rng.integers(0, most, (len(begun), tokens))  # (B, S)
        given = {
            **given,  # the text that a decoder attends to stays
            **{name: ids if name.endswith(_IDS) else np.zeros_like(ids) for name in tokens_of},
            mask: np.concatenate([given[mask], np.ones_like(ids)], axis=1),
            **{past: outputs[kept] for past, kept in zip(pasts, presents, strict=True)},
        }
        outputs = run(given)
        yield Case(name, given), outputs


def text_batches(records: Sequence[Sequence[Row]], *, feeds: MakeFeeds) -> Iterator[Feeds]:
    """The graph's inputs for real text.

    Args:
        records: The rows of each record.
        feeds: The graph's inputs for a batch of rows. Where they have an axis of choices, which a
            service fills with one each, a record's rows are the choices of one question: what the
            head answers is which of them is best.
    """
    if feeds(records[0])["input_ids"].ndim == 3:
        for rows in records:
            choices = feeds(rows)  # (C, 1, S)
            yield {name: array.swapaxes(0, 1) for name, array in choices.items()}
        return
    rows = [row for record in records for row in record]
    for batch in batches_of(rows, token_budget=_TOKEN_BUDGET):
        yield feeds(batch)


def scored_part(array: Array, feeds: Feeds, positions: ScoredPositions) -> Array:
    """Of a head's output what its graph gives, which scores some tokens alone.

    Args:
        array: Float32 (B, S, ...) where the graph scores masks or last tokens, else of any shape.
        feeds: The graph's inputs.
        positions: The tokens that the graph scores.

    Returns:
        (M, ...) of the masks, (B, ...) of each row's last token, or the array itself.
    """
    if positions == "masks":
        flat: Array = array.reshape(-1, *array.shape[2:])
        return np.asarray(flat[feeds[MASKED_POSITIONS]])
    if positions == "last_token":
        mask = feeds.get("decoder_attention_mask", feeds["attention_mask"])
        own = mask[:, -array.shape[1] :]  # (B, S), without a cache's tokens
        last = own.shape[1] - 1 - own[:, ::-1].argmax(axis=1)  # (B,)
        return np.asarray(array[np.arange(len(array)), last])
    return array


def _like(row: Row, input_ids: Array) -> Row:
    """A single text of these ids, int64 (S,), with all further inputs of that row at 1."""
    ones = np.ones_like(input_ids)
    return replace(
        row,
        input_ids=input_ids,
        token_type_ids=np.zeros_like(input_ids),
        extra=dict.fromkeys(row.extra or (), ones) or None,
    )
