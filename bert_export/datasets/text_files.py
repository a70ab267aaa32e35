"""Kinds of files that are text: plain lines, JSON and tables of cells."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from bert_export.datasets.opening import MOST_LINE, read_lines, read_text
from bert_export.datasets.squad import flatten_squad
from bert_export.datasets.table import Table, rows_of_columns
from bert_export.errors import DatasetError

__all__ = ["read_csv", "read_json", "read_json_lines", "read_plain_text", "read_tsv"]

_HEAD_LINES = 2


def read_plain_text(path: Path) -> Table:
    """One text a line."""
    return Table(((number, {"text": line}) for number, line in _filled_lines(path)), "line")


def read_json_lines(path: Path) -> Table:
    """One JSON object a line."""

    def rows() -> Iterator[tuple[int, Any]]:
        for number, line in _filled_lines(path):
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DatasetError(
                    f"data file {path} line {number} is not JSON",
                    expected="one JSON object a line",
                    got=error,
                ) from error

    return Table(rows(), "line")


def read_json(path: Path) -> Table:
    """A JSON value with records in it, or, as many tools write them too, one object a line.

    The value is a list of records, an object with such a list as ``data``, a table by columns, a
    table by rows under ``columns`` and ``data``, or a data set of SQuAD.
    """
    head = [line for _, line in islice(_filled_lines(path), _HEAD_LINES)]
    if len(head) == _HEAD_LINES and all(isinstance(_parse(line), Mapping) for line in head):
        return read_json_lines(path)
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"data file {path} is not JSON",
            expected="a list of objects, or one object a line",
            got=str(error) or "a value that is nested too deeply",
        ) from error
    return Table(enumerate(_records(value, path), 1), "record")


def _records(value: Any, path: Path) -> Iterator[Any]:
    """The records that a JSON value holds, whatever stands around them."""
    rows = value.get("data") if isinstance(value, Mapping) else value
    if isinstance(rows, list):
        names = value.get("columns") if isinstance(value, Mapping) else None
        if isinstance(names, list) and all(
            isinstance(row, list) and len(row) == len(names) for row in rows
        ):
            return (dict(zip(map(str, names), row, strict=True)) for row in rows)
        return flatten_squad(rows)
    if isinstance(value, Mapping):
        by_columns = rows_of_columns(value)
        return iter([value]) if by_columns is None else by_columns
    raise DatasetError(
        f"data file {path} holds no records",
        expected="a list of objects, or one object a line",
        got=f"a JSON {type(value).__name__}",
    )


def read_csv(path: Path) -> Table:
    """A header, then one row per record with as many cells; cells stand between commas."""
    csv.field_size_limit(MOST_LINE)  # a cell may be a whole document

    def rows() -> Iterator[list[str]]:
        number = -1  # of the header
        # A lone carriage return ends a line too, as old spreadsheets write it.
        lines = (part for _, line in read_lines(path) for part in io.StringIO(line, newline=""))
        try:
            for row in csv.reader(lines, strict=True):
                if row:
                    number += 1
                    yield row
        except csv.Error as error:
            raise DatasetError(
                f"data file {path} row {number + 1} is malformed",
                expected="cells between commas, quoted where they hold one",
                got=error,
            ) from error

    return _table_of_cells(path, rows())


def read_tsv(path: Path) -> Table:
    """A header, then one row per record; cells stand between tabs, one record a line.

    A quote is a character like any other, as in GLUE's files. A cell that is quoted as a whole, as
    pandas does it where a cell holds a quote or a tab, loses its quotes.
    """

    def rows() -> Iterator[list[str]]:
        width = 0  # cells of the header
        for _, line in read_lines(path):
            if not line.strip():
                continue
            text = line.rstrip("\r\n")
            cells = [_unquoted(cell) for cell in text.split("\t")]
            if width and len(cells) > width:
                cells = _quoted_tabs(text) or cells
            width = width or len(cells)
            yield cells

    return _table_of_cells(
        path, rows(), broken_quote="Write text of several lines to a .csv or .jsonl file"
    )


def _quoted_tabs(line: str) -> list[str]:
    """The cells of a line where tabs in quotes part none; empty if the quotes do not fit."""
    try:
        return next(csv.reader([line], delimiter="\t", strict=True), [])
    except csv.Error:
        return []


def _unquoted(cell: str) -> str:
    if len(cell) < 2 or not (cell.startswith('"') and cell.endswith('"')):
        return cell
    inside = cell[1:-1].replace('""', "\0")
    return cell if '"' in inside else inside.replace("\0", '"')


def _table_of_cells(
    path: Path, cells: Iterator[list[str]], *, broken_quote: str | None = None
) -> Table:
    """Rows by the names in the first one; columns without a name are left out.

    ``broken_quote`` is what to do where a row that lacks cells has one that begins with a quote.
    """

    def rows() -> Iterator[tuple[int, Any]]:
        header = [name.strip() for name in next(cells, [])]
        names = [name for name in header if name]
        if len(set(names)) != len(names):
            raise DatasetError(
                f"data file {path} names a column twice",
                expected="distinct names in the first row",
                got=", ".join(header),
            )
        for number, row in enumerate(cells, 1):
            if len(row) != len(header):
                opened = any(cell.startswith('"') for cell in row)
                raise DatasetError(
                    f"data file {path} row {number} does not fit the header",
                    expected=f"{len(header)} cells ({', '.join(header)})",
                    got=len(row),
                    fix=broken_quote if opened else None,
                )
            yield number, {name: cell for name, cell in zip(header, row, strict=True) if name}

    return Table(rows(), "row")


def _filled_lines(path: Path) -> Iterator[tuple[int, str]]:
    # Not splitlines(): JSON strings may hold the other line separators of Unicode.
    for number, line in read_lines(path):
        if line.strip():
            yield number, line.strip()


def _parse(line: str) -> Any:
    """What a line of JSON holds; ``None`` if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
