"""Kinds of data files, one reader each, and the hash of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_export.datasets.arrow_files import read_parquet, read_saved
from bert_export.datasets.conll import looks_like_conll, read_conll
from bert_export.datasets.opening import check_regular, split_kind
from bert_export.datasets.table import Table
from bert_export.datasets.text_files import (
    read_csv,
    read_json,
    read_json_lines,
    read_plain_text,
    read_tsv,
)
from bert_export.errors import DatasetError, suggestion

__all__ = ["FORMATS", "TEXT_FORMATS", "hash_source", "read_table"]

TEXT_FORMATS: Mapping[str, Callable[[Path], Table]] = {
    ".txt": read_plain_text,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".conll": read_conll,
    ".bio": read_conll,
    ".iob": read_conll,
}
"""By suffix; each also packed by gzip, with the suffix ``.gz`` behind."""

FORMATS = (*TEXT_FORMATS, ".parquet")
"""All suffixes."""

_MAY_BE_CONLL = (".txt", ".tsv")


def read_table(path: Path, *, columns: Sequence[str], tagged: bool = False) -> Table:
    """Open a file with the reader of its kind.

    Args:
        path: The file, or a directory that the datasets library saved.
        columns: Columns of Parquet and Arrow files to read; other kinds are read whole.
        tagged: Whether words with tags are wanted: text and tables that look like CoNLL files are
            then read as such.

    Raises:
        DatasetError: There is no such file, its kind is unknown, or it is malformed; some errors
            show only while the rows are read.
        MissingExtraError: The kind needs pyarrow.
    """
    if path.is_dir():
        return read_saved(path, columns)
    kind, packed = split_kind(path)
    if kind == ".parquet" and not packed:
        return read_parquet(path, columns)
    reader = TEXT_FORMATS.get(kind)
    if reader is None:
        raise DatasetError(
            f"data file {path} is of an unknown kind",
            expected=f"{', '.join(FORMATS)}, one of the text kinds with .gz, or a directory that "
            "the datasets library saved",
            got=path.suffix or "no suffix",
            fix=suggestion(kind, FORMATS),
        )
    check_regular(path)
    if tagged and kind in _MAY_BE_CONLL and looks_like_conll(path):
        return read_conll(path)
    return reader(path)


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
