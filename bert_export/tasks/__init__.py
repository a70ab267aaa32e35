"""The table of tasks: every command, test and page that lists tasks reads it."""

from __future__ import annotations

from collections.abc import Sequence

from bert_export.errors import TaskError, one_of, shown
from bert_export.tasks import (
    feature_extraction,
    fill_mask,
    multiple_choice,
    next_sentence_prediction,
    pretraining,
    question_answering,
    sentence_embedding,
    text2text_generation,
    text_classification,
    text_generation,
    token_classification,
    zero_shot_classification,
)
from bert_export.tasks.checkpoint_facts import CheckpointFacts, SentenceFacts
from bert_export.tasks.interface import (
    MASKED_POSITIONS,
    GraphInterface,
    GraphTensor,
    ScoredPositions,
    TextForm,
)
from bert_export.tasks.postprocessing import PostProcessing
from bert_export.tasks.task import LABELS, LIST_FIELDS, AgreementKind, Task

__all__ = [
    "ALIASES",
    "ALL_TASKS",
    "LABELS",
    "LIST_FIELDS",
    "MASKED_POSITIONS",
    "TASKS",
    "AgreementKind",
    "CheckpointFacts",
    "GraphInterface",
    "GraphTensor",
    "PostProcessing",
    "ScoredPositions",
    "SentenceFacts",
    "Task",
    "TextForm",
    "default_task",
    "find_task",
]

TASKS: dict[str, Task] = {
    module.TASK.name: module.TASK
    for module in (
        feature_extraction,
        sentence_embedding,
        fill_mask,
        text_classification,
        zero_shot_classification,
        token_classification,
        question_answering,
        multiple_choice,
        next_sentence_prediction,
        pretraining,
        text_generation,
        text2text_generation,
    )
}

ALIASES: dict[str, Task] = {
    **{alias: task for task in TASKS.values() for alias in task.aliases},
    **{variant.name: variant for task in TASKS.values() for variant in task.variants},
}
"""The tasks by the other names that people have for them."""

ALL_TASKS = tuple(
    name for task in TASKS.values() for name in (task.name, *(each.name for each in task.variants))
)
"""The names that a bundle's task may have."""


def find_task(name: str) -> Task:
    """The task of that name or alias, in whatever case, with ``_`` or ``-``.

    Raises:
        TaskError: No task is called so.
    """
    spelt = name.casefold().replace("_", "-").replace(" ", "-") if isinstance(name, str) else name
    task = TASKS.get(spelt) or ALIASES.get(spelt)
    if task is None:
        raise TaskError(f"task {shown(name)} is unknown", **one_of(name, TASKS, others=ALIASES))
    return task


def default_task(architectures: Sequence[str], *, sentence_modules: bool) -> Task | None:
    """The task that a checkpoint was trained for; ``None`` where it does not say.

    Args:
        architectures: Of its config, without the prefixes of other frameworks.
        sentence_modules: Whether sentence-transformers wrote it.
    """
    if sentence_modules:
        return next(task for task in TASKS.values() if task.sentence_modules)
    for architecture in architectures:
        for task in TASKS.values():
            if architecture in task.architectures:
                return task
    return None
