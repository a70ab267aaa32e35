"""Files of rows, read from any row on: Parquet, Arrow, and text with a row a line."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bert_export.errors import DatasetError, one_line
from bert_export.importing import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Source", "open_source", "tables_of"]

_ARROW_FILE = b"ARROW1"
_PARQUET_FILE = b"PAR1"
_ARROW_STREAMS = (".arrow", ".arrows", ".feather", ".ipc")
_TEXTS = (".txt", ".text")
_FIELD = "text"
_LINES = 4096
_MARK = b"\xef\xbb\xbf"  # what some editors write before UTF-8


class Source(Protocol):
    """A file of rows.

    Attributes:
        rows: How many there are.
        schema: Their columns.
    """

    rows: int
    schema: pa.Schema

    @abstractmethod
    def tables(self, start: int) -> Iterator[pa.Table]:
        """The rows from one on, in tables of any size.

        Raises:
            DatasetError: The file is damaged, or a line is no UTF-8.
        """


def open_source(path: str | Path) -> Source:
    """A file as rows.

    Args:
        path: A Parquet file; an Arrow file or stream (``.arrow``, ``.feather``); or a text
            (``.txt``), of which each line is a row with the column ``text``.

    Raises:
        DatasetError: It cannot be read, or is none of these.
        MissingExtraError: ``pyarrow`` is not installed.
    """
    with needs_extra("Parquet and Arrow files", extra="data"):
        import pyarrow.parquet  # noqa: F401 - all that follows needs it

    file = Path(path)
    with _readable(file):
        with file.open("rb") as opened:
            begin = opened.read(len(_ARROW_FILE))
        if begin.startswith(_PARQUET_FILE):
            return _Parquet(file)
        if begin == _ARROW_FILE or file.suffix in _ARROW_STREAMS:
            return _Arrow(file)
        if file.suffix in _TEXTS:
            return _Text(file)
    raise DatasetError(
        f"file {file} cannot be read",
        expected=f"Parquet, Arrow, or text in a file {_TEXTS[0]}",
        fix="Answer other data files with --data",
    )


def tables_of(source: Source, rows: int, *, start: int = 0) -> Iterator[pa.Table]:
    """The rows of a source in tables of one size, the last of which may be smaller.

    Args:
        source: Of which rows are read.
        rows: Of a table.
        start: The first row.
    """
    import pyarrow as pa

    waiting: list[pa.Table] = []
    number = 0
    for table in source.tables(start):
        waiting.append(table)
        number += table.num_rows
        while number >= rows:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, rows)
            waiting, number = [whole.slice(rows)], number - rows
    if number:
        yield pa.concat_tables(waiting)


class _Parquet(Source):
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path, self._file = path, pq.ParquetFile(path)
        self.rows, self.schema = int(self._file.metadata.num_rows), self._file.schema_arrow

    def tables(self, start: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        metadata, first = self._file.metadata, 0
        # Groups of rows that end before the first row are not read at all.
        while first < metadata.num_row_groups and metadata.row_group(first).num_rows <= start:
            start -= metadata.row_group(first).num_rows
            first += 1
        groups = list(range(first, metadata.num_row_groups))
        with _readable(self._path):
            for batch in self._file.iter_batches(_LINES, row_groups=groups):
                yield pa.Table.from_batches([batch.slice(start)], self.schema)
                start = max(0, start - batch.num_rows)


class _Arrow(Source):
    """Arrow's file format, and its stream, which the datasets library writes."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._path = path
        with pa.memory_map(str(path)) as file:
            self.schema = _arrow_reader(file).schema
        self.rows = sum(table.num_rows for table in self.tables(0))

    def tables(self, start: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        with _readable(self._path), pa.memory_map(str(self._path)) as file:
            reader = _arrow_reader(file)
            batches = (
                map(reader.get_batch, range(reader.num_record_batches))
                if isinstance(reader, pa.RecordBatchFileReader)
                else reader
            )
            for batch in batches:
                yield pa.Table.from_batches([batch.slice(start)], self.schema)
                start = max(0, start - batch.num_rows)


class _Text(Source):
    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._path, self.schema = path, pa.schema([(_FIELD, pa.string())])
        with path.open("rb") as file:
            self.rows = sum(1 for _ in file)

    def tables(self, start: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        with _readable(self._path), self._path.open("rb") as file:
            numbered = islice(enumerate(file), start, None)
            while lines := list(islice(numbered, _LINES)):
                texts = [_text(self._path, number, line) for number, line in lines]
                yield pa.table({_FIELD: texts}, self.schema)


def _text(path: Path, number: int, line: bytes) -> str:
    """A line without its end.

    Raises:
        DatasetError: It is no UTF-8.
    """
    own = line if number else line.removeprefix(_MARK)
    try:
        return own.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"line {number + 1} of file {path} is not UTF-8",
            expected="UTF-8",
            got=f"byte 0x{own[error.start]:02x} at {error.start}",
        ) from None


def _arrow_reader(
    file: pa.MemoryMappedFile,
) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    import pyarrow as pa

    begin = file.read(len(_ARROW_FILE))
    file.seek(0)
    return pa.ipc.open_file(file) if begin == _ARROW_FILE else pa.ipc.open_stream(file)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say which file it is that cannot be read."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"file {path} cannot be read",
            expected="a whole Parquet, Arrow or text file",
            got=one_line(error),
        ) from error
