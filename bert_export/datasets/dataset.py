"""A data set as records, and where each of them came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_export.datasets.fields import read_fields
from bert_export.datasets.formats import Table, hash_source, read_table
from bert_export.datasets.pairing import pair_passages
from bert_export.datasets.samples import find_sample
from bert_export.errors import DatasetError
from bert_export.tasks import Task

__all__ = ["DataSet", "read_dataset"]

_PAIRS = ("text", "text_pair")


@dataclass(frozen=True, slots=True)
class DataSet:
    """Records and where they came from.

    Args:
        source: Name of the file, the folder or the built-in set, as given.
        sha256: sha256 of the file's bytes in hex; of a folder, see
            :func:`bert_export.datasets.formats.hash_source`.
        records: One mapping per example, with fields of the task only.
        places: The place of each record in the source, such as ``line 3``.
        class_names: By field, the names that its integers stand for, if the file has them.
    """

    source: str
    sha256: str
    records: tuple[Mapping[str, Any], ...]
    places: tuple[str, ...]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def place(self, index: int) -> str:
        """A record's source and place, as errors name it."""
        return f"{self.source} {self.places[index]}"


def read_dataset(task: Task, path: str | Path) -> DataSet:
    """Read a file of records.

    Args:
        task: The task whose fields are read; other columns are left out.
        path: A ``.txt`` (one ``text`` a line), ``.jsonl``, ``.csv`` or ``.parquet`` file, a
            directory that the datasets library saved, or a demonstration's sample, such as
            ``demo:snips``. For a task that needs pairs, the lines of a ``.txt`` file are running
            text, see :func:`bert_export.datasets.pairing.pair_passages`.

    Raises:
        DatasetError: The file is missing, of an unknown kind, malformed or empty, or a record does
            not fit the task.
        MissingExtraError: The kind of file needs pyarrow.
    """
    source = find_sample(str(path)) or Path(path)
    table = read_table(source, columns=(*task.required, *task.optional))
    is_running_text = source.suffix.lower() == ".txt" and task.required == _PAIRS
    if is_running_text:
        table = Table(pair_passages(list(table.rows)), table.unit, table.class_names)
    records: list[Mapping[str, Any]] = []
    places: list[str] = []
    for number, row in table.rows:
        place = f"{table.unit} {number}"
        records.append(read_fields(row, task, f"data file {path} {place}"))
        places.append(place)
    if not records:
        raise DatasetError(
            f"data file {path} is empty",
            expected="at least two lines, which make a pair"
            if is_running_text
            else "at least one example",
            got="fewer" if is_running_text else "none",
        )
    return DataSet(str(path), hash_source(source), tuple(records), tuple(places), table.class_names)
