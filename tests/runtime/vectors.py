"""The vectors of ``tests/vectors``, and a session that answers as they say.

:func:`read_vectors` gives a task's cases; :func:`open_vector` a pipeline over one of them, whose
graph is a :class:`VectorSession`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.bundle import (
    SCHEMA_VERSION,
    EngineRecord,
    GraphRecord,
    Manifest,
    ModelRecord,
    TensorSpec,
    TokenizerRecord,
)
from bert_export.errors import InputError
from bert_export.runtime.batching import Row
from bert_export.runtime.decoding.encoded import Encoded
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Feeds, Outputs, Session, check_feeds
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks import MASKED_POSITIONS, TASKS, CheckpointFacts, SentenceFacts, find_task

__all__ = [
    "VECTORS",
    "Vector",
    "VectorRow",
    "VectorSession",
    "manifest_of",
    "open_vector",
    "read_tokenizer",
    "read_vectors",
]

VECTORS = Path(__file__).parents[1] / "vectors"

_PADDING = 77.0
_MASKS = {"input_ids": "attention_mask", "decoder_input_ids": "decoder_attention_mask"}
"""Inputs, and which of their tokens are not padding."""

_ENCODING = ("tokens", "offsets", "word_ids", "sequence_ids", "special_tokens_mask")


@dataclass(frozen=True, kw_only=True)
class VectorRow:
    """One row of graph input, unpadded, and what the graph answers it.

    Args:
        item: Which item of the input it belongs to.
        input_ids, token_type_ids: int64 (S,).
        outputs: float32 by name, without the batch axis.
        tokens, offsets, word_ids, sequence_ids, special_tokens_mask: What the tokenizer says of
            each token, S entries; ``None`` for a row that no text was encoded to. Offsets count
            code points.
        pooling_mask: Which tokens are pooled, int64 (S,), where the graph takes it.
        decoder_input_ids: What is answered so far, int64 (T,), where the graph takes it; the other
            fields are those of the text.
    """

    item: int
    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    outputs: dict[str, NDArray[np.float32]]
    tokens: list[str] | None = None
    offsets: list[tuple[int, int]] | None = None
    word_ids: list[int | None] | None = None
    sequence_ids: list[int | None] | None = None
    special_tokens_mask: list[int] | None = None
    pooling_mask: NDArray[np.int64] | None = None
    decoder_input_ids: NDArray[np.int64] | None = None

    @property
    def encoded(self) -> Encoded:
        """What the decoding reads of the row."""
        assert self.encoding is not None
        return Encoded(
            ids=self.input_ids.tolist(), type_ids=self.token_type_ids.tolist(), **self.encoding
        )

    @property
    def encoding(self) -> dict[str, Any] | None:
        """The tokenizer's fields by name; ``None`` where there are none."""
        if self.tokens is None:
            return None
        return {name: getattr(self, name) for name in _ENCODING}


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One case: a call, the rows and outputs behind it, and its answer.

    Args:
        task: Such as ``fill-mask``.
        name: What is peculiar about it.
        labels: The head's, in id order.
        postprocessing: The manifest's.
        tokenizer: The manifest's record.
        input: What the pipeline is called with.
        options: The call's other arguments, by name.
        rows: In order.
        answer: Plain values; ``None`` where the call is refused.
        error: Whether the call is refused.
        warns: Whether the call warns.
    """

    task: str
    name: str
    labels: tuple[str, ...]
    postprocessing: dict[str, Any]
    tokenizer: TokenizerRecord
    input: Any
    options: dict[str, Any]
    rows: tuple[VectorRow, ...]
    answer: Any
    error: bool
    warns: bool

    def __str__(self) -> str:
        return self.name


@cache
def read_vectors(task: str) -> tuple[Vector, ...]:
    """The cases of a task, in the order of the file."""
    whole = json.loads((VECTORS / f"{task}.json").read_text(encoding="utf-8"))
    assert whole["task"] == task
    return tuple(
        Vector(
            task=task,
            name=case["name"],
            labels=tuple(case["labels"]),
            postprocessing=case["postprocessing"],
            tokenizer=TokenizerRecord(**(whole["tokenizer"] | case["tokenizer"])),
            input=case["input"],
            options=case["options"],
            rows=_read_rows(case["rows"], case["outputs"]),
            answer=case.get("answer"),
            error=case.get("error", False),
            warns=case.get("warns", False),
        )
        for case in whole["cases"]
    )


def _read_rows(
    rows: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> tuple[VectorRow, ...]:
    """The rows; those of an answer to a text name the text's ids too."""
    read: list[VectorRow] = []
    texts: dict[int, Mapping[str, Any]] = {}
    for row, given in zip(rows, outputs, strict=True):
        text = texts.setdefault(row["item"], row)
        ids = {name: text[name] for name in ("input_ids", "token_type_ids")}
        read.append(_read_row({**ids, **row}, given))
    return tuple(read)


def _read_row(row: Mapping[str, Any], outputs: Mapping[str, Any]) -> VectorRow:
    fields = dict(row)
    if "offsets" in fields:
        fields["offsets"] = [(start, end) for start, end in fields["offsets"]]
    for name in ("input_ids", "token_type_ids", "pooling_mask", "decoder_input_ids"):
        if name in fields:
            fields[name] = np.array(fields[name], dtype=np.int64)
    arrays = {name: np.array(value, dtype=np.float32) for name, value in outputs.items()}
    return VectorRow(**fields, outputs=arrays)


@cache
def read_tokenizer(record: TokenizerRecord) -> Tokenizer:
    """The tokenizer beside the vectors that a record names."""
    return Tokenizer.from_file(VECTORS / record.file, record)


