"""The first stage: everything that an export reads, and what its request leaves open settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import msgspec

from bert_export.bundle import SCHEMA_VERSION, CheckpointOptions, ExportRequest, Manifest
from bert_export.checkpoints import Checkpoint, load_checkpoint, settle
from bert_export.checkpoints.sentence_transformers import SentenceModules
from bert_export.datasets import DataSet, Records, read_dataset
from bert_export.errors import InputError, TargetError, TaskError
from bert_export.evaluation.scorers import check_labels, scorer_for
from bert_export.exporter.drop import check_enough
from bert_export.exporter.manifest_records import (
    checkpoint_facts,
    labels_of,
    longest_row,
    model_record,
    tokenizer_record,
)
from bert_export.exporter.progress import Progress
from bert_export.exporter.request import (
    check_labels_used,
    check_pooled_layers,
    find_form,
    request_record,
)
from bert_export.models import BertConfig, BertHead, load_head
from bert_export.models.inner_outputs import expose_inner
from bert_export.quantization.calibration.rows import read_calibration, read_unseen
from bert_export.runtime.processor import detect_processor
from bert_export.target_table import TARGETS, Target
from bert_export.tasks import CheckpointFacts, GraphInterface, Task, default_task, find_task
from bert_export.tasks.interface import with_inner_outputs

__all__ = ["Source", "check_target", "load_source"]

_TOOLS = ("bert-export", "torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "tokenizers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is exported, and the texts that it is calibrated and measured on.

    Args:
        request: With task, longest row and kind of processor filled in.
        task: What the head is for.
        checkpoint: Config, tensors and tokenizer files.
        config: Of the checkpoint, checked.
        facts: What the task asks of the checkpoint.
        head: The PyTorch head with the checkpoint's weights, in evaluation mode.
        max_length: Tokens per row.
        manifest: What the bundle says before it has engines and files.
        calibration: Records of real text: most of them set the ranges of INT8.
        unseen: Further records, that set none: every engine is compared with the head on them.
        eval_data: Records that an accuracy budget is measured on, where there is one.
    """

    request: ExportRequest
    task: Task
    checkpoint: Checkpoint
    config: BertConfig
    facts: CheckpointFacts
    head: BertHead
    max_length: int
    manifest: Manifest
    calibration: DataSet
    unseen: tuple[DataSet, ...]
    eval_data: DataSet | None

    @property
    def interface(self) -> GraphInterface:
        """Inputs and outputs of the head, with the inner values that are asked for."""
        return with_inner_outputs(
            self.task.interface(self.facts),
            self.request.outputs,
            layers=self.config.num_hidden_layers,
            heads=self.config.num_attention_heads,
        )

    def for_targets(self, targets: Sequence[str]) -> Source:
        """The same with a request for fewer targets, where some were left out."""
        request = msgspec.structs.replace(self.request, targets=tuple(targets))
        manifest = msgspec.structs.replace(self.manifest, request=request_record(request))
        return replace(self, request=request, manifest=manifest)

    @property
    def is_built_in(self) -> bool:
        """Whether the task's own built-in set calibrates."""
        return self.calibration.source == self.task.built_in_set


