"""Token vectors equal upstream's pipeline's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from bert_export.errors import InputError
from bert_export.runtime.pipelines.feature_extraction import FeatureExtractionPipeline
from tests.oracle import save_tiny
from tests.support import open_tiny

TEXTS = ["The cat sat on the mat.", "", "  ", "naïve Élan — 中文 😀", "x", "[MASK] a [SEP] [PAD] b"]
LONG = "the cat sat on the mat " * 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bare")
    save_tiny("BertModel", path)
    return path


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Any:
    return transformers.pipeline("feature-extraction", model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> FeatureExtractionPipeline:
    opened = open_tiny("feature-extraction", folder)
    assert isinstance(opened, FeatureExtractionPipeline)
    return opened


def _equal(found: Any, expected: Any) -> None:
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_gets_upstreams_nested_lists(
    pipeline: FeatureExtractionPipeline, oracle: Any, text: str
) -> None:
    found = pipeline(text)
    assert type(found) is list
    assert type(found[0][0][0]) is float
    _equal(found, oracle(text))


def test_a_list_gets_a_list_of_them_whatever_the_batches(
    pipeline: FeatureExtractionPipeline, oracle: Any
) -> None:
    expected = oracle(TEXTS)
    for size in (None, 1, 2):
        for found, wanted in zip(pipeline(TEXTS, batch_size=size), expected, strict=True):
            _equal(found, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"truncation": True},
        {"truncation": "longest_first"},
        {"tokenize_kwargs": {"truncation": True, "max_length": 7}},
        {"truncation": True, "tokenize_kwargs": {"add_special_tokens": False}},
    ],
)
def test_options_of_the_tokenizer_are_upstreams(
    pipeline: FeatureExtractionPipeline, oracle: Any, options: dict[str, Any]
) -> None:
    _equal(pipeline(LONG, **options), oracle(LONG, **options))


def test_arrays_are_ragged_and_own_their_memory(pipeline: FeatureExtractionPipeline) -> None:
    found = pipeline(TEXTS, return_arrays=True)
    for states, nested in zip(found, pipeline(TEXTS), strict=True):
        assert states.dtype == np.float32
        assert states.base is None
        _equal(states, nested[0])
    one = pipeline(TEXTS[0], return_arrays=True)
    _equal(one, found[0])


def test_an_iterable_is_answered_lazily(pipeline: FeatureExtractionPipeline) -> None:
    answers = pipeline((text for text in TEXTS), return_arrays=True)
    assert iter(answers) is answers
    assert len(list(answers)) == len(TEXTS)
    assert pipeline([]) == []


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (LONG, {}, r"text 'the cat .* is too long"),
        (3, {}, "inputs are of the wrong type"),
        (None, {}, "inputs are of the wrong type"),
        (["a", 3], {}, "text is of the wrong type"),
        ("a", {"truncation": "other"}, "truncation is unknown"),
        ("a", {"truncation": 3}, "truncation is unknown"),
        ("a", {"tokenize_kwargs": {"padding": True}}, "tokenizer option 'padding' is unknown"),
        ("a", {"tokenize_kwargs": {"max_length": 0}}, "max_length is wrong"),
        ("a", {"tokenize_kwargs": {"max_length": 99}}, "max_length is above"),
        ("a", {"truncation": True, "tokenize_kwargs": {"truncation": True}}, "given twice"),
        ("", {"tokenize_kwargs": {"add_special_tokens": False}}, "text '' is empty"),
        ("a", {"batch_size": 0}, "batch_size is wrong"),
    ],
)
def test_malformed_calls_say_what_is_wrong(
    pipeline: FeatureExtractionPipeline, inputs: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(inputs, **options)
    assert "\n" not in str(caught.value)


def test_a_record_is_its_text(pipeline: FeatureExtractionPipeline) -> None:
    assert pipeline.item({"text": "a", "other": 1}) == "a"
    for record in ({}, {"text": 1}):
        with pytest.raises(InputError):
            pipeline.item(record)
