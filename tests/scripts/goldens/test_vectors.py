"""The vectors of post-processing: what the original answers is what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bert_export.tasks import TASKS
from scripts.goldens.update_vectors import main
from scripts.goldens.vectors.tasks import RECORDERS
from scripts.goldens.vectors.vocabulary import TOKENIZERS, tokenizer_json
from scripts.goldens.vectors.writing import UPDATE, VECTORS, same_text, task_text

pytestmark = pytest.mark.long


def read(name: str) -> str:
    return (VECTORS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_as_recorded(task: str) -> None:
    if not same_text(read(f"{task}.json"), task_text(task)):
        pytest.fail(f"vectors differ; if that is meant, run: {UPDATE} --task {task}", pytrace=False)


@pytest.mark.parametrize("file", TOKENIZERS)
def test_tokenizers_are_as_recorded(file: str) -> None:
    assert read(file) == tokenizer_json(file)


def test_every_task_has_vectors() -> None:
    assert list(RECORDERS) == list(TASKS)


def test_the_script_tells_a_difference_and_writes_nothing(tmp_path: Path) -> None:
    name = "next-sentence-prediction.json"
    altered = read(name).replace('"is_next":true', '"is_next":false')
    (tmp_path / name).write_text(altered, encoding="utf-8")
    only = ["--task", "next-sentence-prediction", "--folder", str(tmp_path)]
    checked = CliRunner().invoke(main, [*only, "--check"])
    assert checked.exit_code == 1
    assert f"differs  {name}" in checked.stdout
    assert UPDATE in checked.stderr
    assert (tmp_path / name).read_text(encoding="utf-8") == altered
    updated = CliRunner().invoke(main, only)
    assert updated.exit_code == 0
    assert f"changed  {name}" in updated.stdout
    assert "added  tokenizer.json" in updated.stdout
    assert (tmp_path / name).read_text(encoding="utf-8") == read(name)
    assert "as recorded now" in CliRunner().invoke(main, [*only, "--check"]).stdout


def test_only_the_last_bits_of_numbers_may_differ() -> None:
    def differs(old: object, new: object) -> bool:
        return not same_text(json.dumps(old), json.dumps(new))

    assert not differs({"a": [0.1, "x"]}, {"a": [0.10000001, "x"]})
    assert differs({"a": [0.1]}, {"a": [0.1001]})
    assert differs({"a": [0.1]}, {"a": [0.1, 0.2]})
    assert differs({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert differs({"a": 1}, {"a": True})
    assert differs({"a": 1}, {"a": 1.0})
    assert not same_text("", "{}")
