"""What a task is: the facts that the command line, tests and documentation derive from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LABELS", "Output", "Task"]

LABELS = ("label", "labels", "tags", "answers", "score")
"""Fields that tell the answer to a record, which is then scored and not read."""


@dataclass(frozen=True, slots=True)
class Output:
    """One named output of a task's graph.

    Args:
        name: The ONNX name, the field's standard term.
        shape: Symbolic axes (``"batch"``, ``"sequence"``, ...); an ``int`` or a name that the
            checkpoint fixes (``"labels"``, ``"hidden"``, ``"vocabulary"``).
    """

    name: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of :data:`bert_export.tasks.TASKS`.

    Args:
        name: As typed after ``--task``.
        summary: One line for tables.
        head: Class in :mod:`bert_export.models.heads` that is traced.
        architectures: ``architectures`` entries of ``config.json`` (without a ``TF`` or ``Flax``
            prefix) whose checkpoints default to this task.
        outputs: The graph's outputs, in order.
        pipeline: ``module:Class`` of the runtime pipeline below ``bert_export.runtime.pipelines``.
        metric: The figure that a labelled set is scored with.
        agreement: What "the same answer" means when two precisions are compared:
            ``"label"`` (arg-max over the last axis), ``"span"`` (arg-max over the sequence),
            ``"token"`` (arg-max per unpadded token), ``"mask"`` (the first of all words per mask),
            ``"sign"`` (each label of a multi-label head), ``"cosine"`` (of each vector).
        required: Fields that every record of a calibration or evaluation file has.
        optional: Fields that a record may have.
        demo: Name of the demonstration checkpoint, ``None`` where there is none.
        example: The record that is answered after an export.
        example_options: Options of that call.
    """

    name: str
    summary: str
    head: str
    architectures: tuple[str, ...] = ()
    outputs: tuple[Output, ...]
    pipeline: str
    metric: str
    agreement: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    demo: str | None
    example: Mapping[str, Any]
    example_options: Mapping[str, Any] = field(default_factory=dict)