def load_source(
    request: ExportRequest,
    *,
    progress: Progress,
    calibration_records: Records | None = None,
    eval_records: Records | None = None,
) -> Source:
    """Read the checkpoint and the texts.

    Args:
        request: As :func:`bert_export.exporter.request.check_request` leaves it.
        progress: Hears of the stage.
        calibration_records: What calibrates, where the request says that it is in memory.
        eval_records: What an accuracy budget is measured on, likewise.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be read.
        ConfigError: What the request says of the checkpoint contradicts it.
        TaskError: The checkpoint does not say its task, or lacks the task's head.
        CalibrationError: The calibration set is unknown or too small.
        DatasetError: A file of texts is malformed or does not fit the task, or is too small for the
            accuracy budget.
        InputError: ``max_length`` does not fit the checkpoint.
        MissingExtraError: A kind of file needs a package that is not installed.
    """
    with progress.stage("load") as told:
        named = find_task(request.task) if request.task is not None else None
        checkpoint = load_checkpoint(request.model, demo=named.demo if named else None)
        checkpoint, assumptions = settle(checkpoint, request.checkpoint or CheckpointOptions())
        task = named or _task_of(checkpoint)
        check_labels_used(request, task)
        find_form(task, request.text_input)
        if request.outputs and task.has_encoder:
            raise InputError(
                f"outputs {', '.join(request.outputs)} are not there for task {task.name}",
                expected="none: its graphs give scores, keys and values alone",
                got=", ".join(request.outputs),
                fix="Leave --outputs out",
            )
        config = BertConfig.from_dict(checkpoint.config)
        if request.pooled_layers is not None:
            check_pooled_layers(request, task, config.num_hidden_layers)
            # A checkpoint that does not say how to pool is pooled by the mean of its tokens.
            modules = checkpoint.sentence or SentenceModules()
            checkpoint = replace(
                checkpoint, sentence=replace(modules, pooled_layers=request.pooled_layers)
            )
        head = load_head(task.head, checkpoint)
        expose_inner(head, request.outputs)
        told["model"] = checkpoint.source
        told["parameters"] = sum(parameter.numel() for parameter in head.parameters())
        facts = checkpoint_facts(config, checkpoint)
        eval_data = None
        if request.eval_data is not None:
            eval_data = read_dataset(
                task,
                request.eval_data if eval_records is None else eval_records,
                fields=request.fields,
                label_map=request.label_map,
                shared_fields=True,
            )
            notes = check_labels(task, facts, eval_data)
            if notes:
                told["note"] = "; ".join(notes)
            if request.max_drop is not None:
                counts_answers = scorer_for(task, facts).counts_answers
                check_enough(eval_data, request.max_drop, counts_answers=counts_answers)
    calibration = read_calibration(
        task, request.calibration, fields=request.fields, records=calibration_records
    )
    built_in = calibration.source == task.built_in_set
    unseen = read_unseen(task) if built_in else (read_calibration(task),)
    max_length = longest_row(task, config, checkpoint, request.max_length)
    request = _settled(request, task, max_length)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        task=task.name,
        labels=labels_of(task, config),
        model=model_record(task, config, checkpoint, head),
        tokenizer=tokenizer_record(checkpoint, max_length),
        postprocessing=task.postprocessing.from_checkpoint(facts).to_manifest(),
        default_target=request.targets[0],
        engines=(),
        versions={name: version(name) for name in _TOOLS},
        files={},
        assumptions=tuple(
            assumption.text
            for assumption in assumptions
            if task.has_labels or not assumption.of_labels
        ),
        request=request_record(request),
    )
    return Source(
        request=request,
        task=task,
        checkpoint=checkpoint,
        config=config,
        facts=facts,
        head=head,
        max_length=max_length,
        manifest=manifest,
        calibration=calibration,
        unseen=unseen,
        eval_data=eval_data,
    )


def check_target(task: Task, target: Target) -> None:
    """Refuse an encoder-decoder on a target whose engine is one graph.

    Raises:
        TargetError: Names the target.
    """
    if task.has_encoder and not target.takes_halves:
        raise TargetError(
            f"target {target.name} does not take {task.name}",
            expected="one of "
            + ", ".join(name for name, other in TARGETS.items() if other.takes_halves)
            + ", which run an encoder and a decoder as two graphs",
            got=target.name,
        )


def _settled(request: ExportRequest, task: Task, max_length: int) -> ExportRequest:
    """The request with what it left to the checkpoint and to this machine filled in."""
    cpu = request.cpu
    if request.may_be_int8 and cpu is None:
        cpu = detect_processor()
    return msgspec.structs.replace(
        request,
        task=task.name,
        max_length=max_length,
        cpu=cpu,
        text_input=find_form(task, request.text_input) or False,
    )


def _task_of(checkpoint: Checkpoint) -> Task:
    """The task that a checkpoint was trained for.

    Raises:
        TaskError: It does not say.
    """
    task = default_task(checkpoint.architectures, sentence_modules=checkpoint.sentence is not None)
    if task is not None:
        return task
    raise TaskError(
        f"checkpoint {checkpoint.source} does not say which task it is for",
        expected="a BERT head in the architectures of its config.json",
        got=", ".join(checkpoint.architectures) or "none",
        fix="Pass --task",
    )
