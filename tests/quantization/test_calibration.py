"""Calibration sets: the built-in ones, users' files, and how rows are made of them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.errors import BertExportError, CalibrationError
from bert_export.quantization.calibration import (
    MIN_EXAMPLES,
    built_in_folder,
    built_in_sets,
    make_rows,
    mask_tokens,
    read_calibration,
)
from bert_export.tasks import TASKS, find_task
from tests.support import open_tiny


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_has_a_built_in_set(name: str) -> None:
    calibration = read_calibration(TASKS[name])
    card = tomllib.loads((built_in_folder() / name / "card.toml").read_text(encoding="utf-8"))
    assert len(calibration.records) >= 128
    assert card["examples"] == len(calibration.records)
    assert card["sha256"] == calibration.sha256
    assert card["licence"] == "Apache-2.0"
    lines = (built_in_folder() / name / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(set(lines)) == len(lines)


def test_built_in_lengths_vary() -> None:
    for name in built_in_sets():
        records = read_calibration(TASKS[name]).records
        words = [len(json.dumps(record).split()) for record in records]
        assert max(words) > 4 * min(words), name


def test_a_text_file_is_one_text_a_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\n\n".join(f"text {n}" for n in range(20)), encoding="utf-8")
    calibration = read_calibration(find_task("fill-mask"), str(path))
    assert [record["text"] for record in calibration.records] == [f"text {n}" for n in range(20)]
    assert calibration.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


PAIRS = [json.dumps({"question": "q", "context": "c"})] * MIN_EXAMPLES


@pytest.mark.parametrize(
    ("task", "name", "text", "message"),
    [
        ("fill-mask", "a.txt", "", "too small: expected at least 16 examples, got 0"),
        ("fill-mask", "a.txt", "one\ntwo", "too small"),
        ("fill-mask", "a.csv", "text", "neither built in nor a file"),
        ("fill-mask", "a.jsonl", "{", "line 1 is not JSON"),
        ("fill-mask", "a.jsonl", '["text"]', "line 1 is no object"),
        ("fill-mask", "a.jsonl", '{"text": "a"}\n{"txt": "b"}', "line 2 does not fit fill-mask"),
        ("question-answering", "a.txt", "one", "expected question, context"),
        ("token-classification", "a.jsonl", "{}", "got an empty object"),
    ],
)
def test_a_malformed_set_is_named(
    task: str, name: str, text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CalibrationError, match=message):
        read_calibration(find_task(task), str(path))


def test_a_missing_or_binary_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calibration(find_task("fill-mask"), str(tmp_path / "none.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calibration(find_task("fill-mask"), str(tmp_path / "binary.txt"))


@given(data=st.binary(max_size=200))
def test_no_file_content_breaks_the_reader(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    path.write_bytes(data)
    with pytest.raises(BertExportError):
        read_calibration(find_task("fill-mask"), str(path))


@pytest.mark.parametrize(
    ("task", "cls_name", "config"),
    [
        ("fill-mask", "BertForMaskedLM", {}),
        ("question-answering", "BertForQuestionAnswering", {"max_position_embeddings": 96}),
        ("multiple-choice", "BertForMultipleChoice", {}),
        ("token-classification", "BertForTokenClassification", {}),
    ],
)
def test_rows_are_made_as_the_task_makes_them(
    task: str, cls_name: str, config: dict[str, Any], tiny: Callable[..., Path]
) -> None:
    calibration = read_calibration(TASKS[task])
    with open_tiny(task, tiny(cls_name, **config)) as pipeline:
        made = make_rows(calibration, pipeline)
        again = make_rows(calibration, pipeline)
        longest = pipeline.tokenizer.max_length
    assert made.record == again.record
    assert made.record.examples == len(calibration.records)
    assert made.record.rows == len(made.rows) >= made.record.examples
    assert made.record.tokens == sum(map(len, made.rows))
    for left, right in zip(made.rows, again.rows, strict=True):
        np.testing.assert_array_equal(left.input_ids, right.input_ids)
        assert len(left) <= longest
    if task == "fill-mask":
        mask = pipeline.tokenizer.mask_id
        masked = sum(int((row.input_ids == mask).sum()) for row in made.rows)
        assert 0.08 < masked / made.record.tokens < 0.16
        assert any(row.input_ids.tolist() != row.encoding.ids for row in made.rows)


def test_masking_follows_the_paper() -> None:
    ids = np.arange(1000, 1000 + 40_000, dtype=np.int64)
    special = np.zeros(ids.size, dtype=bool)
    special[::10] = True
    corrupted = mask_tokens(ids, special, mask_id=103, vocab_size=900, rng=np.random.default_rng(0))
    changed = corrupted != ids
    assert not changed[special].any()
    chosen = 0.15 * (~special).sum()
    assert (corrupted == 103).sum() == pytest.approx(0.8 * chosen, rel=0.03)
    assert (changed & (corrupted != 103)).sum() == pytest.approx(0.1 * chosen, rel=0.12)
    np.testing.assert_array_equal(ids, np.arange(1000, 41_000))


def test_masking_a_row_of_special_tokens_changes_nothing() -> None:
    ids = np.array([101, 102], dtype=np.int64)
    rng = np.random.default_rng(0)
    same = mask_tokens(ids, np.ones(2, dtype=bool), mask_id=103, vocab_size=9, rng=rng)
    np.testing.assert_array_equal(same, ids)
