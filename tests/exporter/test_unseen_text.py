"""Real text that engines are verified on: none of it set a range."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from bert_export.cli.doubts import doubts_of
from bert_export.datasets import read_dataset
from bert_export.errors import CalibrationError, VerificationError
from bert_export.exporter import export
from bert_export.exporter.cases import make_cases
from bert_export.exporter.float_graph import make_float_graph
from bert_export.exporter.progress import Progress
from bert_export.exporter.source import Source
from bert_export.exporter.unseen_text import UnseenText, make_unseen, spread
from bert_export.exporter.verification import answers_of, verify
from bert_export.quantization.calibration.rows import make_rows, read_calibration, read_unseen
from bert_export.runtime.batching import Row
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.tasks import find_task
from tests.support import ONE_GRAPH, open_tiny

HEADS = {
    "text-classification": "BertForSequenceClassification",
    "zero-shot-classification": "BertForSequenceClassification",
    "token-classification": "BertForTokenClassification",
    "question-answering": "BertForQuestionAnswering",
    "fill-mask": "BertForMaskedLM",
    "multiple-choice": "BertForMultipleChoice",
    "next-sentence-prediction": "BertForNextSentencePrediction",
    "pretraining": "BertForPreTraining",
    "text-generation": "BertLMHeadModel",
    "feature-extraction": "BertModel",
}
FIELDS: dict[str, dict[str, Any]] = {
    "zero-shot-classification": {
        "id2label": {0: "entailment", 1: "neutral", 2: "contradiction"},
        "max_position_embeddings": 96,
        "model_max_length": 96,
    },
    "question-answering": {"max_position_embeddings": 96, "model_max_length": 96},
    "text-generation": {"is_decoder": True},
}


def keys(rows: tuple[Row, ...]) -> set[tuple[int, ...]]:
    return {tuple(row.encoding.ids) for row in rows}


def test_every_task_is_in_the_table() -> None:
    assert HEADS.keys() == ONE_GRAPH.keys() - {"sentence-embedding"}  # the same texts as features


@pytest.mark.parametrize("task", sorted(HEADS))
def test_where_the_built_in_set_calibrates_other_text_verifies(
    task: str, tiny: Callable[..., Path]
) -> None:
    with open_tiny(task, tiny(HEADS[task], **FIELDS.get(task, {}))) as pipeline:
        rows = make_rows(read_calibration(find_task(task)), pipeline)
        unseen = make_unseen(rows, read_unseen(find_task(task)), pipeline)
    assert rows.held_out == ()
    assert 20 <= sum(len(text.rows) for text in unseen) <= 128
    for text in unseen:
        assert not text.held_out
        assert text.is_known
        assert keys(text.rows).isdisjoint(keys(rows.rows))


def test_a_users_own_set_gives_its_held_out_part_beside_the_built_in_set(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(f"the cat {number}" for number in range(400)), encoding="utf-8")
    task = find_task("text-classification")
    with open_tiny(task.name, tiny(HEADS[task.name])) as pipeline:
        rows = make_rows(read_calibration(task, str(path)), pipeline, hold_out=True)
        mine, built_in = make_unseen(rows, [read_calibration(task)], pipeline)
    assert (mine.source, mine.held_out, len(mine.rows)) == (str(path), True, 64)
    assert (built_in.source, built_in.held_out, len(built_in.rows)) == (task.name, False, 64)


def test_built_in_text_that_calibrated_does_not_verify(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """A set that holds the built-in one, or is it under another name."""
    task = find_task("fill-mask")
    built_in = read_calibration(task)
    path = tmp_path / "copy.jsonl"
    path.write_text("\n".join(map(json.dumps, built_in.records)), encoding="utf-8")
    with open_tiny(task.name, tiny(HEADS[task.name])) as pipeline:
        rows = make_rows(read_calibration(task, str(path)), pipeline, hold_out=True)
        unseen = make_unseen(rows, [built_in], pipeline)
    for text in unseen:
        assert keys(text.rows).isdisjoint(keys(rows.rows))
    assert unseen[0].held_out


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [((200, 200), (64, 64)), ((5, 200), (5, 123)), ((30,), (30,)), ((300,), (128,))],
)
def test_every_set_gives_as_many_rows_as_it_can(
    sizes: tuple[int, ...], taken: tuple[int, ...], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    task = find_task("text-classification")
    sets = []
    for number, size in enumerate(sizes):
        path = tmp_path / f"{number}.txt"
        path.write_text("\n".join(f"{number} {n}" for n in range(size)), encoding="utf-8")
        sets.append(read_dataset(task, path))
    with open_tiny(task.name, tiny(HEADS[task.name])) as pipeline:
        rows = make_rows(read_calibration(task), pipeline)
        unseen = make_unseen(rows, sets, pipeline)
    assert tuple(len(text.rows) for text in unseen) == taken


def test_rows_are_spread_over_the_set() -> None:
    numbers: Any = list(range(10))
    assert spread(numbers, 3) == (0, 3, 6)
    assert spread(numbers, 20) == tuple(range(10))


def test_text_is_known_up_to_half() -> None:
    assert UnseenText("a", False, (), 0.5).is_known
    assert not UnseenText("a", False, (), 0.51).is_known


@pytest.fixture
def unknown(tmp_path: Path) -> str:
    """A set in a script that no test vocabulary has."""
    path = tmp_path / "unknown.txt"
    words = ("ሰላም", "ቤት", "ውሃ", "ትምህርት", "ልጅ")
    lines = (" ".join(words[(n + i) % 5] for i in range(1 + n % 30)) for n in range(64))
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_a_set_of_unknown_words_is_refused_before_the_trace(
    read: Callable[..., Source], unknown: str
) -> None:
    def tracer(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is traced")

    source = read(precision="int8", calibration=unknown)
    with pytest.raises(CalibrationError, match=r"unknown.txt is mostly unknown .* got 100 %"):
        make_float_graph(source, progress=Progress(), tracer=tracer)


def test_the_manifest_says_what_the_agreement_rests_on(classifier: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("\n".join(f"the cat {n}" for n in range(200)), encoding="utf-8")
    done = export(model=classifier, precision="int8", output=tmp_path / "bundle", calibration=mine)
    engine = done.manifest.engine()
    assert engine.quantization is not None
    record = engine.quantization.calibration
    assert record is not None
    assert (record.examples, record.held_out, record.unknown_share) == (160, 40, 0.0)
    assert engine.parity is not None
    assert [(text.source, text.rows) for text in engine.parity.texts] == [
        (str(mine), 40),
        ("text-classification", 88),
    ]
    (verified,) = [stage for stage in done.stages if stage.name == "verify"]
    assert "rows held out of" in str(verified.facts["unseen text"])


def test_a_head_that_always_answers_alike_is_named(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """The classifier's weights are nearly zero, so its bias decides."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(
        tiny("BertForSequenceClassification", id2label={0: "a", 1: "b", 2: "c"}), folder
    )
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] *= 1e-3
    tensors["classifier.bias"][:] = 0
    tensors["classifier.bias"][1] = 5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    done = export(model=folder, precision="int8", output=tmp_path / "bundle")
    parity = done.manifest.engine().parity
    assert parity is not None
    assert parity.agreement == 1.0
    assert parity.labels_never_given == ("a", "c")
    doubts = " ".join(doubts_of(done.manifest.engines))
    assert "one label only, 'b', on all" in doubts
    assert "one label only, 'b', on the calibration set text-classification" in doubts


