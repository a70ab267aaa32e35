"""A file's rows in parts: each is answered by itself, and stands in a file of its own once it is.

Who answers parts needs nothing but their numbers; so a job goes on after an interruption, and its
parts may be answered in any order, by several processes that see the same folders.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_export.bulk.answers import ANSWER, Answers
from bert_export.bulk.source import Source, open_source, tables_of
from bert_export.bundle import MANIFEST, whole_file
from bert_export.errors import InputError
from bert_export.runtime.closing import Closing
from bert_export.runtime.hub import find_bundle

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PART_ROWS", "Work", "Worker"]

PART_ROWS = 4096
"""Rows of a file that are read, answered and written together."""

_CALL = "call"
"""The file that says what a folder of parts is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is answered, and how; a plain value that other processes get.

    Args:
        source: The file that is read.
        parts: The folder of what is done.
        bundle: See :class:`Answers`, as for what follows.
        task: The same.
        target: The same.
        threads: The same.
        fields: The same.
        options: The same.
        column: The same.
        part_rows: Rows of a part.
    """

    source: Path
    parts: Path
    bundle: str | Path
    task: str | None = None
    target: str | None = None
    threads: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    column: str = ANSWER
    part_rows: int = PART_ROWS

    def part(self, number: int) -> Path:
        """The file of a part, which is there once the part is answered."""
        return self.parts / f"{number:08}.parquet"

    def number_of_parts(self, rows: int) -> int:
        """How many parts so many rows are; one at least, which holds the columns."""
        return max(1, -(-rows // self.part_rows))

    def rows_of(self, number: int, rows: int) -> int:
        """Rows of a part, where the file has so many."""
        return min(self.part_rows, rows - number * self.part_rows)

    def open(self) -> Answers:
        """The engine."""
        return Answers(
            self.bundle,
            task=self.task,
            target=self.target,
            threads=self.threads,
            fields=self.fields,
            options=self.options,
            column=self.column,
        )

    def prepare(self) -> None:
        """Make the folder of parts; those of another source, bundle or call are thrown away.

        Raises:
            InputError: There is a folder of that name that no call made.
        """
        facts = self.source.stat()
        state = repr(
            (
                (facts.st_size, facts.st_mtime_ns, str(self.source.resolve()), self.part_rows),
                (self.task, self.target, dict(self.fields), dict(self.options), self.column),
            )
        )
        manifest = (find_bundle(self.bundle) / MANIFEST).read_bytes()
        own = sha256(state.encode() + manifest).hexdigest()
        mark = self.parts / _CALL
        if mark.is_file() and mark.read_text(encoding="utf-8") == own:
            return
        if self.parts.exists() and not mark.is_file():
            raise InputError(
                f"folder {self.parts} is in the way", expected="none, or one of a call before"
            )
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir(parents=True)
        mark.write_text(own, encoding="utf-8")

    def join(self, rows: int, output: Path) -> None:
        """Write all parts into one file, and remove them."""
        import pyarrow.parquet as pq

        files = [self.part(number) for number in range(self.number_of_parts(rows))]
        with (
            whole_file(output) as file,
            pq.ParquetWriter(file, pq.read_schema(files[0])) as writer,
        ):
            for part in files:
                writer.write_table(pq.read_table(part))
        shutil.rmtree(self.parts)


class Worker(Closing):
    """Answers parts of a file, one after another; in the order of their numbers it reads once.

    Args:
        work: What is answered, and how.

    Raises:
        BertExportError: As :class:`Answers`, or the source cannot be read.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._source: Source = open_source(work.source)
        self._tables: Iterator[pa.Table] = iter(())
        self._next: int | None = None
        self._answers = work.open()

    def answer(self, number: int) -> int:
        """Answer a part, and write its file.

        Returns:
            Its rows.

        Raises:
            DatasetError: The source cannot be read.
            InputError: A row does not fit; rows count from the file's first.
            OSError: The part cannot be written.
        """
        import pyarrow.parquet as pq

        work, start = self._work, number * self._work.part_rows
        try:
            answered = self._answers(self._read(number))
        except InputError as error:
            raise error.at(f"rows from {start}") from error
        with whole_file(work.part(number)) as file:
            pq.write_table(answered, file)
        return int(answered.num_rows)

    def close(self) -> None:
        """Free the engine."""
        self._answers.close()

    def _read(self, number: int) -> pa.Table:
        rows = self._work.part_rows
        if self._next is None or number < self._next:
            self._tables, self._next = tables_of(self._source, rows, start=number * rows), number
        while self._next < number:
            next(self._tables)
            self._next += 1
        self._next += 1
        return next(self._tables, self._source.schema.empty_table())
