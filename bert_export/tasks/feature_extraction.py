"""Token vectors and the pooled first token of the bare encoder."""

from __future__ import annotations

from bert_export.tasks.checkpoint_facts import CheckpointFacts
from bert_export.tasks.interface import BATCH, SEQUENCE, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import TextPostProcessing
from bert_export.tasks.task import Task, always

__all__ = ["TASK", "FeatureExtractionPostProcessing"]


class FeatureExtractionPostProcessing(TextPostProcessing, frozen=True, kw_only=True):
    """How texts are cut; a text that is too long is an error."""


def _interface(facts: CheckpointFacts) -> GraphInterface:
    states = GraphTensor("last_hidden_state", (BATCH, SEQUENCE, "hidden"))
    pooled = GraphTensor("pooler_output", (BATCH, "hidden"))
    return GraphInterface(token_inputs(), (states, pooled) if facts.pooler else (states,))


TASK = Task(
    name="feature-extraction",
    aliases=("features", "hidden-states"),
    summary="token vectors and the pooler's vector",
    head="BertModel",
    architectures=("BertModel",),
    interface=_interface,
    scored_positions="every_token",
    postprocessing=FeatureExtractionPostProcessing,
    pipeline="feature_extraction:FeatureExtractionPipeline",
    scorer=always("vectors:FeatureScorer"),
    metric=always("mean cosine"),
    agreement=always("cosine"),
    shortest_row=3,
    required=("text",),
    unseen=("demo:stsb", "demo:gutenberg"),
    demo="minilm",
    example={"text": "The harbour froze twice that winter."},
)
