"""Jobs that make graph inputs out of text with a bundle's own pipeline.

Every contender gets the same tokens: ours, which may have inputs besides the usual three, and the
graphs of other tools.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_export import load
from bert_export.errors import BertExportError
from bert_export.measuring.bundle_worker import rows_of_shape
from bert_export.measuring.workloads import parse_shapes
from bert_export.quantization.calibration.rows import make_rows, read_calibration
from bert_export.runtime.batching import Row, batch_rows, pad_rows
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import encode_texts
from bert_export.tasks import find_task
from bert_export.tasks.question_answering import TASK as QUESTION_ANSWERING

__all__ = [
    "EXPECTED_ERRORS",
    "make_lengths",
    "make_texts",
    "write_batches",
    "write_calibration_rows",
    "write_feeds",
    "write_mixed",
]

EXPECTED_ERRORS = (BertExportError,)

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_BATCH = 32
_FILLING_TEXTS = 256
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
    words = (word for word in stored["model"]["vocab"] if word.isascii() and word.isalpha())
    return sorted(word for word in words if word.islower())


def write_feeds(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write one file of feeds per shape, of words that are a token each.

    Args:
        request: ``bundle``; ``shapes``, pairs; ``files``, one for each; whether rows are
            ``ragged``, and whether each has a mask (``masked``).
    """
    bundle = Path(request["bundle"])
    with load(bundle, threads=1) as pipeline:
        tokenizer = pipeline.tokenizer
        words = plain_words(bundle, pipeline.manifest.tokenizer.file)
        mask_token = tokenizer.mask_token if request["masked"] else None
        for (batch, sequence), file in zip(request["shapes"], request["files"], strict=True):
            rng = np.random.default_rng(_SEED)
            lengths = make_lengths(batch, sequence, ragged=request["ragged"], rng=rng)
            texts = make_texts(words, lengths, mask_token, rng)
            rows = _encode(pipeline, texts)
            if [len(row) for row in rows] != lengths:
                raise RuntimeError("texts did not come out at the lengths that were asked for")
            padded = pad_rows(rows, pad_id=tokenizer.pad_id)
            masks = padded["input_ids"] == tokenizer.mask_id  # (B, S)
            np.savez(file, **{**padded, **pipeline.graph_feeds(padded), "masks": masks})
    return {}


def _encode(pipeline: Pipeline[Any, Any, Any], texts: Sequence[str]) -> list[Row]:
    """A row for each text, with the further inputs that the task's graph has."""
    if pipeline.task == QUESTION_ANSWERING.name:  # a question beside the text would only be tokens
        return encode_texts(pipeline.tokenizer, texts)
    items = [pipeline.item({"text": text}) for text in texts]
    return [row for rows in pipeline.encode_items(items, pipeline.defaults) for row in rows]


def write_batches(request: Mapping[str, Any]) -> dict[str, Any]:
    """Tokenize texts: a file of a batch per shape, and one of batches sorted by length.

    Args:
        request: ``bundle``; ``texts``, a JSON file; ``shapes`` as typed, and ``shape_files``, one
            for each; ``batches``, the file of all texts; ``order``, the file of their indices.
    """
    texts = json.loads(Path(request["texts"]).read_text(encoding="utf-8"))
    with load(request["bundle"], threads=1) as pipeline:
        pad_id = pipeline.tokenizer.pad_id
        records = [{"text": text} for text in texts[:_FILLING_TEXTS]]
        for shape, file in zip(request["shapes"], request["shape_files"], strict=True):
            (parsed,) = parse_shapes(shape)
            rows = rows_of_shape(pipeline, records, parsed.batch, parsed.sequence)
            _save(file, [pad_rows(rows, pad_id=pad_id)])
        items = [pipeline.item({"text": text}) for text in texts]
        rows = [row for (row,) in pipeline.encode_items(items, pipeline.dataset_settings())]
        lengths = [len(row) for row in rows]
        order = batch_rows(lengths, token_budget=_BATCH * max(lengths), max_rows=_BATCH)
        batches = [[rows[index] for index in batch] for batch in order]
        _save(request["batches"], [pad_rows(batch, pad_id=pad_id) for batch in batches])
        np.save(request["order"], np.concatenate([np.asarray(batch) for batch in order]))
    return {"rows": len(rows)}


def write_mixed(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write batches of rows of drawn lengths, in the order in which they are drawn.

    Lengths may be beyond those that the tokenizer gives: what the graph takes is what counts.

    Args:
        request: ``bundle``; ``lengths``, tokens of a row at least and at most; ``rows`` of a batch;
            ``count`` of batches; ``batches``, the file.

    Returns:
        How many ``tokens`` the rows have, and how many ``padded`` ones the arrays.
    """
    shortest, longest = request["lengths"]
    rng = np.random.default_rng(_SEED)
    bundle, count = Path(request["bundle"]), request["rows"]
    lengths = rng.integers(shortest, longest + 1, (request["count"], count))
    with load(bundle, threads=1) as pipeline:
        words = plain_words(bundle, pipeline.manifest.tokenizer.file)
        (row,) = encode_texts(pipeline.tokenizer, [words[0]])
        first, _, last = row.input_ids  # [CLS], the word, [SEP]
        pad = pipeline.tokenizer.pad_id
        ids = np.concatenate(
            [
                encoded.input_ids[1:-1]
                for encoded in encode_texts(pipeline.tokenizer, words[:_FILLING_TEXTS])
            ]
        )
    batches = []
    for own in lengths:
        filled = rng.choice(ids, (count, own.max()))  # (B, S)
        places = np.arange(own.max())  # (S,)
        filled[:, 0] = first
        filled[places == own[:, None] - 1] = last
        mask = places < own[:, None]  # (B, S)
        filled[~mask] = pad
        batches.append(
            {
                "input_ids": filled,
                "attention_mask": mask.astype(np.int64),
                "token_type_ids": np.zeros_like(filled),
            }
        )
    _save(request["batches"], batches)
    padded = sum(batch["input_ids"].size for batch in batches)
    return {"tokens": int(lengths.sum()), "padded": padded}


def write_calibration_rows(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write the rows that calibrate our INT8, for a tool that calibrates on the same text.

    Args:
        request: ``bundle``; ``rows``, the file; ``most`` of them, or null for all.
    """
    with load(request["bundle"], threads=1) as pipeline:
        task = find_task(pipeline.task)
        choices = any("choices" in output.shape for output in task.outputs)
        rows = make_rows(read_calibration(task), pipeline).rows
        feeds = [
            pad_rows([row], pad_id=pipeline.tokenizer.pad_id) for row in rows[: request["most"]]
        ]  # (1, S) each
        if choices:
            feeds = [{name: array[:, None] for name, array in one.items()} for one in feeds]
        _save(request["rows"], feeds)
    return {"rows": len(feeds)}


def _save(file: str, batches: Sequence[Mapping[str, Any]]) -> None:
    """Batches as ``input_ids.0``, ``input_ids.1``, ..."""
    arrays: dict[str, Any] = {
        f"{name}.{index}": feeds[name] for index, feeds in enumerate(batches) for name in _INPUTS
    }
    np.savez(file, **arrays)
