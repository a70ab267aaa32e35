"""Every demonstration has a labelled sample that its tasks can read by name."""

from __future__ import annotations

import pytest

from bert_export.checkpoints.demo import DEMONSTRATIONS
from bert_export.datasets import read_dataset
from bert_export.datasets.samples import find_sample, sample_names
from bert_export.errors import DatasetError
from bert_export.tasks import LABELS, find_task

READ_BY = (
    ("codah", "multiple-choice"),
    ("gutenberg", "next-sentence-prediction"),
    ("nlupp", "text-classification"),
    ("novels", "text-generation"),
    ("requests", "text2text-generation"),
    ("snips", "text-classification"),
    ("spans", "question-answering"),
    ("stsb", "sentence-embedding"),
    ("stsb", "text-classification"),
    ("taxinli", "text-classification"),
    ("wnut17", "token-classification"),
)


def test_every_demonstration_has_a_sample() -> None:
    there = {f"demo:{path.parent.name}" for path in DEMONSTRATIONS.glob("*/card.json")}
    assert set(sample_names()) == there == {f"demo:{name}" for name, _ in READ_BY}


@pytest.mark.parametrize(("name", "task"), READ_BY)
def test_a_sample_is_read_by_its_name_and_is_labelled(name: str, task: str) -> None:
    data = read_dataset(find_task(task), f"demo:{name}")
    assert data.source == f"demo:{name}"
    assert len(data) >= 30
    is_its_own_label = task == "text-generation"
    assert all(is_its_own_label or any(label in row for label in LABELS) for row in data.records)


def test_a_sample_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(
        DatasetError, match=r"data sample demo:none does not exist: expected one of demo:codah"
    ):
        read_dataset(find_task("text-classification"), "demo:none")


def test_a_file_is_no_sample() -> None:
    assert find_sample("snips.jsonl") is None
