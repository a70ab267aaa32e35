"""Options of calls: what each kind takes, and what every pipeline says to anything else."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_export.errors import InputError
from bert_export.runtime.checks import check_flag, check_mapping, check_number, check_whole
from bert_export.runtime.pipelines.pipeline import Pipeline
from tests.support import ONE_GRAPH, open_tiny

ODD: tuple[Any, ...] = (
    *("foo", "", 5, -1, 0, 1.5, 10**30, float("nan"), float("inf"), True, None),
    *([], [1], ["a"], {}, {"a": 1}, object()),
)
WIDE = {"max_position_embeddings": 128, "model_max_length": 128}
CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "feature-extraction": ("BertModel", {}),
    "fill-mask": ("BertForMaskedLM", {}),
    "text-classification": ("BertForSequenceClassification", {"num_labels": 3}),
    "zero-shot-classification": (
        "BertForSequenceClassification",
        {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}, **WIDE},
    ),
    "token-classification": ("BertForTokenClassification", {"num_labels": 3}),
    "question-answering": ("BertForQuestionAnswering", WIDE),
    "multiple-choice": ("BertForMultipleChoice", {}),
    "next-sentence-prediction": ("BertForNextSentencePrediction", {}),
    "pretraining": ("BertForPreTraining", WIDE),
    "text-generation": ("BertLMHeadModel", {"is_decoder": True}),
}
RECORDS: dict[str, dict[str, Any]] = {
    "fill-mask": {"text": "the [MASK]"},
    "zero-shot-classification": {"text": "the cat", "candidate_labels": ["dog", "cat"]},
    "question-answering": {"question": "who", "context": "the cat sat"},
    "multiple-choice": {"prompt": "the", "choices": ["cat", "mat"]},
    "next-sentence-prediction": {"text": "the", "text_pair": "cat"},
    "pretraining": {"text": "the [MASK]", "text_pair": "cat"},
}


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (check_flag, [True, np.False_], ["true", 1, None, 0.0]),
        (check_number, [0, -1.5, np.float32(2)], ["1", True, None, float("nan"), float("inf")]),
        (check_mapping, [{}, {"a": 1}, None], ["a", [], 5]),
        (lambda name, value: check_whole(name, value, least=1), [1, np.int64(2)], [0, 1.0, "1"]),
    ],
)
def test_each_kind_takes_its_own(
    check: Callable[[str, object], Any], good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert check("knob", value) == (value if value is not None else {})
    for value in bad:
        with pytest.raises(InputError, match="knob is wrong: expected "):
            check("knob", value)


def refusal(
    pipeline: Pipeline[Any, Any, Any], record: dict[str, Any], options: dict[str, Any]
) -> str:
    """What a call is refused with; nothing where it is answered."""
    try:
        pipeline.ask(record, **options)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("task", CHECKPOINTS)
@pytest.mark.filterwarnings("ignore:target")
def test_an_odd_option_is_answered_or_refused(task: str, tiny: Callable[..., Path]) -> None:
    assert set(CHECKPOINTS) == set(ONE_GRAPH) - {"sentence-embedding"}
    name, config = CHECKPOINTS[task]
    record = RECORDS.get(task, {"text": "the cat"})
    refusals = []
    with open_tiny(task, tiny(name, **config)) as pipeline:
        first, *options = inspect.signature(pipeline).parameters
        for option in options:
            if option in record or first == option:
                continue
            refusals += [refusal(pipeline, record, {option: value}) for value in ODD]
    assert sum(map(bool, refusals)) >= len(ODD) // 2
    assert not [text for text in refusals if "\n" in text]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("text-classification", {"top_k": "all"}, "top_k is wrong"),
        ("zero-shot-classification", {"multi_label": "False"}, "multi_label is wrong"),
        ("question-answering", {"handle_impossible_answer": "no"}, "handle_impossible_answer is"),
        ("fill-mask", {"targets": 5}, "targets are of the wrong type"),
        ("fill-mask", {"tokenizer_kwargs": 5}, "tokenizer_kwargs is wrong"),
        ("text-generation", {"temperature": "low"}, "temperature is wrong"),
    ],
)
def test_an_option_of_another_kind_is_named(
    task: str, options: dict[str, Any], message: str, tiny: Callable[..., Path]
) -> None:
    name, config = CHECKPOINTS[task]
    record = RECORDS.get(task, {"text": "the cat"})
    with (
        open_tiny(task, tiny(name, **config)) as pipeline,
        pytest.raises(InputError, match=message),
    ):
        pipeline.ask(record, **options)


@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "feature-extraction"])
def test_what_labels_a_record_is_not_read(task: str, tiny: Callable[..., Path]) -> None:
    name, config = CHECKPOINTS[task]
    record = RECORDS.get(task, {"text": "the cat"})
    with open_tiny(task, tiny(name, **config)) as pipeline:
        plain = pipeline.ask(record)
        assert pipeline.ask(record | {"label": 1, "labels": [1], "score": 0.5}) == plain


def test_words_of_a_record_are_tagged_as_they_are(tiny: Callable[..., Path]) -> None:
    name, config = CHECKPOINTS["token-classification"]
    with open_tiny("token-classification", tiny(name, **config)) as pipeline:
        words = pipeline.ask({"tokens": ["the", "cat"], "tags": ["O", "O"]})
        assert words == pipeline([["the", "cat"]], is_split_into_words=True)[0]
        assert len(words) == len(pipeline.ask({"text": "the cat", "tokens": None}))
