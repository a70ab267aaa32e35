"""The table of tasks: every command, test and page that lists tasks reads it."""

from __future__ import annotations

from bert_export.errors import TaskError
from bert_export.tasks import (
    feature_extraction,
    fill_mask,
    multiple_choice,
    next_sentence_prediction,
    pretraining,
    question_answering,
    sentence_embedding,
    text_classification,
    text_generation,
    token_classification,
    zero_shot_classification,
)
from bert_export.tasks.task import LABELS, Output, Task

__all__ = ["LABELS", "TASKS", "Output", "Task", "find_task"]

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
    )
}


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        TaskError: No task is called so.
    """
    try:
        return TASKS[name]
    except KeyError:
        raise TaskError(
            f"task {name!r} is unknown", expected=f"one of {', '.join(TASKS)}", got=repr(name)
        ) from None
