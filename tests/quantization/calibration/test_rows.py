"""Calibration sets: the built-in ones, users' files, and the rows that are made of them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_export.bundle import CalibrationRecord
from bert_export.errors import CalibrationError, DatasetError, TaskError
from bert_export.quantization.calibration.rows import (
    MIN_EXAMPLES,
    CalibrationRows,
    built_in_folder,
    built_in_sets,
    check_known,
    make_rows,
    read_calibration,
    read_unseen,
)
from bert_export.runtime.batching import Row
from bert_export.tasks import TASKS, find_task
from tests.support import open_tiny


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_has_a_built_in_set(name: str) -> None:
    calibration = read_calibration(TASKS[name])
    folder = built_in_folder() / TASKS[name].built_in_set
    card = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    assert len(calibration.records) >= 128
    assert card["examples"] == len(calibration.records)
    assert card["sha256"] == calibration.sha256
    assert card["licence"] == "Apache-2.0"
    lines = (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(set(lines)) == len(lines)


def test_built_in_lengths_vary() -> None:
    for name in built_in_sets():
        records = read_calibration(TASKS[name]).records
        words = [len(json.dumps(record).split()) for record in records]
        assert max(words) > 4 * min(words), name


def test_a_given_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\n\n".join(f"text {n}" for n in range(20)), encoding="utf-8")
    calibration = read_calibration(find_task("fill-mask"), str(path))
    assert [record["text"] for record in calibration.records] == [f"text {n}" for n in range(20)]
    assert calibration.source == str(path)
    assert calibration.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("a.txt", "one\ntwo", CalibrationError, "too small: expected at least 16 examples, got 2"),
        ("a.txt", "", DatasetError, "a.txt is empty"),
        ("a.jsonl", '{"txt": "b"}', DatasetError, "line 1 does not fit fill-mask"),
        ("nothing", None, CalibrationError, "neither built in nor a file that is there"),
        ("none.txt", None, CalibrationError, "nor a file that is there"),
    ],
)
def test_a_set_that_cannot_calibrate_is_named(
    name: str, text: str | None, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        read_calibration(find_task("fill-mask"), str(path))


@pytest.mark.parametrize(
    ("texts", "different"),
    [([""] * 20, 0), (["the cat"] * 16, 1), ([""] * 10 + [f"the {n}" for n in "abcdefghijkl"], 12)],
)
def test_a_set_of_too_few_different_texts_cannot_calibrate(
    texts: list[str], different: int, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    calibration = read_calibration(find_task("text-classification"), str(path))
    with (
        open_tiny("text-classification", tiny("BertForSequenceClassification")) as pipeline,
        pytest.raises(CalibrationError, match=f"holds too few texts: .* got {different}"),
    ):
        make_rows(calibration, pipeline)


def test_a_record_that_the_pipeline_refuses_is_named(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    fitting = json.dumps({"question": "q", "context": "the cat"})
    refused = json.dumps({"question": "", "context": "the cat"})
    path.write_text("\n".join([fitting] * MIN_EXAMPLES + [refused]), encoding="utf-8")
    calibration = read_calibration(find_task("question-answering"), str(path))
    with (
        open_tiny("question-answering", tiny("BertForQuestionAnswering")) as pipeline,
        pytest.raises(CalibrationError, match=r"line 17 does not fit .*question is empty"),
    ):
        make_rows(calibration, pipeline)


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
        calibration_rows = make_rows(calibration, pipeline)
        again = make_rows(calibration, pipeline)
        longest = pipeline.tokenizer.max_length
    rows, record = calibration_rows.rows, calibration_rows.record
    assert record == again.record
    assert record.examples == len(calibration.records)
    assert record.rows == len(rows) >= record.examples
    assert record.tokens == sum(map(len, rows))
    for row, same_row in zip(rows, again.rows, strict=True):
        np.testing.assert_array_equal(row.input_ids, same_row.input_ids)
        assert len(row) <= longest
    if task == "fill-mask":
        mask_id = pipeline.tokenizer.mask_id
        masks = sum(int((row.input_ids == mask_id).sum()) for row in rows)
        assert 0.08 < masks / record.tokens < 0.16
        assert any(row.input_ids.tolist() != row.encoding.ids for row in rows)


def test_rows_of_pairs_are_left_out_where_the_checkpoint_has_one_type(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "mixed.jsonl"
    pairs = [{"text": f"the {n}", "text_pair": "the cat"} for n in range(20)]
    texts = [{"text": f"the cat sat on {n}"} for n in range(20)]
    path.write_text("\n".join(map(json.dumps, [*pairs, *texts])), encoding="utf-8")
    folder = tiny("BertForSequenceClassification", type_vocab_size=1)
    with open_tiny("text-classification", folder) as pipeline:
        rows = make_rows(
            read_calibration(find_task("text-classification"), str(path)), pipeline
        ).rows
    assert len(rows) == len(texts)
    assert not any(row.token_type_ids.any() for row in rows)


def test_a_task_of_pairs_needs_two_types(tiny: Callable[..., Path]) -> None:
    task = "next-sentence-prediction"
    folder = tiny("BertForNextSentencePrediction", type_vocab_size=1)
    with (
        open_tiny(task, folder) as pipeline,
        pytest.raises(TaskError, match="needs pairs of texts, which the checkpoint cannot tell"),
    ):
        make_rows(read_calibration(find_task(task)), pipeline)


def texts_of(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return path


class TestHeldOut:
    """A part of a user's set that sets no range."""

    def make(
        self, texts: list[str], tiny: Callable[..., Path], folder: Path, *, hold_out: bool = True
    ) -> CalibrationRows:
        path = texts_of(folder / "mine.jsonl", texts)
        calibration = read_calibration(find_task("text-classification"), str(path))
        with open_tiny("text-classification", tiny("BertForSequenceClassification")) as pipeline:
            return make_rows(calibration, pipeline, hold_out=hold_out)

    @pytest.mark.parametrize(
        ("different", "held"), [(16, 0), (17, 1), (20, 4), (50, 10), (100, 20), (400, 64)]
    )
    def test_a_fifth_is_held_out_and_enough_calibrates(
        self, different: int, held: int, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        made = self.make([f"the cat {number}" for number in range(different)], tiny, tmp_path)
        assert len(made.held_out) == made.record.held_out == held
        assert len(made.rows) == made.record.examples == different - held >= MIN_EXAMPLES
        assert keys(flat(made.held_out)).isdisjoint(keys(made.rows))

    def test_equal_texts_stay_together(self, tiny: Callable[..., Path], tmp_path: Path) -> None:
        made = self.make([f"the cat {n}" for n in range(40)] * 3, tiny, tmp_path)
        assert (made.record.held_out, len(made.rows)) == (24, 96)
        assert keys(flat(made.held_out)).isdisjoint(keys(made.rows))

    def test_the_built_in_sets_calibrate_whole(
        self, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        texts = [f"the cat {number}" for number in range(50)]
        made = self.make(texts, tiny, tmp_path, hold_out=False)
        assert made.held_out == ()
        assert made.record.examples == 50


def flat(records: Sequence[Sequence[Row]]) -> list[Row]:
    return [row for rows in records for row in rows]


def keys(rows: Sequence[Row]) -> set[tuple[int, ...]]:
    return {tuple(row.encoding.ids) for row in rows}


class TestUnknownText:
    """Text that the vocabulary does not know sets the ranges of [UNK]."""

    def record(
        self, texts: list[str], tiny: Callable[..., Path], folder: Path
    ) -> CalibrationRecord:
        path = texts_of(folder / "mine.jsonl", texts)
        calibration = read_calibration(find_task("text-classification"), str(path))
        with open_tiny("text-classification", tiny("BertForSequenceClassification")) as pipeline:
            return make_rows(calibration, pipeline).record

    def test_its_share_is_counted(self, tiny: Callable[..., Path], tmp_path: Path) -> None:
        letters = "abcdefghijklmnopqrst"
        record = self.record([f"{a} ሰላም ቤት {b} the cat" for a in letters for b in letters[:3]],
                             tiny, tmp_path)  # fmt: skip
        assert record.unknown_share == pytest.approx(2 / 6)
        assert any("to 33 % unknown to the vocabulary" in text for text in record.warnings)
        check_known(record)

    def test_a_mostly_unknown_set_is_refused(
        self, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        letters = "abcdefghijklmnopqrst"
        record = self.record([f"{a} ሰላም ቤት ውሃ" for a in letters], tiny, tmp_path)
        with pytest.raises(
            CalibrationError,
            match=r"mine.jsonl is mostly unknown to the vocabulary: expected at most 50 % \[UNK\] "
            r"among its tokens, got 75 %\. The set is in another language or script",
        ):
            check_known(record)

    def test_words_with_letters_it_knows_are_known(
        self, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        record = self.record([f"kedi {n} oturdu" for n in range(64)], tiny, tmp_path)
        assert record.unknown_share == 0.0
        assert record.warnings == ()


@pytest.mark.parametrize(
    ("texts", "warning"),
    [
        ([f"the cat {n}" for n in "abcdefghijklmnopqrst"], "has 20 different texts"),
        ([f"the {a} {b}" for a in "abcdefgh" for b in "abcdefgh"], "one length only, 5 tokens"),
    ],
)
def test_a_set_of_which_little_can_be_expected_is_named(
    texts: list[str], warning: str, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = texts_of(tmp_path / "mine.jsonl", texts)
    calibration = read_calibration(find_task("text-classification"), str(path))
    with open_tiny("text-classification", tiny("BertForSequenceClassification")) as pipeline:
        record = make_rows(calibration, pipeline).record
    assert any(warning in text for text in record.warnings)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_has_text_that_its_built_in_set_lacks(name: str) -> None:
    unseen = read_unseen(TASKS[name])
    assert sum(map(len, unseen)) >= 20
    calibrating = {json.dumps(record) for record in read_calibration(TASKS[name]).records}
    for data in unseen:
        assert calibrating.isdisjoint(map(json.dumps, data.records)), data.source
