"""Answers to tables: a batch of columns in, the same columns with their answers out.

:class:`Answers` is a plain class that engines of clusters call: Ray Data's ``map_batches``, Spark's
``mapInPandas``, Dask's ``map_partitions``. :func:`answer_parquet` answers a Parquet file on one
machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.bundle import MANIFEST, whole_file
from bert_export.errors import DatasetError, InputError, one_line, one_of
from bert_export.importing import needs_extra
from bert_export.runtime.closing import Closing
from bert_export.runtime.hub import find_bundle
from bert_export.runtime.json_answers import write_json
from bert_export.runtime.loading import load
from bert_export.tasks import LABELS
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.zero_shot_classification import TASK as ZERO_SHOT_CLASSIFICATION

__all__ = ["ANSWER", "PART_ROWS", "Answers", "answer_parquet"]

ANSWER = "answer"
"""The column of answers, where no other is named."""

PART_ROWS = 4096
"""Rows of a file that are read, answered and written together."""

Advance = Callable[[int, int], None]
"""Hears (rows done, rows in all)."""


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
        pipeline, options = self._pipeline, self._options
        if pipeline.task == SENTENCE_EMBEDDING.name:
            vectors: Any = pipeline(fields["text"], **options)
            return np.asarray(vectors, dtype=np.float32)
        if pipeline.task == ZERO_SHOT_CLASSIFICATION.name and "candidate_labels" in fields:
            # Rows may differ in their labels, which are an argument of the call.
            rows = zip(fields["text"], fields["candidate_labels"], strict=True)
            return [_text(pipeline(text, labels, **options)) for text, labels in rows]
        if fields.keys() == {"text"}:
            inputs: Any = iter(fields["text"])
        elif "tokens" in fields:
            inputs, options = iter(fields["tokens"]), {**options, "is_split_into_words": True}
        else:
            names = list(fields)
            inputs = (
                {name: value for name, value in zip(names, row, strict=True) if value is not None}
                for row in zip(*fields.values(), strict=True)
            )
        # An iterator: every answer then has the shape of one among several.
        return [_text(answer) for answer in pipeline(inputs, **options)]

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


def answer_parquet(
    source: str | Path,
    output: str | Path,
    bundle: str | Path,
    *,
    task: str | None = None,
    target: str | None = None,
    threads: int | None = None,
    fields: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    column: str = ANSWER,
    advance: Advance | None = None,
) -> int:
    """Answer a Parquet file: the same columns and rows, and their answers.

    Memory is that of a few thousand rows. What is done stands beside the output, in a folder
    ``OUTPUT.parts``: interrupted, the same call goes on behind it. The output appears once it is
    whole.

    Args:
        source: The file that is read.
        output: The file that is written, in place of one that is there.
        bundle: See :class:`Answers`, as for what follows.
        task: The same.
        target: The same.
        threads: The same.
        fields: The same.
        options: The same.
        column: The same.
        advance: Called with (rows done, rows in all).

    Returns:
        How many rows there are.

    Raises:
        DatasetError: The source cannot be read.
        InputError: As :class:`Answers`; rows count from the file's first.
        MissingExtraError: ``pyarrow`` is not installed.
        OSError: The output cannot be written.
    """
    with needs_extra("Parquet files", extra="data"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"file {source} cannot be read", expected="a Parquet file", got=one_line(error)
        ) from error
    target_file = Path(output)
    if target_file.exists() and target_file.samefile(source):
        raise InputError("output is the input", expected="another file", got=target_file)
    parts = target_file.with_name(f"{target_file.name}.parts")
    asked = (task, target, fields, options, column)
    _prepare_parts(parts, Path(source), find_bundle(bundle), asked)
    total, done = int(table.metadata.num_rows), 0
    with Answers(
        bundle,
        task=task,
        target=target,
        threads=threads,
        fields=fields,
        options=options,
        column=column,
    ) as answers:
        for number, batch in enumerate(table.iter_batches(PART_ROWS)):
            part = parts / f"{number:08}.parquet"
            if not part.exists():
                try:
                    answered = answers(pa.Table.from_batches([batch]))
                except InputError as error:
                    raise error.at(f"rows from {done}") from error
                with whole_file(part) as file:
                    pq.write_table(answered, file)
            done += batch.num_rows
            if advance is not None:
                advance(done, total)
        if not total:
            empty = answers(table.schema_arrow.empty_table())
            with whole_file(parts / f"{0:08}.parquet") as file:
                pq.write_table(empty, file)
    files = sorted(parts.glob("*.parquet"))
    with (
        whole_file(target_file) as file,
        pq.ParquetWriter(file, pq.read_schema(files[0])) as writer,
    ):
        for part in files:
            writer.write_table(pq.read_table(part))
    shutil.rmtree(parts)
    return total


def _prepare_parts(parts: Path, source: Path, bundle: Path, asked: Sequence[Any]) -> None:
    """A folder for the parts; those of another source, bundle or call are thrown away."""
    facts = source.stat()
    state = repr((facts.st_size, facts.st_mtime_ns, str(source.resolve()), PART_ROWS, asked))
    own = sha256(state.encode() + (bundle / MANIFEST).read_bytes()).hexdigest()
    mark = parts / "call"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != own:
        if parts.exists() and not mark.is_file():
            raise InputError(
                f"folder {parts} is in the way", expected="none, or one of a call before"
            )
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        mark.write_text(own, encoding="utf-8")


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _text(answer: Any) -> str:
    return write_json(answer).decode()
