"""Candidates behind masks equal upstream's pipeline's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from bert_export.errors import InputError
from bert_export.runtime.pipelines.fill_mask import FillMaskPipeline
from tests.oracle import save_tiny
from tests.support import open_tiny

ONE = "The cat [MASK] on the mat."
TWO = "The [MASK] sat on the [MASK], don't you think?"
TEXTS = [
    ONE,
    TWO,
    "[MASK]",
    "[MASK] [MASK] [MASK]",
    "a [PAD] b [MASK] [SEP] c",
    "  naïve [MASK] — 中文  ",
    "zzz 😀 [MASK]!",
]
LONG = "the [MASK] sat on the mat " * 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("masked")
    save_tiny("BertForMaskedLM", path)
    return path


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Any:
    return transformers.pipeline("fill-mask", model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> FillMaskPipeline:
    opened = open_tiny("fill-mask", folder, token_budget=64)
    assert isinstance(opened, FillMaskPipeline)
    return opened


def assert_answers(found: Any, expected: Any) -> None:
    """Equal keys in equal order, equal strings and ids, scores to 1e-5."""
    if isinstance(expected, list):
        assert type(found) is list
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_answers(one, other)
        return
    assert list(found) == list(expected)
    assert [type(value) for value in found.values()] == [type(v) for v in expected.values()]
    assert found["score"] == pytest.approx(expected["score"], abs=1e-5)
    assert {**found, "score": 0} == {**expected, "score": 0}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"top_k": 20}, {"top_k": 0}])
def test_answers_equal_upstreams(
    pipeline: FillMaskPipeline, oracle: Any, text: str, options: dict[str, Any]
) -> None:
    assert_answers(pipeline(text, **options), oracle(text, **options))


@pytest.mark.parametrize("size", [None, 1, 3])
def test_lists_equal_upstreams_whatever_the_batches(
    pipeline: FillMaskPipeline, oracle: Any, size: int | None
) -> None:
    assert_answers(pipeline(TEXTS, batch_size=size), oracle(TEXTS))


def test_a_list_of_one_is_answered_bare_as_upstream(
    pipeline: FillMaskPipeline, oracle: Any
) -> None:
    assert_answers(pipeline([ONE]), oracle([ONE]))
    assert_answers(pipeline([TWO]), oracle([TWO]))
    assert pipeline([]) == []


@pytest.mark.parametrize(
    "targets",
    ["cat", ["cat"], ["dog", "cat", "cat"], ["##s", "[CLS]", "the", "a", "on", "run", "mat"]],
)
@pytest.mark.parametrize("text", [ONE, TWO])
def test_targets_equal_upstreams(
    pipeline: FillMaskPipeline, oracle: Any, text: str, targets: str | list[str]
) -> None:
    for options in ({}, {"top_k": 2}):
        assert_answers(
            pipeline(text, targets=targets, **options), oracle(text, targets=targets, **options)
        )


@pytest.mark.parametrize(
    ("targets", "warned"),
    [
        (["catdog", "mat"], "'catdog' is not in the vocabulary; its first token 'cat'"),
        (["Dog", "cat"], "'Dog' is not in the vocabulary; its first token 'dog'"),
        (["", "cat"], "'' holds no token"),
        (["☃", "cat"], r"'☃' is not in the vocabulary; its first token '\[UNK\]'"),
    ],
)
def test_targets_out_of_the_vocabulary_warn(
    pipeline: FillMaskPipeline, oracle: Any, targets: list[str], warned: str
) -> None:
    expected = oracle(ONE, targets=targets)
    with pytest.warns(UserWarning, match=warned):
        found = pipeline(ONE, targets=targets)
    assert_answers(found, expected)


def test_truncation_is_upstreams(pipeline: FillMaskPipeline, oracle: Any) -> None:
    for options in ({"truncation": True}, {"truncation": True, "max_length": 9}):
        assert_answers(
            pipeline(LONG, tokenizer_kwargs=options), oracle(LONG, tokenizer_kwargs=options)
        )


def test_a_tokenizer_that_cleans_spaces_up_is_followed(tmp_path: Path) -> None:
    save_tiny("BertForMaskedLM", tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for clean in (True, False):
        config["clean_up_tokenization_spaces"] = clean
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        oracle = transformers.pipeline("fill-mask", model=str(tmp_path), device="cpu")
        pipeline = open_tiny("fill-mask", tmp_path)
        for text in (TWO, "it's [MASK] ' n't . !"):
            assert_answers(pipeline(text), oracle(text))


def test_an_iterable_is_answered_lazily(pipeline: FillMaskPipeline) -> None:
    answers = pipeline(text for text in TEXTS)
    assert iter(answers) is answers
    assert_answers(list(answers), pipeline(TEXTS))


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ("no mask here", {}, r"text has no mask: expected \[MASK\] in it, got 'no mask here'"),
        ("", {}, "has no mask"),
        ("a\n" * 15, {}, "has no mask"),
        ([ONE, "none"], {}, "got 'none'"),
        (LONG, {}, "too long"),
        (7, {}, "inputs are of the wrong type"),
        ({"text": ONE}, {}, "inputs are of the wrong type"),
        ([ONE, None], {}, "text is of the wrong type"),
        (ONE, {"top_k": -1}, "top_k is wrong"),
        (ONE, {"top_k": "3"}, "top_k is wrong"),
        (ONE, {"top_k": 10**6}, "top_k is too large"),
        (ONE, {"targets": []}, "targets are empty"),
        (ONE, {"targets": [3]}, "target is of the wrong type"),
        (ONE, {"tokenizer_kwargs": {"other": 1}}, "tokenizer option 'other' is unknown"),
    ],
)
def test_malformed_calls_say_what_is_wrong(
    pipeline: FillMaskPipeline, inputs: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(inputs, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:target '' holds no token")
def test_targets_without_a_token_are_refused(pipeline: FillMaskPipeline) -> None:
    with pytest.raises(InputError, match="targets are empty"):
        pipeline(ONE, targets="")


def test_a_record_is_its_text_and_can_be_encoded_without_a_mask(
    pipeline: FillMaskPipeline,
) -> None:
    for text in (ONE, "the cat"):
        assert pipeline.item({"text": text}) == text
        ((row,),) = pipeline.encode_items([text], pipeline.default_settings())
        assert len(row) > 2
    with pytest.raises(InputError, match="item lacks 'text'"):
        pipeline.item({})


def test_texts_before_one_without_a_mask_are_answered(pipeline: FillMaskPipeline) -> None:
    answers = pipeline(iter([ONE, "none"]))
    assert_answers(next(answers), pipeline(ONE))
    with pytest.raises(InputError, match="has no mask"):
        next(answers)
