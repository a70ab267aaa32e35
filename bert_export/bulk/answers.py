"""A batch of columns in, the same columns with their answers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.errors import InputError, one_of
from bert_export.runtime.closing import Closing
from bert_export.runtime.json_answers import write_json
from bert_export.runtime.loading import load
from bert_export.runtime.pipelines.columns import answer_columns
from bert_export.tasks import LABELS

__all__ = ["ANSWER", "Answers"]

ANSWER = "answer"
"""The column of answers, where no other is named."""


class Answers(Closing):
    """Loads a bundle, and answers batches of columns with it.

    Args:
        bundle: A folder, or a hub id with the extra ``hub``.
        task: Another task that the bundle's head serves.
        target: Whose engine answers; the bundle's default when ``None``.
        threads: Threads inside an operator; all cores when ``None``.
        fields: The column of a field of the task, where names differ: ``{"text": "review"}``.
        options: Of the task's call, such as ``{"top_k": 3}``.
        column: Of the answers.

    Raises:
        BertExportError: As :func:`bert_export.load`; or a field is unknown.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        task: str | None = None,
        target: str | None = None,
        threads: int | None = None,
        fields: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        column: str = ANSWER,
    ) -> None:
        self.column = column
        self._fields, self._options = dict(fields or {}), dict(options or {})
        self._pipeline = load(bundle, task=task, target=target, threads=threads)
        definition = self._pipeline.definition
        self._required = definition.required
        self._known = [
            name for name in (*definition.required, *definition.optional) if name not in LABELS
        ]
        for name in self._fields:
            if name not in self._known:
                self.close()
                raise InputError(f"field {name} is unknown", **one_of(name, self._known))

    def __call__(self, batch: Any) -> Any:
        """Answer a batch.

        Args:
            batch: A mapping of columns (arrays or lists of one length), a pandas DataFrame, or an
                Arrow table or record batch.

        Returns:
            The same kind with one column more, in the rows' order: float32 vectors for
            sentence-embedding, for every other task a JSON text of what the call answers.

        Raises:
            InputError: A column that the task needs is missing, a row does not fit (the error names
                its index), or there is a column of the answers' name already.
        """
        if hasattr(batch, "schema") and hasattr(batch, "append_column"):
            return self._answer_arrow(batch)
        if hasattr(batch, "assign") and hasattr(batch, "columns"):
            answers = self._answer(list(map(str, batch.columns)), lambda name: batch[name].tolist())
            return batch.assign(**{self.column: list(answers)})
        if not isinstance(batch, Mapping):
            raise InputError(
                "batch is of the wrong type",
                expected="a mapping of columns, a pandas DataFrame or an Arrow table",
                got=type(batch).__name__,
            )
        answers = self._answer(list(batch), lambda name: _listed(batch[name]))
        if not isinstance(answers, np.ndarray):
            answers = np.array(answers, dtype=object)
        return {**batch, self.column: answers}

    def close(self) -> None:
        """Free the engine."""
        self._pipeline.close()

    def _answer_arrow(self, batch: Any) -> Any:
        import pyarrow as pa

        answers = self._answer(batch.schema.names, lambda name: batch.column(name).to_pylist())
        if isinstance(answers, np.ndarray):
            flat = pa.array(answers.ravel())
            column = pa.FixedSizeListArray.from_arrays(flat, answers.shape[1])
        else:
            column = pa.array(answers, pa.string())
        return batch.append_column(self.column, column)

    def _answer(self, present: Sequence[str], column: Callable[[str], list[Any]]) -> Any:
        """Answers in the rows' order: float32 (N, D), or N texts of JSON.

        Args:
            present: Names of the batch's columns.
            column: The values of one.
        """
        if self.column in present:
            raise InputError(
                f"column {self.column} is there already",
                expected="a free name for the answers",
                fix="Name another",
            )
        fields = {name: column(where) for name, where in self._places(present).items()}
        sizes = sorted({len(values) for values in fields.values()})
        if len(sizes) > 1:
            raise InputError("columns differ in length", expected="one length", got=sizes)
        if "tokens" in fields:  # words are there: the text that they are of is not read
            fields = {"tokens": fields["tokens"]}
        answers = answer_columns(self._pipeline, fields, self._options)
        return answers if isinstance(answers, np.ndarray) else list(map(_text, answers))

    def _places(self, present: Sequence[str]) -> dict[str, str]:
        """The column of each field that the task reads and the batch has.

        Raises:
            InputError: One that the task needs, or that was named, is missing.
        """
        found = {name: self._fields.get(name, name) for name in self._known}
        needed = [
            name
            for name in self._known
            if name in self._fields or (name in self._required and name not in self._options)
        ]
        if not self._required and not any(place in present for place in found.values()):
            needed = self._known[:1]
        for name in needed:
            if found[name] not in present:
                raise InputError(
                    f"column {found[name]} is missing",
                    expected=f"one with the field {name}",
                    got=", ".join(present) or "no column",
                    fix="Say which column holds the field",
                )
        given = {name: place for name, place in found.items() if place in present}
        return {name: place for name, place in given.items() if name not in self._options}


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _text(answer: Any) -> str:
    return write_json(answer).decode()
