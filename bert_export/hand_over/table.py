"""The consumers that a bundle can be handed over to."""

from __future__ import annotations

from collections.abc import Mapping

from bert_export.hand_over.consumer import Consumer
from bert_export.hand_over.container import CONTAINER
from bert_export.hand_over.fastembed import FASTEMBED
from bert_export.hand_over.optimum import OPTIMUM
from bert_export.hand_over.sentence_transformers import SENTENCE_TRANSFORMERS
from bert_export.hand_over.text_embeddings_inference import TEXT_EMBEDDINGS_INFERENCE
from bert_export.hand_over.transformers_js import TRANSFORMERS_JS
from bert_export.hand_over.triton import TRITON
from bert_export.hand_over.vespa import VESPA

__all__ = ["CONSUMERS"]

CONSUMERS: Mapping[str, Consumer] = {
    consumer.name: consumer
    for consumer in (
        OPTIMUM,
        SENTENCE_TRANSFORMERS,
        TRANSFORMERS_JS,
        FASTEMBED,
        TEXT_EMBEDDINGS_INFERENCE,
        VESPA,
        TRITON,
        CONTAINER,
    )
}
