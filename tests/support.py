"""What several tests share: a session over a PyTorch head, and pipelines over tiny checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bert_export.bundle import (
    SCHEMA_VERSION,
    BuiltRecord,
    EngineRecord,
    GraphRecord,
    Manifest,
    TensorSpec,
)
from bert_export.checkpoints import load_checkpoint
from bert_export.errors import InputError
from bert_export.exporter.manifest_records import (
    checkpoint_facts,
    labels_of,
    longest_row,
    model_record,
    tokenizer_record,
)
from bert_export.models import BertConfig, load_head
from bert_export.runtime.loading import open_pipeline
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Feeds, Outputs, Session, check_feeds
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks import TASKS, CheckpointFacts, Task, find_task

__all__ = ["ONE_GRAPH", "SHARED_DATA", "TorchSession", "built_record", "open_tiny"]

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Data beside the checkout; tests that need it skip when it is absent."""

ONE_GRAPH = {name: task for name, task in TASKS.items() if not task.has_encoder}
"""The tasks of a single BERT, whose graph takes a row and answers it by itself.

An encoder-decoder takes a text and what is answered so far, its checkpoint holds two BERTs, and its
bundle two graphs: what tests try with rows of one graph is tried for it where its own forms are, in
``test_encoder_decoder.py`` and ``test_split_halves.py`` of the folders.
"""

_DYNAMIC = ("batch", "choices", "sequence")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def built_record(file: str, *profiles: dict[str, tuple[int, int, int]]) -> BuiltRecord:
    """What a manifest says of an engine."""
    return BuiltRecord(
        file=file,
        builder="tensorrt_rtx 1.0",
        compute_capabilities=("SM89",),
        profiles=profiles,
        bytes=4,
        seconds=1.0,
        attention_layers=2,
        device_memory=None,
        warnings=(),
    )


class TorchSession(Session):
    """A project head behind the session interface, so that pipelines need no exported graph.

    Args:
        module: The head, in evaluation mode; its ``inputs`` and ``outputs`` name what it takes and
            gives where it has them.
        task: The task, for the names and shapes of the outputs.
    """

    def __init__(self, module: nn.Module, task: Task) -> None:
        axes = task.interface(CheckpointFacts()).inputs[0].shape
        shapes = {tensor.name: tensor.shape for tensor in task.interface(CheckpointFacts()).inputs}
        given = getattr(module, "outputs", tuple(output.name for output in task.outputs))
        self.inputs = tuple(
            TensorSpec(name=name, dtype="int64", shape=shapes.get(name, axes))
            for name in getattr(module, "inputs", _INPUTS)
        )
        with torch.inference_mode():
            answer = module(*(torch.zeros([1] * len(axes), dtype=torch.int64) for _ in self.inputs))
        arrays = answer if isinstance(answer, tuple) else (answer,)
        declared = [output for output in task.outputs if output.name in given]
        self.outputs = tuple(
            TensorSpec(
                name=output.name,
                dtype="float32",
                shape=tuple(
                    axis if axis in _DYNAMIC else size
                    for axis, size in zip(output.shape, array.shape, strict=True)
                ),
            )
            # An encoder-decoder gives keys and values behind its scores.
            for output, array in zip(declared, arrays[: len(declared)], strict=True)
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
        own = zip(self.outputs, arrays[: len(self.outputs)], strict=True)
        return {spec.name: array.numpy() for spec, array in own}

    def close(self) -> None:
        """Forget the head."""
        self._module = None


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
    graph = GraphRecord(file="none", opset=20, inputs=session.inputs, outputs=session.outputs)
    record = tokenizer_record(checkpoint, longest_row(task, config, checkpoint))
    if postprocessing is None:
        facts = checkpoint_facts(config, checkpoint)
        postprocessing = task.postprocessing.from_checkpoint(facts).to_manifest()
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        task=task.name,
        labels=labels_of(task, config) if labels is None else labels,
        model=model_record(task, config, checkpoint, head),
        tokenizer=record,
        postprocessing=postprocessing,
        default_target="onnxruntime",
        engines=(EngineRecord(target="onnxruntime", precision="fp32", graph=graph),),
        versions={},
        files={},
    )
    return open_pipeline(
        task, manifest, Tokenizer.from_json(checkpoint.tokenizer.json, record), session, **batching
    )
