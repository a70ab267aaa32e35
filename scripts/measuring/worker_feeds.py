"""Builds graph inputs of exact shapes out of real words, as a bundle's own pipeline makes them.

Whatever inputs a bundle's graph has besides the usual three come from its pipeline, which is asked
to encode texts of exactly so many tokens; every other graph gets the same tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bert_export import load
from bert_export.runtime.batching import pad_rows
from measuring.child import read_request, send

_SEED = 0
_SHORTEST_SHARE = 4  # a ragged row has at least a quarter of the longest one's tokens
_SPECIAL = 2  # [CLS] and [SEP]


def make_texts(
    words: list[str], lengths: list[int], mask_token: str | None, rng: np.random.Generator
) -> list[str]:
    """Texts of exactly so many tokens, special ones included, one of them masked where asked.

    Args:
        words: Each a single token.
        lengths: Tokens of each text, at least 3.
        mask_token: Put in the place of one word; none where ``None``.
        rng: Source of every choice.
    """
    texts = []
    for length in lengths:
        chosen = [words[index] for index in rng.integers(0, len(words), length - _SPECIAL)]
        if mask_token is not None:
            chosen[rng.integers(0, len(chosen))] = mask_token
        texts.append(" ".join(chosen))
    return texts


def make_lengths(batch: int, sequence: int, *, ragged: bool, rng: np.random.Generator) -> list[int]:
    """Tokens of each row: all the longest, or spread below it with one that is."""
    if not ragged:
        return [sequence] * batch
    shortest = max(_SPECIAL + 1, sequence // _SHORTEST_SHARE)
    return [sequence, *rng.integers(shortest, sequence + 1, batch - 1).tolist()]


def plain_words(bundle: Path, tokenizer_file: str) -> list[str]:
    """Words of the vocabulary that stay one token, whatever stands beside them."""
    stored = json.loads((bundle / tokenizer_file).read_text(encoding="utf-8"))
    vocabulary = stored["model"]["vocab"]
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha())


def build(request: dict[str, Any]) -> None:
    """Write one file of feeds per shape."""
    bundle = Path(request["bundle"])
    with load(bundle, threads=1) as pipeline:
        tokenizer = pipeline.tokenizer
        words = plain_words(bundle, pipeline.manifest.tokenizer.file)
        words = [word for word in words if word.islower()]
        mask_token = tokenizer.mask_token if request["masked"] else None
        for (batch, sequence), file in zip(request["shapes"], request["files"], strict=True):
            rng = np.random.default_rng(_SEED)
            lengths = make_lengths(batch, sequence, ragged=request["ragged"], rng=rng)
            texts = make_texts(words, lengths, mask_token, rng)
            items = [pipeline.item({"text": text}) for text in texts]
            encoded = pipeline.encode(items, pipeline.default_settings())
            rows = [row for rows in encoded for row in rows]
            if [len(row) for row in rows] != lengths:
                raise RuntimeError("texts did not come out at the lengths that were asked for")
            padded = pad_rows(rows, pad_id=tokenizer.pad_id)
            masks = padded["input_ids"] == tokenizer.mask_id  # (B, S)
            np.savez(file, **{**padded, **pipeline.graph_feeds(padded), "masks": masks})


if __name__ == "__main__":
    build(read_request())
    send("result")
