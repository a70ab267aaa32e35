"""Verdicts on pairs equal those of the original model's logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bert_export.errors import InputError
from bert_export.runtime.pipelines.next_sentence_prediction import (
    NextSentencePredictionPipeline,
)
from tests.oracle import save_tiny
from tests.support import open_tiny

PAIRS = [
    ("the cat sat", "on the mat."),
    ("", ""),
    ("the dog", ""),
    ("", "naïve 中文"),
    ("the cat sat on the mat " * 5, "run, dog!"),
    ("a", "the dog sat on the mat " * 9),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("next")
    save_tiny("BertForNextSentencePrediction", path)
    return path


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> NextSentencePredictionPipeline:
    opened = open_tiny("next-sentence-prediction", folder, token_budget=48)
    assert isinstance(opened, NextSentencePredictionPipeline)
    return opened


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[float]:
    """The probability that each pair's second text is next."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertForNextSentencePrediction.from_pretrained(folder)
    with torch.no_grad():
        return [
            # Lists, because a single empty second text would count as none at all.
            model(**tokenizer([text], [pair], truncation="longest_first", return_tensors="pt"))
            .logits.softmax(-1)[0, 0]
            .item()
            for text, pair in PAIRS
        ]


def test_answers_equal_the_models(
    pipeline: NextSentencePredictionPipeline, expected: list[float]
) -> None:
    records = [{"text": text, "text_pair": pair, "label": 1} for text, pair in PAIRS]
    for answers in (
        [pipeline(text=text, text_pair=pair) for text, pair in PAIRS],
        pipeline(records),
        pipeline(records, batch_size=1),
        list(pipeline(record for record in records)),
        [pipeline(record) for record in records],
    ):
        assert [list(answer) for answer in answers] == [["is_next", "score"]] * len(PAIRS)
        assert [answer["score"] for answer in answers] == pytest.approx(expected, abs=1e-5)
        assert [answer["is_next"] for answer in answers] == [score >= 0.5 for score in expected]
        assert type(answers[0]["is_next"]) is bool
        assert type(answers[0]["score"]) is float
    assert pipeline([]) == []


@pytest.mark.parametrize(
    ("inputs", "fields", "message"),
    [
        (None, {}, "inputs are of the wrong type: expected text and text_pair"),
        (None, {"text": "a"}, "item lacks 'text_pair'"),
        (None, {"text_pair": "a"}, "item lacks 'text'"),
        (None, {"text": "a", "text_pair": 3}, "text_pair is of the wrong type"),
        ({"text": ["a"], "text_pair": "b"}, {}, "text is of the wrong type"),
        ({}, {}, "item lacks 'text': .* got an empty mapping"),
        ("a", {}, "inputs are of the wrong type"),
        (["a"], {}, "item is of the wrong type"),
        ([("a", "b")], {}, "item is of the wrong type"),
        ([{"text": "a", "text_pair": "b"}], {"text": "a"}, "inputs are given twice"),
    ],
)
def test_malformed_calls_say_what_is_wrong(
    pipeline: NextSentencePredictionPipeline, inputs: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(inputs, **fields)
    assert "\n" not in str(caught.value)
