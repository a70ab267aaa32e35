"""One vector per text: pooling, dense layers and normalization inside the graph."""

from __future__ import annotations

from typing import Self, get_args

import msgspec

from bert_export.tasks.checkpoint_facts import CheckpointFacts, Similarity
from bert_export.tasks.interface import BATCH, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import Positive, PostProcessing, Truncation
from bert_export.tasks.task import Task, always

__all__ = ["POOLING_MASK", "SIMILARITIES", "TASK", "SentenceEmbeddingPostProcessing", "Similarity"]

SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)

POOLING_MASK = "pooling_mask"
"""Graph input, where prompts are not pooled: the attention mask with the prompt's tokens at 0."""


class SentenceEmbeddingPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """What is written before a text, and what is done to its vector.

    Args:
        normalize: Whether the graph ends in a normalization.
        prompts: Texts that may be written before a sentence, by name.
        default_prompt_name: The prompt of a call that names none.
        include_prompt: Whether the prompt's tokens are pooled; if not, the graph takes
            ``pooling_mask``.
        truncate_dim: Numbers that a vector keeps; ``null`` for all.
        truncation: Whether a text that is too long loses its end.
        similarity_fn_name: How two vectors are compared.
    """

    normalize: bool = False
    prompts: dict[str, str] = msgspec.field(default_factory=dict)
    default_prompt_name: str | None = None
    include_prompt: bool = True
    truncate_dim: Positive | None = None
    truncation: Truncation = "longest_first"
    similarity_fn_name: Similarity = "cosine"

    @classmethod
    def from_checkpoint(cls, facts: CheckpointFacts) -> Self:
        sentence = facts.sentence
        if sentence is None:
            return cls()
        return cls(
            normalize=sentence.normalize,
            prompts=dict(sentence.prompts),
            default_prompt_name=sentence.default_prompt_name,
            include_prompt=sentence.include_prompt,
            truncate_dim=sentence.truncate_dim,
            similarity_fn_name=sentence.similarity_fn_name or "cosine",
        )


def _interface(facts: CheckpointFacts) -> GraphInterface:
    pools_all = facts.sentence is None or facts.sentence.include_prompt
    return GraphInterface(
        token_inputs() if pools_all else token_inputs(POOLING_MASK),
        (GraphTensor("sentence_embedding", (BATCH, "embedding")),),
    )


def _max_length(facts: CheckpointFacts) -> int | None:
    """The length that sentence-transformers' files name rules over the tokenizer's."""
    named = None if facts.sentence is None else facts.sentence.max_length
    return named or facts.max_length


TASK = Task(
    name="sentence-embedding",
    aliases=(
        "embedding",
        "embeddings",
        "sentence-embeddings",
        "sentence-similarity",
        "sentence-transformers",
        "text-embedding",
        "text-embeddings",
    ),
    pipeline_tag="sentence-similarity",
    summary="one vector per text, pooled and normalized",
    head="BertForSentenceEmbedding",
    sentence_modules=True,
    interface=_interface,
    scored_positions="every_token",
    postprocessing=SentenceEmbeddingPostProcessing,
    pipeline="sentence_embedding:SentenceEmbeddingPipeline",
    scorer=always("vectors:EmbeddingScorer"),
    metric=always("Spearman correlation"),
    agreement=always("cosine"),
    shortest_row=3,
    max_length=_max_length,
    required=("text",),
    optional=("text_pair", "score"),
    unseen=("demo:stsb", "demo:gutenberg"),
    demo="minilm",
    representative=True,
    example={"text": "The harbour froze twice that winter."},
)
