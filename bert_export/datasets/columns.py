"""Which column holds a field: its own name, a usual one, or one that the user names."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from bert_export.errors import InputError, one_of, shown
from bert_export.tasks import Task

__all__ = ["Columns", "suggest_field", "usual_column"]

_ALIASES: Mapping[str, str] = {"tags": "ner_tags"}
"""Another name of a field that says the same without doubt, in the datasets of the hub."""

_USUAL: Mapping[str, tuple[str, ...]] = {
    "text": (
        "sentence", "sentence1", "sentence_1", "premise", "question1", "question", "query",
        "utterance", "review", "content", "input", "document", "body", "comment", "tweet",
        "message", "sms", "title", "headline", "description", "context", "sent1",
    ),
    "text_pair": (
        "sentence2", "sentence_2", "hypothesis", "question2", "passage", "answer", "response",
        "text2", "sent2",
    ),
    "label": (
        "labels", "intent", "category", "class", "sentiment", "target", "label_text", "topic",
        "gold_label", "answer", "answerKey", "emotion", "y", "coarse_label",
    ),
    "labels": ("label", "intents", "categories", "classes", "tags", "targets", "topics"),
    "tokens": ("words", "token", "sentence", "word"),
    "tags": ("labels", "ner", "bio", "iob", "pos_tags", "tag", "entities", "label"),
    "question": ("query", "question_text"),
    "context": ("passage", "paragraph", "document", "article", "text"),
    "answers": ("answer",),
    "prompt": ("startphrase", "sent1", "ctx", "context", "question", "stem", "query"),
    "choices": ("endings", "options", "candidates", "answers"),
    "candidate_labels": ("candidates", "labels", "classes"),
    "summary": ("highlights", "abstract", "headline", "target", "answer", "output"),
    "score": ("similarity", "similarity_score", "relatedness_score", "label", "labels"),
}  # fmt: skip
"""Names that a field has elsewhere; never taken without being asked."""


class Columns:
    """The columns of a data set that hold the fields of a task.

    Args:
        task: With the fields.
        fields: By field, the column that holds it where it has another name. Where that is a field
            that every record needs, a file that has it under its own name is read too.

    Raises:
        InputError: The task has no such field, or the name of a column is empty.
    """

    def __init__(self, task: Task, fields: Mapping[str, str] | None = None) -> None:
        self._required = task.required
        self._names = (*task.required, *task.optional)
        self._fields = dict(fields or {})
        for name, column in self._fields.items():
            if name not in self._names:
                raise InputError(
                    f"field {shown(name)} is unknown to {task.name}", **one_of(name, self._names)
                )
            if not isinstance(column, str) or not column:
                raise InputError(
                    f"field {name} names no column", expected=f"{name}=COLUMN", got=repr(column)
                )
        self._sources = {
            name: _sources(name, self._fields.get(name), required=name in task.required)
            for name in self._names
        }

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that may hold a field."""
        return tuple(dict.fromkeys((*self._names, *_ALIASES.values(), *self._fields.values())))

    def pick(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        """The values of a row by field; a field whose column the row lacks is left out."""
        picked = {}
        for name in self._names:
            for column in self._sources[name]:
                if row.get(column) is not None:
                    picked[name] = row[column]
                    break
        return picked

    def rename(self, by_column: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of columns, by the field that each of them holds."""
        return {
            name: by_column[column]
            for name in self._names
            for column in reversed(self._sources[name])
            if column in by_column
        }

    def missing(self, found: Sequence[str], *, shared: bool) -> list[tuple[str, str]]:
        """Fields whose named column is not among those that were found.

        Args:
            found: The columns that are there.
            shared: Whether another file is read by the same names: fields that every record needs
                do not count then, as this file has them under their own names.
        """
        return [
            (name, column)
            for name, column in self._fields.items()
            if column not in found and not (shared and name in self._required)
        ]


def _sources(name: str, column: str | None, *, required: bool) -> tuple[str, ...]:
    """Columns that may hold a field, of which the first that a row has counts.

    Args:
        name: The field.
        column: That is named for it, if one is.
        required: Whether every record needs the field.
    """
    if column is not None:
        return (column, name) if required else (column,)
    return (name, _ALIASES[name]) if name in _ALIASES else (name,)


def usual_column(name: str, found: Sequence[str]) -> str | None:
    """The column that usually holds a field under another name; ``None`` if there is none.

    Args:
        name: The field.
        found: The columns that are there.
    """
    by_lower = {column.lower(): column for column in reversed(found)}
    usual = (by_lower.get(other.lower()) for other in (name, *_USUAL.get(name, ())))
    return next((column for column in usual if column is not None and column != name), None)


def suggest_field(name: str, found: Sequence[str]) -> str:
    """How to name the column of a field that was not found, as an error says it.

    Args:
        name: The field.
        found: The columns that are there.
    """
    column = usual_column(name, found) or "COLUMN"
    return f"Name the column that holds it: --field {shlex.quote(f'{name}={column}')}"
