"""What a task must know of a checkpoint, without any tool that reads one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["CheckpointFacts", "SentenceFacts", "Similarity"]

Similarity: TypeAlias = Literal["cosine", "dot", "euclidean", "manhattan"]
"""How two vectors are compared; of the distances the negative, so that more is more alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceFacts:
    """What sentence-transformers' files say besides the pooling itself.

    Args:
        normalize: Whether the graph ends in a normalization.
        prompts: Texts that may be written before a sentence, by name.
        default_prompt_name: The prompt that is used unasked.
        include_prompt: Whether the prompt's tokens are pooled.
        max_length: Longest row; ``None`` where they do not say.
        similarity_fn_name: How two vectors are compared; ``None`` where they do not say.
        truncate_dim: Numbers that a vector keeps; all when ``None``.
    """

    normalize: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    include_prompt: bool = True
    max_length: int | None = None
    similarity_fn_name: Similarity | None = None
    truncate_dim: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """Facts of a config, a tokenizer and the tensors; the defaults are those of a plain BERT.

    Args:
        labels: Label names in id order.
        problem_type: ``problem_type`` of the config; ``None`` where it does not say.
        entailment_id: Of the label that says that a hypothesis holds, where the config says it by
            an id; ``None`` where only the labels' names can.
        pooler: Whether the checkpoint has a pooler.
        max_length: Longest row as the tokenizer's files say; ``None`` where they do not.
        activation_fn: What a cross-encoder applies to its logits, as its files spell it; ``None``
            where they do not say.
        sentence: Where sentence-transformers wrote the checkpoint.
        generation: How an encoder-decoder generates its answers, by the names of transformers'
            generation config; ``None`` for other models.
        layers: Of the encoder, or of the decoder where there is one; 0 where a reader asks of the
            head alone, without a cache.
        heads: Of each layer.
        head_size: Width of each head.
    """

    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    entailment_id: int | None = None
    pooler: bool = True
    max_length: int | None = None
    activation_fn: str | None = None
    sentence: SentenceFacts | None = None
    generation: Mapping[str, Any] | None = None
    layers: int = 0
    heads: int = 0
    head_size: int = 0
