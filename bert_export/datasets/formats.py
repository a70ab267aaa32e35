"""Kinds of data files, one reader each: rows as the file holds them, with their numbers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from bert_export.errors import DatasetError, MissingExtraError

__all__ = ["FORMATS", "Table", "hash_source", "read_table"]

_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
_FEATURES_KEY = b"huggingface"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file.

    Args:
        rows: The number, from 1, and the value of each; values are not checked yet.
        unit: What the numbers count: ``line`` or ``row``.
        class_names: By column, the names that its integers stand for, if the file has them.
    """

    rows: Iterable[tuple[int, Any]]
    unit: str
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_table(path: Path, *, columns: Sequence[str]) -> Table:
    """Open a file with the reader of its kind.

    Args:
        path: The file, or a directory that the datasets library saved.
        columns: Columns of Parquet and Arrow files to read; other kinds are read whole.

    Raises:
        DatasetError: There is no such file, its kind is unknown, or it is malformed; some errors
            show only while the rows are read.
        MissingExtraError: The kind needs pyarrow.
    """
    if path.is_dir():
        return _read_saved(path, columns)
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(
            f"data file {path} is of an unknown kind",
            expected=f"{', '.join(FORMATS)}, or a directory that the datasets library saved",
            got=path.suffix or "no suffix",
        )
    return reader(path, columns)


def hash_source(path: Path) -> str:
    """The sha256 of a file's bytes, in hex.

    A directory is hashed over its files, in the order of their names: the name, a zero byte and the
    sha256 (raw) of each.
    """
    if path.is_file():
        return str(_digest(path).hexdigest())
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + _digest(file).digest())
    return digest.hexdigest()


def _digest(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError too for a zero byte in the name
        raise DatasetError(
            f"data file {path} cannot be read", expected="a UTF-8 text file", got=str(error)
        ) from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Not splitlines(): JSON strings may hold the other line separators of Unicode.
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def _read_txt(path: Path, columns: Sequence[str]) -> Table:
    """One text a line."""
    del columns
    return Table([(number, {"text": line}) for number, line in _lines(path)], "line")


def _read_jsonl(path: Path, columns: Sequence[str]) -> Table:
    """One JSON object a line."""
    del columns

    def rows() -> Iterator[tuple[int, Any]]:
        for number, line in _lines(path):
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DatasetError(
                    f"data file {path} line {number} is not JSON",
                    expected="one JSON object a line",
                    got=str(error),
                ) from error

    return Table(rows(), "line")


def _read_csv(path: Path, columns: Sequence[str]) -> Table:
    """A header, then one row per record with as many cells."""
    text = _read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a cell may be a whole document
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)

    def rows() -> Iterator[tuple[int, Any]]:
        number = 0
        try:
            filled_rows = filter(None, reader)
            header = [name.strip() for name in next(filled_rows, [])]
            names = [name for name in header if name]
            if len(set(names)) != len(names):
                raise DatasetError(
                    f"data file {path} names a column twice",
                    expected="distinct names in the first row",
                    got=", ".join(header),
                )
            for number, cells in enumerate(filled_rows, 1):
                if len(cells) != len(header):
                    raise DatasetError(
                        f"data file {path} row {number} does not fit the header",
                        expected=f"{len(header)} cells ({', '.join(header)})",
                        got=len(cells),
                    )
                yield number, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise DatasetError(
                f"data file {path} row {number + 1} is malformed",
                expected="cells between commas, quoted where they hold one",
                got=str(error),
            ) from error

    del columns
    return Table(rows(), "row")


def _read_parquet(path: Path, columns: Sequence[str]) -> Table:
    """Columns by name; lists are lists."""
    pyarrow = _import_pyarrow(path)
    from pyarrow import parquet

    def rows() -> Iterator[tuple[int, Any]]:
        with _arrow_errors(path, pyarrow), parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            present = [name for name in columns if name in names]
            yield from _number(file.iter_batches(columns=present), present, names)

    with _arrow_errors(path, pyarrow):
        metadata = parquet.read_schema(path).metadata or {}
    return Table(rows(), "row", _class_names(_json(metadata.get(_FEATURES_KEY, b"{}")).get("info")))


def _read_saved(path: Path, columns: Sequence[str]) -> Table:
    """A directory that ``Dataset.save_to_disk`` wrote: Arrow streams and two JSON files."""
    if not (path / _STATE).is_file():
        splits = _json((path / _SPLITS).read_bytes()) if (path / _SPLITS).is_file() else {}
        names = splits.get("splits") or []
        raise DatasetError(
            f"data directory {path} is no saved data set",
            expected=f"{_STATE} and {_INFO}, as Dataset.save_to_disk writes them",
            got="a dictionary of splits" if names else "neither",
            fix=f"Pass one of its splits, such as {path / str(names[0])}" if names else None,
        )
    pyarrow = _import_pyarrow(path)
    entries = _json((path / _STATE).read_bytes()).get("_data_files")
    files = [entry.get("filename") for entry in entries or [] if isinstance(entry, Mapping)]
    if not files or not all(isinstance(name, str) and Path(name).name == name for name in files):
        raise DatasetError(
            f"data directory {path} has a malformed {_STATE}",
            expected="_data_files, each with the filename of a file beside it",
            got=str(entries),
        )

    def rows() -> Iterator[tuple[int, Any]]:
        done = 0  # rows of the files before
        for name in map(str, files):
            with (
                _arrow_errors(path / name, pyarrow),
                pyarrow.OSFile(str(path / name)) as file,
                pyarrow.ipc.open_stream(file) as stream,
            ):
                names = stream.schema.names
                present = [column for column in columns if column in names]
                batches = (batch.select(present) for batch in stream)
                for number, row in _number(batches, present, names, after=done):
                    done = number
                    yield number, row

    info = _json((path / _INFO).read_bytes()) if (path / _INFO).is_file() else {}
    return Table(rows(), "row", _class_names(info))


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


def _json(data: bytes) -> Mapping[str, Any]:
    """Parse a JSON object of optional information; anything else counts as an empty one."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def _class_names(info: Any) -> dict[str, tuple[str, ...]]:
    """The names of ``ClassLabel`` columns, and of lists of them.

    Args:
        info: The datasets library's ``info``, of whatever type the file holds.
    """
    features = info.get("features") if isinstance(info, Mapping) else None
    class_names: dict[str, tuple[str, ...]] = {}
    for column, feature in (features if isinstance(features, Mapping) else {}).items():
        element = feature.get("feature", feature) if isinstance(feature, Mapping) else None
        names = element.get("names") if isinstance(element, Mapping) else None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            class_names[column] = tuple(names)
    return class_names


FORMATS: Mapping[str, Callable[[Path, Sequence[str]], Table]] = {
    ".txt": _read_txt,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""By suffix."""
