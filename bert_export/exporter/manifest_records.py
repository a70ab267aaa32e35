"""What the manifest says of a checkpoint, a head, a graph and the passes over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from bert_export.bundle import (
    GraphRecord,
    ModelRecord,
    PassRecord,
    RefusalRecord,
    TensorSpec,
    TokenizerRecord,
)
from bert_export.checkpoints import Checkpoint
from bert_export.errors import CheckpointError, InputError
from bert_export.models import BertConfig, BertHead
from bert_export.passes.editing import attribute, constant
from bert_export.passes.graph_pass import Outcome
from bert_export.tasks import Task

__all__ = [
    "TOKENIZER_FILE",
    "agreement_kind",
    "graph_record",
    "labels_of",
    "longest_row",
    "model_record",
    "pass_record",
    "postprocessing_of",
    "tokenizer_record",
]

TOKENIZER_FILE = "tokenizer.json"
_CLASSIFIER = "BertForSequenceClassification"
_SHORTEST, _SHORTEST_PAIR = 3, 5  # a token of each text beside the special ones
_RESHAPING = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def longest_row(
    task: Task, config: BertConfig, checkpoint: Checkpoint, wanted: int | None = None
) -> int:
    """Tokens per row: at most the position table, less where tokenizer or caller say so.

    Where sentence-transformers names a length, it rules over the tokenizer's.

    Raises:
        CheckpointError: The checkpoint's own length holds no token beside the special ones.
        InputError: ``wanted`` does not, or is longer than the position table.
    """
    limit = config.max_position_embeddings
    least = _SHORTEST_PAIR if len(task.required) > 1 else _SHORTEST
    if wanted is not None:
        if not least <= wanted <= limit:
            raise InputError(
                f"max_length {wanted} does not fit the checkpoint",
                expected=f"{least} to {limit} (its max_position_embeddings)",
                got=wanted,
            )
        return wanted
    own = checkpoint.tokenizer.max_length
    if task.head == "BertForSentenceEmbedding" and checkpoint.sentence is not None:
        own = checkpoint.sentence.max_seq_length or own
    longest = min(limit, own or limit)
    if longest < least:
        raise CheckpointError(
            f"checkpoint {checkpoint.source} takes rows that are too short",
            expected=f"at least {least} tokens (model_max_length, max_position_embeddings)",
            got=longest,
        )
    return longest


def tokenizer_record(checkpoint: Checkpoint, max_length: int) -> TokenizerRecord:
    """The tokenizer's facts."""
    files = checkpoint.tokenizer
    return TokenizerRecord(
        file=TOKENIZER_FILE,
        max_length=max_length,
        do_lower_case=files.do_lower_case,
        cls_token=files.cls_token,
        sep_token=files.sep_token,
        pad_token=files.pad_token,
        mask_token=files.mask_token,
        unk_token=files.unk_token,
        clean_up_tokenization_spaces=files.clean_up_tokenization_spaces,
        truncation_side=files.truncation_side,
    )


def model_record(
    task: Task, config: BertConfig, checkpoint: Checkpoint, head: BertHead
) -> ModelRecord:
    """The weights' origin and sizes."""
    return ModelRecord(
        source=checkpoint.source,
        architecture=task.head,
        weights_sha256=checkpoint.hash_tensors(),
        parameters=sum(parameter.numel() for parameter in head.parameters()),
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        vocab_size=config.vocab_size,
        type_vocab_size=config.type_vocab_size,
        max_position_embeddings=config.max_position_embeddings,
        attribution=checkpoint.attribution,
    )


def graph_record(model: ir.Model, file: str, opset: int) -> GraphRecord:
    """The graph's interface."""
    return GraphRecord(
        file=file,
        opset=opset,
        inputs=tuple(map(_tensor_spec, model.graph.inputs)),
        outputs=tuple(map(_tensor_spec, model.graph.outputs)),
    )


def _tensor_spec(value: ir.Value) -> TensorSpec:
    assert value.shape is not None, "tracing declared it"
    assert value.dtype is not None, "tracing declared it"
    return TensorSpec(
        name=str(value.name),
        dtype=str(value.dtype.numpy()),
        shape=tuple(axis if isinstance(axis, int) else str(axis.value) for axis in value.shape),
        below=min(_table_rows(value), default=None) if value.is_graph_input() else None,
    )


def _table_rows(value: ir.Value) -> Iterator[int]:
    """Rows of the stored tables that values are looked up in, other shapes of them included."""
    for use in value.uses():
        node = use.node
        if node.op_type in _RESHAPING and use.idx == 0:
            yield from _table_rows(node.outputs[0])
        elif node.op_type == "Gather" and use.idx == 1 and attribute(node, "axis", 0) == 0:
            table = constant(node.inputs[0])
            if table is not None:
                yield len(table)


def labels_of(task: Task, config: BertConfig) -> tuple[str, ...]:
    """Label names in id order; empty where the task has none."""
    return config.labels if any("labels" in output.shape for output in task.outputs) else ()


def postprocessing_of(task: Task, config: BertConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """The task's parameters that its pipeline reads from the manifest."""
    if task.head == _CLASSIFIER:
        return {"problem_type": config.problem_type}
    sentence = checkpoint.sentence
    if task.head == "BertForSentenceEmbedding" and sentence is not None:
        return {
            "normalize": sentence.normalize,
            "prompts": dict(sentence.prompts),
            "default_prompt_name": sentence.default_prompt_name,
            "include_prompt": sentence.include_prompt,
        }
    return {}


def agreement_kind(task: Task, config: BertConfig) -> str:
    """What "the same answer" means for a head, see :class:`bert_export.tasks.Task`."""
    if task.head == _CLASSIFIER:
        if config.problem_type == "multi_label_classification":
            return "sign"
        if config.problem_type == "regression" or config.num_labels == 1:
            return "concordance"
    return task.agreement


def pass_record(outcome: Outcome) -> PassRecord:
    """What a pass did."""
    return PassRecord(
        name=outcome.pass_name,
        rewritten=outcome.rewritten,
        refusals=tuple(
            RefusalRecord(reason=refusal.reason, node=refusal.node) for refusal in outcome.refusals
        ),
        operators_before=dict(outcome.operators_before),
        operators_after=dict(outcome.operators_after),
    )