class VectorSession(Session):
    """A graph that knows a vector's rows: it answers each as recorded, in any batch.

    Padded places of an output hold a number that shows in any answer that reads it.

    Args:
        vector: The vector.
    """

    def __init__(self, vector: Vector) -> None:
        task = find_task(vector.task)
        pools_all = vector.postprocessing.get("include_prompt", True)
        facts = CheckpointFacts(sentence=SentenceFacts(include_prompt=pools_all))
        self._per_row = [
            TensorSpec(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape)
            for tensor in task.interface(facts).inputs
        ]
        self.inputs = tuple(self._per_row)
        self._by_mask = task.scored_positions == "masks"
        if self._by_mask:
            masks = TensorSpec(name=MASKED_POSITIONS, dtype="int64", shape=("masked",))
            self.inputs = (*self.inputs, masks)
        shapes = {output.name: output.shape for output in task.outputs}
        if self._by_mask:
            shapes["logits"] = ("masked", "vocabulary")
        if task.scored_positions == "last_token":
            shapes["logits"] = ("batch", "vocabulary")
        self.outputs = tuple(
            TensorSpec(name=name, dtype="float32", shape=_sized(shape, _last_axis(vector, name)))
            for name, shape in shapes.items()
        )
        self._names = [spec.name for spec in self._per_row if spec.name not in _MASKS.values()]
        self._known = {
            _key([getattr(row, name) for name in self._names]): row.outputs for row in vector.rows
        }
        self._closed = False

    def run(self, feeds: Feeds) -> Outputs:
        """Answer a batch; see :class:`bert_export.runtime.sessions.session.Session`.

        Raises:
            InputError: The session is closed, or a feed is malformed.
            KeyError: A row is none of the vector's.
        """
        if self._closed:
            raise InputError("session is closed", fix="Load the bundle again")
        check_feeds(self.inputs, feeds)
        flat = {
            spec.name: feeds[spec.name].reshape(-1, feeds[spec.name].shape[-1])
            for spec in self._per_row
        }
        given = []
        for index in range(len(flat["attention_mask"])):
            parts = []
            for name in self._names:
                mask = flat[_MASKS.get(name, "attention_mask")][index]
                size = int(mask.sum())
                assert (mask[:size] == 1).all()
                parts.append(flat[name][index, :size])
            given.append(self._known[_key(parts)])
        size = feeds["input_ids"].shape[-1]
        return {spec.name: self._gather(spec, given, size) for spec in self.outputs}

    def _gather(
        self, spec: TensorSpec, given: list[dict[str, NDArray[np.float32]]], size: int
    ) -> NDArray[np.float32]:
        arrays = [outputs[spec.name] for outputs in given]
        if self._by_mask:
            return np.concatenate([array.reshape(-1, *spec.shape[1:]) for array in arrays])
        if spec.shape[1:2] != ("sequence",):
            return np.stack(arrays)
        whole = np.full((len(arrays), size, *arrays[0].shape[1:]), _PADDING, dtype=np.float32)
        for row, array in zip(whole, arrays, strict=True):
            row[: len(array)] = array
        return whole

    def close(self) -> None:
        """Answer no more."""
        self._closed = True


def manifest_of(vector: Vector, session: VectorSession) -> Manifest:
    """The manifest of a bundle that would answer the vector."""
    graph = GraphRecord(file="none", opset=20, inputs=session.inputs, outputs=session.outputs)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        task=vector.task,
        labels=vector.labels,
        model=ModelRecord(
            source="vectors",
            architecture=TASKS[vector.task].head,
            weights_sha256="",
            parameters=0,
            hidden_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            vocab_size=read_tokenizer(vector.tokenizer).vocab_size,
            type_vocab_size=2,
            max_position_embeddings=vector.tokenizer.max_length,
        ),
        tokenizer=vector.tokenizer,
        postprocessing=vector.postprocessing,
        default_target="onnxruntime",
        engines=(EngineRecord(target="onnxruntime", precision="fp32", graph=graph),),
        versions={},
        files={},
    )


def open_vector(
    vector: Vector, rows: list[Row] | None = None, **batching: Any
) -> Pipeline[Any, Any, Any]:
    """The task's pipeline over a vector.

    Args:
        vector: The vector.
        rows: Takes up every row that the pipeline makes.
        batching: ``token_budget`` and ``sort`` of the pipeline.
    """
    module, name = TASKS[vector.task].pipeline.split(":")
    base = getattr(import_module(f"bert_export.runtime.pipelines.{module}"), name)
    made = [] if rows is None else rows

    class Watched(base):  # type: ignore[misc, valid-type]
        def encode_items(self, items: Any, settings: Any) -> list[list[Row]]:
            encoded: list[list[Row]] = super().encode_items(items, settings)
            made.extend(row for own in encoded for row in own)
            return encoded

    session = VectorSession(vector)
    pipeline: Pipeline[Any, Any, Any] = Watched(
        manifest_of(vector, session), read_tokenizer(vector.tokenizer), session, **batching
    )
    return pipeline


def _key(parts: Sequence[NDArray[np.int64] | None]) -> tuple[bytes | None, ...]:
    return tuple(None if part is None else part.tobytes() for part in parts)


def _last_axis(vector: Vector, name: str) -> int:
    """Size of an output's last axis; 1 where the vector has no number of it."""
    arrays = [row.outputs[name] for row in vector.rows if name in row.outputs]
    return next((array.shape[-1] for array in arrays if array.size), 1)


def _sized(shape: tuple[str | int, ...], size: int) -> tuple[str | int, ...]:
    """The shape with the size of an axis that the checkpoint fixes."""
    fixed = ("hidden", "labels", "vocabulary", "embedding")
    return tuple(size if axis in fixed else axis for axis in shape)