def test_choices_are_compared_question_by_question(tiny: Callable[..., Path]) -> None:
    """One choice alone is always the best: what counts is which of a question's is."""
    task = find_task("multiple-choice")
    with open_tiny(task.name, tiny("BertForMultipleChoice")) as pipeline:
        rows = make_rows(read_calibration(task), pipeline)
        unseen = make_unseen(rows, read_unseen(task), pipeline)
        cases = [
            case
            for case in make_cases(pipeline.tokenizer, unseen, feeds=pipeline.feeds, vocab_size=103)
            if case.text is not None
        ]
        answers = [(case, pipeline.run(case.feeds)) for case in cases]
    assert len(cases) == sum(len(text.records) for text in unseen) >= 30
    assert {case.feeds["input_ids"].shape[:2] for case in cases} == {(1, 4)}
    given = answers_of(answers, kind="label", per_token=frozenset(), labels=())
    assert given.only is None


def test_a_graph_that_picks_other_choices_is_refused(tiny: Callable[..., Path]) -> None:
    task = find_task("multiple-choice")
    with open_tiny(task.name, tiny("BertForMultipleChoice")) as pipeline:
        rows = make_rows(read_calibration(task), pipeline)
        unseen = make_unseen(rows, read_unseen(task), pipeline)
        cases = make_cases(pipeline.tokenizer, unseen, feeds=pipeline.feeds, vocab_size=103)
        answers = [(case, pipeline.run(case.feeds)) for case in cases]

        def reversed_choices(feeds: Feeds) -> Outputs:
            return {name: -array for name, array in pipeline.run(feeds).items()}

        with pytest.raises(VerificationError, match=r"label agreement.*at least 0.9, got 0\."):
            verify(reversed_choices, answers, kind="label", per_token=frozenset(), tolerance=None)
