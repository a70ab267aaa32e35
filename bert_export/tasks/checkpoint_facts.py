"""What a task must know of a checkpoint, without any tool that reads one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CheckpointFacts", "SentenceFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceFacts:
    """What sentence-transformers' files say besides the pooling itself.

    Args:
        normalize: Whether the graph ends in a normalization.
        prompts: Texts that may be written before a sentence, by name.
        default_prompt_name: The prompt that is used unasked.
        include_prompt: Whether the prompt's tokens are pooled.
        max_length: Longest row; ``None`` where they do not say.
    """

    normalize: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    include_prompt: bool = True
    max_length: int | None = None


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
        sentence: Where sentence-transformers wrote the checkpoint.
    """

    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    entailment_id: int | None = None
    pooler: bool = True
    max_length: int | None = None
    sentence: SentenceFacts | None = None
