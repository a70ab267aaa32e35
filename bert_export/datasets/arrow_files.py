"""Parquet files, and directories that the datasets library saved, read in batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from bert_export.datasets.opening import MOST_DOCUMENT, check_regular
from bert_export.datasets.table import Table, class_names
from bert_export.errors import DatasetError, MissingExtraError
from bert_export.regular_files import read_regular

__all__ = ["read_parquet", "read_saved"]

_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
_FEATURES_KEY = b"huggingface"


def read_parquet(path: Path, columns: Sequence[str]) -> Table:
    """Columns by name; lists are lists."""
    pyarrow = _import_pyarrow(path)
    from pyarrow import parquet

    def rows() -> Iterator[tuple[int, Any]]:
        with _arrow_errors(path, pyarrow), parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            present = [name for name in columns if name in names]
            yield from _number(file.iter_batches(columns=present), present, names)

    check_regular(path)
    with _arrow_errors(path, pyarrow):
        schema = parquet.read_schema(path)
    info = _json((schema.metadata or {}).get(_FEATURES_KEY, b"{}")).get("info")
    return Table(rows(), "row", _class_names(info), tuple(schema.names))


def read_saved(path: Path, columns: Sequence[str]) -> Table:
    """A directory that ``Dataset.save_to_disk`` wrote: Arrow streams and two JSON files."""
    if not (path / _STATE).is_file():
        splits = _read_json(path / _SPLITS)
        names = splits.get("splits") or []
        raise DatasetError(
            f"data directory {path} is no saved data set",
            expected=f"{_STATE} and {_INFO}, as Dataset.save_to_disk writes them",
            got="a dictionary of splits" if names else "neither",
            fix=f"Pass one of its splits, such as {path / str(names[0])}" if names else None,
        )
    pyarrow = _import_pyarrow(path)
    entries = _read_json(path / _STATE).get("_data_files")
    files = [entry.get("filename") for entry in entries or [] if isinstance(entry, Mapping)]
    if not files or not all(isinstance(name, str) and Path(name).name == name for name in files):
        raise DatasetError(
            f"data directory {path} has a malformed {_STATE}",
            expected="_data_files, each with the filename of a file beside it",
            got=str(entries),
        )

    @contextmanager
    def opened(name: str) -> Iterator[Any]:
        check_regular(path / name)
        with (
            _arrow_errors(path / name, pyarrow),
            pyarrow.OSFile(str(path / name)) as file,
            pyarrow.ipc.open_stream(file) as stream,
        ):
            yield stream

    def rows() -> Iterator[tuple[int, Any]]:
        done = 0  # rows of the files before
        for name in map(str, files):
            with opened(name) as stream:
                names = stream.schema.names
                present = [column for column in columns if column in names]
                batches = (batch.select(present) for batch in stream)
                for number, row in _number(batches, present, names, after=done):
                    done = number
                    yield number, row

    with opened(str(files[0])) as stream:
        columns = tuple(stream.schema.names)
    info = _read_json(path / _INFO)
    return Table(rows(), "row", _class_names(info), columns)


def _number(
    batches: Iterable[Any], present: Sequence[str], names: Sequence[str], *, after: int = 0
) -> Iterator[tuple[int, Any]]:
    """The rows of Arrow batches, numbered from ``after + 1``.

    Args:
        batches: The batches, with the columns to read.
        present: Columns to read that the file has. If there are none, a single row with all of the
            file's columns is given, so that the error can name them.
        names: All columns of the file.
        after: Number of the row before the first.
    """
    if not present:
        yield after + 1, dict.fromkeys(names)
        return
    for batch in batches:
        for row in batch.to_pylist():
            after += 1
            yield after, row


def _import_pyarrow(path: Path) -> ModuleType:
    try:
        pyarrow = import_module("pyarrow")
        import_module("pyarrow.ipc")
    except ImportError as error:
        raise MissingExtraError(f"reading {path}", extra="data") from error
    return pyarrow


@contextmanager
def _arrow_errors(path: Path, pyarrow: ModuleType) -> Iterator[None]:
    """Turn Arrow's many exceptions into a :class:`DatasetError`."""
    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        raise DatasetError(
            f"data file {path} cannot be read",
            expected="a Parquet or Arrow file",
            got=" ".join(str(error).split()) or type(error).__name__,
        ) from error


def _read_json(path: Path) -> Mapping[str, Any]:
    """A file beside the data, as :func:`_json` parses it; nothing where there is none.

    Raises:
        DatasetError: It is larger than such a file can be.
    """
    if not path.is_file():
        return {}
    try:
        return _json(read_regular(path, most=MOST_DOCUMENT))
    except OSError as error:
        raise DatasetError(
            f"data file {path} cannot be read", expected="a JSON file", got=error.strerror
        ) from error


def _json(data: bytes) -> Mapping[str, Any]:
    """Parse a JSON object of optional information; anything else counts as an empty one."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def _class_names(info: Any) -> dict[str, tuple[str, ...]]:
    """The names of the classes of columns, from an ``info`` of whatever type the file holds."""
    return class_names(info.get("features") if isinstance(info, Mapping) else None)
