"""What several tests share: a session over a PyTorch head, and pipelines over tiny checkpoints."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from bert_export.bundle import (
    SCHEMA_VERSION,
    GraphRecord,
    Manifest,
    ModelRecord,
    TensorSpec,
    TokenizerRecord,
)
from bert_export.checkpoints import load_checkpoint
from bert_export.checkpoints.checkpoint import Checkpoint
from bert_export.errors import InputError
from bert_export.models import BertConfig, load_head
from bert_export.runtime.loading import open_pipeline
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Feeds, Outputs, check_feeds
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks import Task, find_task

__all__ = ["SHARED_DATA", "TorchSession", "open_tiny"]

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Data beside the checkout; tests that need it skip when it is absent."""

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_LABELLED = ("BertForSequenceClassification", "BertForTokenClassification")


class TorchSession:
    """A project head behind the session interface, so that pipelines need no exported graph.

    Args:
        module: The head, in evaluation mode; its ``inputs`` and ``outputs`` name what it takes and
            gives where it has them.
        task: The task, for the names and shapes of the outputs.
    """

    def __init__(self, module: nn.Module, task: Task) -> None:
        axes: tuple[str, ...] = ("batch", "sequence")
        if task.head == "BertForMultipleChoice":
            axes = ("batch", "choices", "sequence")
        given = getattr(module, "outputs", tuple(output.name for output in task.outputs))
        self.inputs = tuple(
            TensorSpec(name=name, dtype="int64", shape=axes)
            for name in getattr(module, "inputs", _INPUTS)
        )
        self.outputs = tuple(
            TensorSpec(name=output.name, dtype="float32", shape=output.shape)
            for output in task.outputs
            if output.name in given
        )
        self._module: nn.Module | None = module

    def run(self, feeds: Feeds) -> Outputs:
        """Run the head once; see :class:`bert_export.runtime.sessions.session.Session`."""
        module = self._module
        if module is None:
            raise InputError("session is closed", fix="Load the bundle again")
        check_feeds(self.inputs, feeds)
        tensors = [torch.from_numpy(np.ascontiguousarray(feeds[s.name])) for s in self.inputs]
        with torch.inference_mode():
            answer = module(*tensors)
        arrays = answer if isinstance(answer, tuple) else (answer,)
        return {spec.name: array.numpy() for spec, array in zip(self.outputs, arrays, strict=True)}

    def close(self) -> None:
        """Forget the head."""
        self._module = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_tiny(
    task_name: str,
    model_folder: Path,
    *,
    postprocessing: dict[str, Any] | None = None,
    labels: tuple[str, ...] | None = None,
    **batching: Any,
) -> Pipeline[Any, Any, Any]:
    """The task's pipeline over a Hugging Face directory, without export.

    Args:
        task_name: A key of :data:`bert_export.tasks.TASKS`.
        model_folder: ``config.json``, weights and tokenizer files.
        postprocessing: The manifest's; read off the checkpoint when ``None``.
        labels: Label names; the config's, for a task that has labels, when ``None``.
        batching: ``token_budget`` and ``sort`` of the pipeline.
    """
    task = find_task(task_name)
    checkpoint = load_checkpoint(str(model_folder))
    config = BertConfig.from_dict(checkpoint.config)
    head = load_head(task.head, checkpoint)
    session = TorchSession(head, task)
    files = checkpoint.tokenizer
    sentence = checkpoint.sentence
    limits = [
        config.max_position_embeddings,
        files.max_length,
        None if sentence is None else sentence.max_seq_length,
    ]
    record = TokenizerRecord(
        file="tokenizer.json",
        max_length=min(filter(None, limits)),
        do_lower_case=files.do_lower_case,
        cls_token=files.cls_token,
        sep_token=files.sep_token,
        pad_token=files.pad_token,
        mask_token=files.mask_token,
        unk_token=files.unk_token,
        clean_up_tokenization_spaces=files.clean_up_tokenization_spaces,
    )
    if labels is None:
        labels = config.labels if task.head in _LABELLED else ()
    if postprocessing is None:
        postprocessing = _postprocessing(task, config, checkpoint)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        task=task.name,
        precision="fp32",
        labels=labels,
        model=ModelRecord(
            source=str(model_folder),
            architecture=task.head,
            weights_sha256="0" * 64,
            parameters=sum(parameter.numel() for parameter in head.parameters()),
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            vocab_size=config.vocab_size,
            type_vocab_size=config.type_vocab_size,
            max_position_embeddings=config.max_position_embeddings,
        ),
        graph=GraphRecord(
            file="model.onnx", opset=20, inputs=session.inputs, outputs=session.outputs
        ),
        tokenizer=record,
        postprocessing=postprocessing,
        passes=(),
        quantization=None,
        parity=None,
        versions={},
        files={},
    )
    return open_pipeline(
        task, manifest, Tokenizer.from_json(files.json, record), session, **batching
    )


def _postprocessing(task: Task, config: BertConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    if task.head == "BertForSequenceClassification":
        return {"problem_type": config.problem_type}
    sentence = checkpoint.sentence
    if task.head == "BertForSentenceEmbedding" and sentence is not None:
        widths = [layer.out_features for layer in sentence.dense]
        return {
            "normalize": sentence.normalize,
            "prompts": dict(sentence.prompts),
            "default_prompt_name": sentence.default_prompt_name,
            "include_prompt": sentence.include_prompt,
            "dimension": widths[-1] if widths else config.hidden_size * len(sentence.pooling),
        }
    return {}
