"""Two graphs as one session: an encoder that runs once per text, and a decoder that attends to it.

From outside they are the head that was traced: text and tokens in, scores and caches out. Answers
that grow token by token open a cache instead, for which a text is encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from bert_export.bundle import GraphRecord, TensorSpec
from bert_export.runtime.sessions.cache import (
    Cache,
    HeldInputs,
    Ids,
    empty_cache,
    open_cache,
)
from bert_export.runtime.sessions.session import (
    Array,
    Feeds,
    FeedsCheck,
    Outputs,
    PaddingSession,
    Session,
)
from bert_export.tasks.interface import decoder_name

__all__ = ["EncoderDecoderSession", "joined_interface", "open_halves", "open_text_cache"]

Specs = tuple[TensorSpec, ...]


class _Graph(Protocol):
    """A session, or a graph's record."""

    @property
    def inputs(self) -> Specs: ...
    @property
    def outputs(self) -> Specs: ...


class EncoderDecoderSession(Session):
    """An encoder's session and its decoder's.

    Args:
        encoder: Gives keys and values of a text.
        decoder: Takes them, and the tokens of an answer.

    Attributes:
        row_multiple: Tokens of which a text's length is best a multiple.
    """

    def __init__(self, encoder: Session, decoder: Session) -> None:
        self._encoder, self._decoder = encoder, decoder
        self.row_multiple = encoder.row_multiple if isinstance(encoder, PaddingSession) else 1
        self._names = _own_names(encoder, decoder)
        self.inputs, self.outputs = _joined(encoder, decoder)
        self._check_feeds = FeedsCheck(self.inputs)

    @property
    def longest(self) -> int | None:  # type: ignore[override]
        """Tokens of an answer at most, its first among them."""
        return self._decoder.longest

    def run(self, feeds: Feeds) -> Outputs:
        """Run both graphs once; see :class:`bert_export.runtime.sessions.session.Session`."""
        self._check_feeds(feeds)
        encoded = self._encoder.run({spec.name: feeds[spec.name] for spec in self._encoder.inputs})
        own = {name: feeds[outer] for name, outer in self._names.items()}
        outputs = self._decoder.run({**_held(feeds["attention_mask"], encoded), **own})
        return {**outputs, **encoded}

    def open_text_cache(self, input_ids: Ids, attention_mask: Ids, most: int) -> Cache:
        """Encode texts, int64 (B, E), and open an empty cache of answers to them.

        Args:
            input_ids: Of the texts.
            attention_mask: Of the texts.
            most: Tokens of an answer at most.
        """
        encoded = self._encoder.run({"input_ids": input_ids, "attention_mask": attention_mask})
        return open_cache(self._decoder, most, held=_held(attention_mask, encoded))

    def close(self) -> None:
        """Free both engines."""
        self._encoder.close()
        self._decoder.close()


def joined_interface(record: GraphRecord) -> tuple[Specs, Specs]:
    """The inputs and outputs of the session over a graph, or over both of an encoder-decoder.

    Args:
        record: Of the graph.
    """
    if record.encoder is None:
        return record.inputs, record.outputs
    return _joined(record.encoder, record)


def open_halves(record: GraphRecord, open_graph: Callable[[GraphRecord], Session]) -> Session:
    """Open an engine's graph, and the encoder's beside it where there is one.

    Args:
        record: Of the graph.
        open_graph: Opens a single graph.
    """
    if record.encoder is None:
        return open_graph(record)
    encoder = open_graph(record.encoder)
    try:
        decoder = open_graph(record)
    except BaseException:
        encoder.close()
        raise
    decoder.longest = record.longest
    return EncoderDecoderSession(encoder, decoder)


def open_text_cache(session: Session, input_ids: Ids, attention_mask: Ids, most: int) -> Cache:
    """The cache of answers to texts, for which the texts are encoded once.

    Args:
        session: Over an encoder-decoder; where it is a single graph, every step runs all again.
        input_ids: int64 (B, E).
        attention_mask: int64 (B, E).
        most: Tokens of an answer at most.
    """
    if isinstance(session, EncoderDecoderSession):
        return session.open_text_cache(input_ids, attention_mask, most)
    return _Whole(session, input_ids, attention_mask)


class _Whole(Cache):
    """Texts and tokens so far, all of which are run again."""

    def __init__(self, session: Session, input_ids: Ids, attention_mask: Ids) -> None:
        self._session = session
        self._text = HeldInputs({"input_ids": input_ids, "attention_mask": attention_mask})
        self._ids: Ids | None = None

    def step(self, input_ids: Ids, attention_mask: Ids) -> Array:
        """See :meth:`bert_export.runtime.sessions.cache.Cache.step`."""
        whole = input_ids if self._ids is None else np.concatenate([self._ids, input_ids], axis=1)
        self._ids = whole  # (B, T)
        logits = self._session.run(
            {
                **self._text.arrays,
                "decoder_input_ids": whole,
                "decoder_attention_mask": attention_mask,
                **empty_cache(self._session.inputs, len(whole)),
            }
        )["logits"]
        return logits if logits.ndim == 2 else logits[:, -1]  # of every token, or of the last

    def select(self, rows: Ids, first: int) -> None:
        """See :meth:`bert_export.runtime.sessions.cache.Cache.select`."""
        self._text.select(rows)
        if self._ids is not None:
            self._ids = self._ids[rows, first:]


def _own_names(encoder: _Graph, decoder: _Graph) -> dict[str, str]:
    """The head's names of the decoder's inputs that are no text's, by the decoder's."""
    text = {decoder_name(spec.name) for spec in (*encoder.inputs, *encoder.outputs)}
    return {
        spec.name: spec.name if spec.name.startswith("past_key_values.") else f"decoder_{spec.name}"
        for spec in decoder.inputs
        if spec.name not in text - {"input_ids"}
    }


def _joined(encoder: _Graph, decoder: _Graph) -> tuple[Specs, Specs]:
    names = _own_names(encoder, decoder)
    own = [spec for spec in decoder.inputs if spec.name in names]
    inputs = (*encoder.inputs, *(_renamed(spec, names[spec.name]) for spec in own))
    return inputs, (*decoder.outputs, *encoder.outputs)


def _held(attention_mask: Array, encoded: Mapping[str, Array]) -> dict[str, Array]:
    """What a decoder takes of the encoder's graph."""
    named = {"attention_mask": attention_mask, **encoded}
    return {decoder_name(name): array for name, array in named.items()}


def _renamed(spec: TensorSpec, name: str) -> TensorSpec:
    return TensorSpec(name=name, dtype=spec.dtype, shape=spec.shape, below=spec.below)
