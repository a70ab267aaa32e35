"""What the manifest says of a checkpoint, a head, a graph and the passes over it."""

from __future__ import annotations

import onnx_ir as ir

from bert_export.bundle import (
    GraphRecord,
    ModelRecord,
    PassRecord,
    RefusalRecord,
    TokenizerRecord,
)
from bert_export.checkpoints import Checkpoint
from bert_export.errors import CheckpointError, InputError
from bert_export.models import BertConfig, BertHead, entailment_id, has_pooler
from bert_export.passes.graph_pass import Outcome
from bert_export.targets.graph_interface import tensor_spec
from bert_export.tasks import CheckpointFacts, SentenceFacts, Task

__all__ = [
    "TOKENIZER_FILE",
    "checkpoint_facts",
    "graph_record",
    "labels_of",
    "longest_row",
    "model_record",
    "pass_record",
    "tokenizer_record",
]

TOKENIZER_FILE = "tokenizer.json"


def checkpoint_facts(config: BertConfig, checkpoint: Checkpoint) -> CheckpointFacts:
    """What tasks ask of a checkpoint."""
    sentence = checkpoint.sentence
    return CheckpointFacts(
        labels=config.labels,
        problem_type=config.problem_type,
        entailment_id=entailment_id(checkpoint.config),
        pooler=has_pooler(checkpoint),
        max_length=checkpoint.tokenizer.max_length,
        activation_fn=checkpoint.activation_fn,
        generation=checkpoint.generation,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        head_size=config.head_size,
        sentence=None
        if sentence is None
        else SentenceFacts(
            normalize=sentence.normalize,
            prompts=sentence.prompts,
            default_prompt_name=sentence.default_prompt_name,
            include_prompt=sentence.include_prompt,
            max_length=sentence.max_seq_length,
            similarity_fn_name=sentence.similarity_fn_name,
            truncate_dim=sentence.truncate_dim,
        ),
    )


def longest_row(
    task: Task, config: BertConfig, checkpoint: Checkpoint, wanted: int | None = None
) -> int:
    """Tokens per row: at most the position table, less where the checkpoint or the caller say so.

    Raises:
        CheckpointError: The checkpoint's own length holds no token beside the special ones.
        InputError: ``wanted`` does not, or is longer than the position table.
    """
    limit = config.source_positions
    least = task.shortest_row
    if wanted is not None:
        if not least <= wanted <= limit:
            raise InputError(
                f"max_length {wanted} does not fit the checkpoint",
                expected=f"{least} to {limit} (its max_position_embeddings)",
                got=wanted,
            )
        return wanted
    longest = min(limit, task.max_length(checkpoint_facts(config, checkpoint)) or limit)
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
        token_types=files.token_types,
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
        max_position_embeddings=config.source_positions,
        attribution=checkpoint.attribution,
    )


def graph_record(
    model: ir.Model,
    file: str,
    opset: int,
    *,
    longest: int | None = None,
    encoder: GraphRecord | None = None,
) -> GraphRecord:
    """The graph's interface; see :class:`bert_export.bundle.GraphRecord`."""
    return GraphRecord(
        file=file,
        opset=opset,
        inputs=tuple(map(tensor_spec, model.graph.inputs)),
        outputs=tuple(map(tensor_spec, model.graph.outputs)),
        longest=longest,
        encoder=encoder,
    )


def labels_of(task: Task, config: BertConfig) -> tuple[str, ...]:
    """Label names in id order; empty where the task has none."""
    return config.labels if task.has_labels else ()


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
