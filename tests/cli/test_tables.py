"""Tables in a terminal of 80 columns: no line is wider, and no word is cut."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bert_export.bundle import MixedPrecisionRecord, QuantizationGroupRecord, SearchRecord
from bert_export.cli.report import _table as drawn_report
from bert_export.cli.search import print_search
from bert_export.cli.tables import facts_table, print_table, table_of
from bert_export.exporter import Export
from bert_export.report.markdown import report_table
from tests.report.sample import sample_report

WORD = st.text("abcdefgh.-_", min_size=1, max_size=30)
CELL = st.lists(WORD, min_size=1, max_size=8).map(" ".join)


def printed(columns: list[str], rows: list[list[str]], width: int = 80, title: str = "") -> str:
    file = StringIO()
    console = Console(file=file, width=width, markup=False, highlight=False, soft_wrap=True)
    table = table_of(title, *columns)
    for row in rows:
        table.add_row(*row)
    print_table(table, console)
    return file.getvalue()


def words(text: str) -> set[str]:
    return set(re.sub("[│┃━╇─┼\n]", " ", text).split())


@given(st.lists(st.lists(CELL, min_size=4, max_size=4), min_size=1, max_size=4), CELL)
def test_no_word_is_cut_and_no_line_too_wide(rows: list[list[str]], title: str) -> None:
    text = printed(["one", "another", "third", "last"], rows, title=title)
    assert max(map(len, text.splitlines())) <= 80
    assert words(text) >= {word for row in rows for cell in row for word in cell.split()}
    assert words(text) >= set(title.split())


def test_a_table_that_fits_is_one() -> None:
    text = printed(["layer", "note"], [["query", "a few words that need more room " * 4]])
    assert text.splitlines()[0].split() == ["layer", "┃", "note"]
    assert len(text.splitlines()) == 4


def test_a_row_that_does_not_fit_goes_by_cells() -> None:
    columns = ["layer", "precision", "scale", "zero point", "reason"]
    row = ["bert.encoder.layer.0.attention", "int8", "0.0148", "128", ""]
    assert printed(columns, [row], width=50) == (
        "bert.encoder.layer.0.attention\n  precision: int8  scale: 0.0148  zero point: 128\n"
    )


def test_a_word_that_no_line_holds_is_folded() -> None:
    text = printed(["a", "b"], [["x", "y" * 200]])
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("y") == 200


def test_facts_stand_beside_their_names() -> None:
    file = StringIO()
    console = Console(file=file, width=40, markup=False, highlight=False, soft_wrap=True)
    print_table(facts_table("task", {"labels": "one, two, three", "tokens": "512"}), console)
    title, *lines = file.getvalue().splitlines()
    assert title == "task"
    assert [line.split("│")[0].strip() for line in lines] == ["labels", "tokens"]


class TestCommands:
    @pytest.fixture
    def bundle(self, tiny_export: Callable[..., Export]) -> Path:
        head = "BertForSequenceClassification"
        return tiny_export("text-classification", head, precision="int8", num_labels=3).path

    @staticmethod
    def said(width: int, *arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bert_export", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": str(width)},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def compare(self, *arguments: str | Path) -> str:
        """What is said at 80 columns, which must be what is said at 500."""
        narrow, wide = self.said(80, *arguments), self.said(500, *arguments)
        assert max(map(len, narrow.splitlines())) <= 80
        # By cells, names of columns end in a colon, and the first has none.
        lost = words(wide) - words(narrow) - {"layer", "pass", "task"}
        assert {word for word in lost if f"{word}:" not in words(narrow)} == set()
        return narrow

    def test_inspect_says_its_verdict_first(self, bundle: Path) -> None:
        text = self.compare("inspect", bundle)
        assert text.startswith("onnxruntime int8: verified, answers as PyTorch float32: ")
        assert "each with the hash that was recorded" in " ".join(text.split())
        assert "bert.encoder.layer.0" not in text
        assert "--layers lists them" in text

    def test_inspect_lists_layers_where_that_is_asked_for(self, bundle: Path) -> None:
        text = self.compare("inspect", bundle, "--layers")
        for layer in range(2):
            assert f"bert.encoder.layer.{layer}.output.dense\n" in text

    def test_others(self, bundle: Path, tmp_path: Path) -> None:
        self.compare("tasks")
        self.compare("explain", bundle)
        self.compare("--task", "ner", "--int8", "--dry-run", "-o", tmp_path / "bundle")

    def test_an_accuracy_budget(self) -> None:
        name = "bert.encoder.layer.0.attention.self"
        group = QuantizationGroupRecord(
            layers=(f"{name}.query", f"{name}.key", f"{name}.value"), sensitivity=0.1, cost=0.2
        )
        path = (
            MixedPrecisionRecord(excluded=(), score=0.8, drop=0.1, float_share=0.0),
            MixedPrecisionRecord(excluded=(0,), score=0.9, drop=0.0, float_share=0.2),
        )
        search = SearchRecord(
            data="a.jsonl", sha256="0" * 64, examples=300, seed=0, metric="accuracy",
            labelled=True, budget=0.005, baseline=0.9, groups=(group,), path=path, chosen=1,
            met=True,
        )  # fmt: skip
        file = StringIO()
        print_search(search, Console(file=file, width=80, markup=False, soft_wrap=True))
        text = file.getvalue()
        assert max(map(len, text.splitlines())) <= 80
        assert words(text) >= {"kept:", f"{name}.query,", "chosen"}

    def test_a_report(self) -> None:
        table = report_table(sample_report())
        file = StringIO()
        console = Console(file=file, width=80, markup=False, highlight=False, soft_wrap=True)
        print_table(drawn_report(table), console)
        text = file.getvalue()
        assert max(map(len, text.splitlines())) <= 80
        cells = {cell for row in table.rows for cell in row}
        assert words(text) >= {word for cell in cells for word in cell.split()}
