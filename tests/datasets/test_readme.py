"""The records that the page shows are records of the tasks that it names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import bert_export
from bert_export.datasets import read_dataset
from bert_export.datasets.formats import FORMATS
from bert_export.tasks import TASKS, find_task

PAGE = (Path(bert_export.__file__).parent / "datasets" / "README.md").read_text(encoding="utf-8")
# The tasks of each shown record, in the page's order.
SHOWN = (
    ("feature-extraction", "text-generation"),
    ("sentence-embedding",),
    ("fill-mask",),
    ("text-classification",),
    ("text-classification",),
    ("zero-shot-classification",),
    ("token-classification",),
    ("question-answering",),
    ("multiple-choice",),
    ("next-sentence-prediction", "pretraining"),
)


def block(kind: str) -> str:
    """The page's code block of that kind."""
    (text,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(text)


@pytest.mark.parametrize(("index", "tasks"), list(enumerate(SHOWN)))
def test_a_shown_record_is_read_whole(index: int, tasks: tuple[str, ...], tmp_path: Path) -> None:
    lines = block("json").splitlines()
    assert len(lines) == len(SHOWN)
    path = tmp_path / "shown.jsonl"
    path.write_text(lines[index], encoding="utf-8")
    for task in tasks:
        (record,) = read_dataset(find_task(task), path).records
        assert record.keys() == json.loads(lines[index]).keys()


def test_the_shown_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shown.csv"
    path.write_text(block("text"), encoding="utf-8")
    (record,) = read_dataset(find_task("question-answering"), path).records
    start = record["answers"]["answer_start"][0]
    assert record["context"][start:].startswith(record["answers"]["text"][0])


def test_the_page_names_every_kind_of_file() -> None:
    table = PAGE.partition("## Kinds of files")[2].partition("## Records in memory")[0]
    assert set(re.findall(r"^\| (`\..*?) \|", table, flags=re.MULTILINE)) >= {"`.csv`", "`.txt`"}
    for suffix in FORMATS:
        assert f"`{suffix}`" in table


def test_the_table_has_every_task_with_its_fields() -> None:
    for task in TASKS.values():
        (row,) = re.findall(rf"^\| `{task.name}` \|(.*?)\|", PAGE, flags=re.MULTILINE)
        assert re.findall(r"(?<!\*)`(\w+)`(?!\*)", row) == list(task.required), task.name
        assert sorted(re.findall(r"\*`(\w+)`\*", row)) == sorted(task.optional), task.name
