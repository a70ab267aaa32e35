"""Choices equal those of the original model, which sees all of a question at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from bert_export.errors import InputError
from bert_export.runtime.pipelines.multiple_choice import MultipleChoicePipeline
from tests.oracle import save_tiny
from tests.support import open_tiny

QUESTIONS: list[dict[str, Any]] = [
    {"prompt": "the cat", "choices": ["sat.", "on the mat!", "run dog run"], "label": 1},
    {"prompt": "the cat", "choices": ["sat."]},
    {"prompt": "", "choices": ["", "a", "naïve 中文"]},
    {"prompt": "the dog sat on the mat " * 8, "choices": ("a", "the dog sat on the mat " * 8)},
    {"prompt": "a", "choices": ["b"] * 7},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("choice")
    save_tiny("BertForMultipleChoice", path)
    return path


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> MultipleChoicePipeline:
    opened = open_tiny("multiple-choice", folder, token_budget=64)
    assert isinstance(opened, MultipleChoicePipeline)
    return opened


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[float]]:
    """Every question's probabilities."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertForMultipleChoice.from_pretrained(folder)
    scores = []
    for question in QUESTIONS:
        choices = list(question["choices"])
        encoded = tokenizer(
            [question["prompt"]] * len(choices),
            choices,
            truncation="longest_first",
            padding=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            logits = model(**{name: ids[None] for name, ids in encoded.items()}).logits  # (1, C)
        scores.append(logits.softmax(-1)[0].tolist())
    return scores


def test_answers_equal_the_models(
    pipeline: MultipleChoicePipeline, expected: list[list[float]]
) -> None:
    for answers in (
        [pipeline(prompt=q["prompt"], choices=q["choices"]) for q in QUESTIONS],
        [pipeline(question) for question in QUESTIONS],
        pipeline(QUESTIONS),
        pipeline(QUESTIONS, batch_size=2),
        list(pipeline(iter(QUESTIONS))),
    ):
        for answer, question, scores in zip(answers, QUESTIONS, expected, strict=True):
            assert list(answer) == ["choice", "text", "scores"]
            assert answer["scores"] == pytest.approx(scores, abs=1e-5)
            assert scores[answer["choice"]] == pytest.approx(max(scores), abs=1e-5)
            assert type(answer["choice"]) is int
            assert answer["text"] == question["choices"][answer["choice"]]
    assert pipeline([]) == []


def test_the_raw_graph_keeps_its_choices_axis(pipeline: MultipleChoicePipeline) -> None:
    feeds = {
        name: np.ones((2, 3, 5), dtype=np.int64)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    assert pipeline.run(feeds)["logits"].shape == (2, 3)


@pytest.mark.parametrize(
    ("inputs", "fields", "message"),
    [
        (None, {}, "inputs are of the wrong type: expected prompt and choices"),
        (None, {"prompt": "a"}, "item lacks 'choices'"),
        (None, {"choices": ["a"]}, "item lacks 'prompt'"),
        (None, {"prompt": "a", "choices": []}, "choices are empty"),
        (None, {"prompt": "a", "choices": "abc"}, "choices are of the wrong type"),
        (None, {"prompt": "a", "choices": 3}, "choices are of the wrong type"),
        (None, {"prompt": "a", "choices": ["b", 1]}, "choice is of the wrong type"),
        (None, {"prompt": 1, "choices": ["b"]}, "prompt is of the wrong type"),
        ("a", {}, "inputs are of the wrong type"),
        ([QUESTIONS[0], 5], {}, "item is of the wrong type"),
        (QUESTIONS, {"prompt": "a"}, "inputs are given twice"),
    ],
)
def test_malformed_calls_say_what_is_wrong(
    pipeline: MultipleChoicePipeline, inputs: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(inputs, **fields)
    assert "\n" not in str(caught.value)
