"""Token vectors and the pooled first token of the bare encoder."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="feature-extraction",
    summary="token vectors and the pooler's vector",
    head="BertModel",
    architectures=("BertModel",),
    outputs=(
        Output("last_hidden_state", ("batch", "sequence", "hidden")),
        Output("pooler_output", ("batch", "hidden")),
    ),
    pipeline="feature_extraction:FeatureExtractionPipeline",
    metric="cosine similarity with FP32",
    agreement="cosine",
    required=("text",),
    demo="minilm",
    example={"text": "The harbour froze twice that winter."},
)
