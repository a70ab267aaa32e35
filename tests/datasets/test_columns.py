"""Columns by other names, and errors that say which there are and how to name one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bert_export.datasets import read_dataset
from bert_export.datasets.columns import Columns, suggest_field
from bert_export.errors import DatasetError, InputError
from bert_export.tasks import TASKS, find_task

TASK = find_task("text-classification")


def test_a_file_whose_columns_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text("sentence\tsentiment\tid\nfine\tpos\t7\n")
    fields = {"text": "sentence", "label": "sentiment"}
    data = read_dataset(TASK, path, fields=fields)
    assert data.records == ({"text": "fine", "label": "pos"},)
    assert data.columns == ("sentence", "sentiment", "id")


def test_a_named_column_of_a_parquet_file_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"review": ["fine"], "y": [1], "id": [7]}), path)
    data = read_dataset(TASK, path, fields={"text": "review", "label": "y"})
    assert data.records == ({"text": "fine", "label": 1},)
    with pytest.raises(DatasetError, match=r"got review, y, id\. .* --field text=review\."):
        read_dataset(TASK, path, fields={"label": "y"})


def test_missing_fields_are_said_with_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Sentence,Intent\nfine,pos\n")
    with pytest.raises(DatasetError) as caught:
        read_dataset(TASK, path)
    assert str(caught.value) == (
        f"data file {path} row 1 does not fit text-classification: expected text, got Sentence, "
        "Intent. Name the column that holds it: --field text=Sentence."
    )
    with pytest.raises(DatasetError) as caught:
        read_dataset(TASK, path, fields={"text": "Sentence", "label": "intend"})
    assert str(caught.value) == (
        f"data file {path} has no column intend for the field label: expected a column of the "
        "data, got Sentence, Intent. Name the column that holds it: --field label=Intent."
    )


def test_a_needed_field_may_have_its_own_name_too() -> None:
    fields = {"text": "sentence"}  # of one of two files that are read with the same options
    own = [{"text": "a"}]
    data = read_dataset(TASK, own, fields=fields, shared_fields=True)
    assert data.records == ({"text": "a"},)
    with pytest.raises(DatasetError, match="has no column sentence for the field text"):
        read_dataset(TASK, own, fields=fields)
    both = [{"text": "a", "sentence": "b"}]
    assert read_dataset(TASK, both, fields=fields).records == ({"text": "b"},)


def test_fields_that_the_task_has_not_are_refused() -> None:
    with pytest.raises(InputError, match=r"field 'txt' is unknown to text-class.* 'text'\?"):
        read_dataset(TASK, ["a"], fields={"txt": "sentence"})
    with pytest.raises(InputError, match="field text names no column"):
        read_dataset(TASK, ["a"], fields={"text": ""})


def test_suggestions_are_columns_that_are_there() -> None:
    assert suggest_field("text", ["id", "REVIEW"]).endswith("--field text=REVIEW")
    assert suggest_field("text", ["id"]).endswith("--field text=COLUMN")
    assert suggest_field("text", ["title", "gold label", "sentence"]).endswith("text=sentence")
    assert suggest_field("label", ["Label"]).endswith("label=Label")
    assert suggest_field("labels", ["my label", "label"]).endswith("labels=label")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_field_may_be_renamed(name: str) -> None:
    task = TASKS[name]
    for field in (*task.required, *task.optional):
        columns = Columns(task, {field: "other"})
        assert columns.pick({"other": 1, "x": 2}) == {field: 1}
        assert columns.rename({"other": ("a",), "x": ("b",)}) == {field: ("a",)}
        assert "other" in columns.names
