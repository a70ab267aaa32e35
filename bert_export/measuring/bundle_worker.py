"""The worker that opens a bundle; see :mod:`bert_export.measuring.serving`.

Nothing is imported beyond what a service needs that loads the bundle and answers: its start is
measured too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np

from bert_export.errors import BertExportError, InputError
from bert_export.runtime.batching import Row
from bert_export.runtime.loading import load, threads_for
from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = ["EXPECTED_ERRORS", "BundleContender", "open_contender", "rows_of_shape"]

EXPECTED_ERRORS = (BertExportError,)


def open_contender(request: Mapping[str, Any]) -> BundleContender:
    """Load a bundle.

    Args:
        request: ``bundle``, a folder; ``target`` (the bundle's default when null); ``threads``
            inside an operator, where the engine has a say in them; ``records`` of the task, whose
            text fills the shapes.
    """
    bundle, target = request["bundle"], request["target"]
    threads = threads_for(bundle, target, request["threads"])
    pipeline = load(bundle, target=target, threads=threads)
    return BundleContender(pipeline, request["records"])


class BundleContender:
    """A bundle that is open.

    Args:
        pipeline: Of the bundle.
        records: Real records of the task.
    """

    def __init__(self, pipeline: Pipeline[Any, Any, Any], records: Sequence[Any]) -> None:
        self._pipeline = pipeline
        self._records = records

    def answer(self, request: Mapping[str, Any]) -> None:
        """Answer the first record; the request holds nothing."""
        del request
        self._answer(self._records[:1])

    def calls(self, request: Mapping[str, Any]) -> list[Callable[[], object]]:
        """What one pass over a workload runs.

        Args:
            request: The graph alone: ``batch`` and ``sequence`` of rows without padding. Whole
                answers: ``records``, how many, and whether ``at_once`` or one after the other.

        Raises:
            InputError: The workload does not fit the bundle.
        """
        if "sequence" in request:
            batch, sequence = request["batch"], request["sequence"]
            rows = rows_of_shape(self._pipeline, self._records, batch, sequence)
            pipeline = self._pipeline
            feeds = pipeline.feeds(rows)
            return [lambda: pipeline.run(feeds)]
        records = self._records[: request["records"]]
        groups = [records] if request["at_once"] else [[record] for record in records]
        return [lambda group=group: self._answer(group) for group in groups]  # type: ignore[misc]

    def _answer(self, records: Sequence[Any]) -> list[Any]:
        pipeline = self._pipeline
        items = [pipeline.item(record) for record in records]
        return list(pipeline.answers(items, pipeline.dataset_settings()))


def rows_of_shape(
    pipeline: Pipeline[Any, Any, Any], records: Sequence[Any], batch: int, sequence: int
) -> list[Row]:
    """Rows of exactly that shape out of the records' own tokens.

    Args:
        pipeline: Of the bundle.
        records: Real ones; their tokens are strung together, and again where they run out.
        batch: How many rows.
        sequence: Tokens of each; no longer than the bundle's rows may be.

    Raises:
        InputError: The shape is longer than the bundle's rows, or there are no tokens.
    """
    tokenizer = pipeline.tokenizer
    if sequence > tokenizer.max_length:
        raise InputError(
            f"shape {batch}x{sequence} is longer than the bundle's rows",
            expected=f"at most {tokenizer.max_length} tokens",
            got=sequence,
        )
    settings = pipeline.dataset_settings()
    encoded = pipeline.encode_items([pipeline.item(record) for record in records], settings)
    sources = [row for rows in encoded for row in rows]
    framing = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id}
    tokens = [int(token) for row in sources for token in row.input_ids if int(token) not in framing]
    if not tokens:
        raise InputError("records hold no token", expected="some text", got="none")
    stream = cycle(tokens)
    first, last = tokenizer.cls_id, tokenizer.sep_id
    return [
        _row(sources[0], [first, *islice(stream, sequence - 2), last], pipeline)
        for _ in range(batch)
    ]


def _row(like: Row, ids: list[int], pipeline: Pipeline[Any, Any, Any]) -> Row:
    """A row of these ids; a task that scores masks gets one, and further inputs are all ones."""
    input_ids = np.asarray(ids, dtype=np.int64)
    mask_id = pipeline.tokenizer.mask_id
    if pipeline.definition.masked_texts and mask_id is not None:
        input_ids[len(input_ids) // 2] = mask_id
    return replace(
        like,
        input_ids=input_ids,
        token_type_ids=np.zeros_like(input_ids),
        extra={name: np.ones_like(input_ids) for name in like.extra or ()} or None,
    )
