"""Text classification answers as the original's pipeline does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

from bert_export.errors import InputError
from bert_export.runtime.pipelines.text_classification import TextClassificationPipeline
from tests.oracle import save_tiny
from tests.runtime.pipelines.parity import assert_same
from tests.support import open_tiny

HEADS: dict[str, dict[str, Any]] = {
    "single": {"id2label": {0: "billing", 1: "travel", 2: "weather"}},
    "single-said": {"num_labels": 4, "problem_type": "single_label_classification"},
    "multi": {"num_labels": 3, "problem_type": "multi_label_classification"},
    "regression": {"num_labels": 1, "problem_type": "regression"},
    "regressions": {"num_labels": 3, "problem_type": "regression"},
    "one": {"num_labels": 1},
}
TEXTS = (
    "the cat sat on the mat",
    "",
    "Caffè 中文 😀 Ω, naïve?",
    "[MASK] a [SEP] dog",
    "   \n\t ",
)
PAIR = {"text": "the cat", "text_pair": "sat on a mat?"}
Pipelines = tuple[TextClassificationPipeline, Callable[..., Any]]


@pytest.fixture(scope="module", params=HEADS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pipelines:
    folder: Path = tmp_path_factory.mktemp(request.param)
    save_tiny("BertForSequenceClassification", folder, **HEADS[request.param])
    pipeline = open_tiny("text-classification", folder)
    assert isinstance(pipeline, TextClassificationPipeline)
    return pipeline, transformers.pipeline("text-classification", str(folder), device="cpu")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> TextClassificationPipeline:
    folder = tmp_path_factory.mktemp("plain")
    save_tiny("BertForSequenceClassification", folder, num_labels=3)
    opened = open_tiny("text-classification", folder)
    assert isinstance(opened, TextClassificationPipeline)
    return opened


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 1},
        {"top_k": 2},
        {"top_k": None},
        {"top_k": 99},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "SOFTMAX", "top_k": None},
        {"function_to_apply": "none", "top_k": None},
        {"max_length": 6, "truncation": True},
    ],
    ids=str,
)
def test_options_act_as_upstream(both: Pipelines, options: dict[str, Any]) -> None:
    ours, theirs = both
    for inputs in (TEXTS[0], PAIR, list(TEXTS)):
        found = ours(inputs, **options)
        assert_same(found, theirs(inputs, **options))
        json.dumps(found)


@pytest.mark.parametrize(
    "inputs",
    [
        *TEXTS,
        [TEXTS[0]],
        [],
        [PAIR, {"text": "a dog"}, "run"],
        {"text": "a dog"},
        {"text": "a dog", "text_pair": ""},
        {"text": "", "text_pair": "a dog"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("options", [{}, {"top_k": None}], ids=str)
def test_inputs_are_read_as_upstream(both: Pipelines, inputs: Any, options: dict[str, Any]) -> None:
    ours, theirs = both
    assert_same(ours(inputs, **options), theirs(inputs, **options))


def test_long_inputs_are_truncated_as_upstream_when_it_is_told_to(both: Pipelines) -> None:
    ours, theirs = both
    long = "the cat sat on a mat, running and running. " * 9
    for inputs in (long, {"text": long, "text_pair": "a dog"}, {"text": long, "text_pair": long}):
        assert_same(ours(inputs), theirs(inputs, truncation=True))
        with pytest.raises(InputError, match="too long"):
            ours(inputs, truncation=False)


def test_a_generator_is_answered_lazily(both: Pipelines) -> None:
    ours, theirs = both
    read = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    answers = ours(texts(), top_k=None)
    assert not read
    assert_same(list(answers), list(theirs((text for text in TEXTS), top_k=None)))


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_batches_do_not_change_answers(
    pipeline: TextClassificationPipeline, batch_size: int | None
) -> None:
    alone = [pipeline(text)[0] for text in TEXTS]
    assert_same(pipeline(list(TEXTS), batch_size=batch_size), alone)


def test_records_become_items(pipeline: TextClassificationPipeline) -> None:
    assert pipeline.item({"text": "a", "label": "x"}) == "a"
    assert pipeline.item({"text": "a", "text_pair": None, "labels": []}) == "a"
    assert pipeline.item({"text": "a", "text_pair": "b", "label": 0.5}) == ("a", "b")
    items = [pipeline.item({"text": text}) for text in TEXTS]
    assert_same(list(pipeline.answers(items, pipeline.default_settings())), pipeline(list(TEXTS)))


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (3, {}, "inputs are of the wrong type"),
        (None, {}, "inputs are of the wrong type"),
        (b"a", {}, "inputs are of the wrong type"),
        ([3], {}, "input is of the wrong type: expected a string"),
        ([["a", "b"]], {}, "Pass a pair as"),
        ({"text_pair": "a"}, {}, "input has the wrong fields: expected 'text'"),
        ({}, {}, "got none"),
        ({"text": "a", "pair": "b"}, {}, "got 'text', 'pair'"),
        ({"text": 3}, {}, "text is of the wrong type: expected a string, got int"),
        ({"text": "a", "text_pair": 3}, {}, "text_pair is of the wrong type"),
        ("a", {"top_k": 0}, "top_k is wrong"),
        ("a", {"top_k": True}, "top_k is wrong"),
        ("a", {"top_k": 1.5}, "top_k is wrong"),
        ("a", {"function_to_apply": "relu"}, "function_to_apply is unknown"),
        ("a", {"function_to_apply": 3}, "function_to_apply is unknown"),
        ("a", {"truncation": "middle"}, "truncation is unknown"),
        ("a", {"max_length": 1}, "max_length is too small"),
        ("a", {"max_length": 1000}, "max_length is above the model's"),
        ("a", {"batch_size": 0}, "batch_size is wrong"),
        ("\ud800", {}, "not valid Unicode"),
    ],
)
def test_malformed_calls_are_refused(
    pipeline: TextClassificationPipeline, inputs: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(inputs, **options)
    assert "\n" not in str(caught.value)
