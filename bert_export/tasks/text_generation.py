"""Text continued token by token by a causal BERT."""

from __future__ import annotations

from bert_export.tasks.task import Output, Task

__all__ = ["TASK"]

TASK = Task(
    name="text-generation",
    summary="text continued token by token by a causal BERT",
    head="BertLMHeadModel",
    architectures=("BertLMHeadModel", "BertForCausalLM"),
    outputs=(Output("logits", ("batch", "sequence", "vocabulary")),),
    pipeline="text_generation:TextGenerationPipeline",
    metric="next-token accuracy",
    agreement="token",
    required=("text",),
    demo=None,
    example={"text": "Once upon a time"},
)
