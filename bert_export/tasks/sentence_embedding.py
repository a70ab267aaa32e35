"""One vector per text: pooling, dense layers and normalization inside the graph."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="sentence-embedding",
    summary="one vector per text, pooled and normalized",
    head="BertForSentenceEmbedding",
    architectures=(),
    outputs=(Output("sentence_embedding", ("batch", "embedding")),),
    pipeline="sentence_embedding:SentenceEmbeddingPipeline",
    metric="Spearman correlation",
    agreement="cosine",
    required=("text",),
    optional=("text_pair", "score"),
    demo="minilm",
    example={"text": "The harbour froze twice that winter."},
)
