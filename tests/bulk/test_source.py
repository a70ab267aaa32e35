"""Rows come whole and in order from every kind of file, from any row on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_export.bulk.source import open_source, tables_of
from bert_export.errors import DatasetError


def write_parquet(path: Path, texts: list[str], rows: int) -> None:
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), path, row_group_size=rows)


def write_arrow(path: Path, texts: list[str], rows: int) -> None:
    table = pa.table({"text": pa.array(texts, pa.string())})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, rows)


def write_stream(path: Path, texts: list[str], rows: int) -> None:
    table = pa.table({"text": pa.array(texts, pa.string())})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, rows)


def write_text(path: Path, texts: list[str], rows: int) -> None:
    ending = "\r\n" if rows % 2 else "\n"
    path.write_bytes("".join(f"{text}{ending}" for text in texts).encode())


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.parquet", write_parquet),
        ("rows.feather", write_arrow),
        ("rows.arrow", write_stream),
        ("rows.txt", write_text),
    ],
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.sampled_from(["", "a", "b c", "\u00e9\u2028x"]), max_size=30),
    group=st.integers(1, 12),
    part=st.integers(1, 12),
    start=st.integers(0, 35),
)
def test_rows_from_any_row_on(
    name: str,
    write: Callable[[Path, list[str], int], None],
    tmp_path: Path,
    texts: list[str],
    group: int,
    part: int,
    start: int,
) -> None:
    path = tmp_path / name
    write(path, texts, group)
    source = open_source(path)
    assert (source.rows, source.schema.names) == (len(texts), ["text"])
    tables = list(tables_of(source, part, start=start))
    assert [text for table in tables for text in table["text"].to_pylist()] == texts[start:]
    assert all(table.num_rows == part for table in tables[:-1])
    assert all(table.num_rows for table in tables)


def test_a_mark_and_a_last_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n\ntwo")
    source = open_source(path)
    (table,) = tables_of(source, 8)
    assert (source.rows, table["text"].to_pylist()) == (3, ["one", "", "two"])


def test_what_cannot_be_read(tmp_path: Path) -> None:
    parquet = tmp_path / "whole.parquet"
    write_parquet(parquet, ["a"] * 100, 10)
    for name, content, said in (
        ("rows.parquet", parquet.read_bytes()[:-20], "rows.parquet cannot be read"),
        ("rows.arrow", b"nothing", "rows.arrow cannot be read"),
        ("rows.csv", b"a,b", "expected Parquet, Arrow, or text .* --data"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=said):
            open_source(path)
    with pytest.raises(DatasetError, match=r"missing\.txt cannot be read"):
        open_source(tmp_path / "missing.txt")
    text = tmp_path / "rows.txt"
    text.write_bytes(b"one\n\xff\n")
    with pytest.raises(DatasetError, match=r"line 2 of file .*rows.txt is not UTF-8"):
        list(tables_of(open_source(text), 8))
