"""Question answering answers as the original's pipeline does, or as the SQuAD v2 reference."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import transformers

from bert_export.errors import InputError
from bert_export.runtime.pipelines.question_answering import (
    QuestionAnsweringPipeline,
    QuestionItem,
)
from tests.oracle import save_tiny
from tests.runtime.pipelines.parity import assert_same
from tests.support import open_tiny

SHORT = "the cat sat on the mat in new york, 24 dogs ran."
LONG = "A dog is running! The Cat sat on naïve mats, 中文 and Ω 😀 too: the CAT's running. " * 2
STRANGE = "İstanbul ǅ e\u0301clair \u200b ﬁne 😀😀 cat😀dog"
CONTEXTS = (SHORT, LONG, STRANGE, "a [SEP] dog [CLS] cat")
QUESTION = "who sat?"
Pipelines = tuple[QuestionAnsweringPipeline, Callable[..., Any]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Pipelines:
    folder = tmp_path_factory.mktemp("question-answering")
    save_tiny("BertForQuestionAnswering", folder, max_position_embeddings=64)
    pipeline = open_tiny("question-answering", folder)
    assert isinstance(pipeline, QuestionAnsweringPipeline)
    return pipeline, transformers.pipeline("question-answering", str(folder), device="cpu")


@pytest.fixture(scope="module")
def pipeline(both: Pipelines) -> QuestionAnsweringPipeline:
    return both[0]


@pytest.mark.parametrize("align_to_words", [True, False])
@pytest.mark.parametrize("handle_impossible_answer", [True, False])
@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize("max_answer_len", [None, 1, 4, 100])
def test_answers_as_upstream(
    both: Pipelines,
    *,
    align_to_words: bool,
    handle_impossible_answer: bool,
    top_k: int,
    max_answer_len: int | None,
) -> None:
    ours, theirs = both
    options = {
        "align_to_words": align_to_words,
        "handle_impossible_answer": handle_impossible_answer,
        "top_k": top_k,
        "max_answer_len": max_answer_len,
        "doc_stride": 8,
    }
    for context in CONTEXTS:
        found = ours(question=QUESTION, context=context, **options)
        assert_same(found, theirs(question=QUESTION, context=context, **options))
        json.dumps(found)


@pytest.mark.parametrize("max_seq_len", [None, 16, 20, 31])
@pytest.mark.parametrize("doc_stride", [None, 0, 1, 7])
@pytest.mark.parametrize("question", ["who?", "a", "Ω 😀 [SEP]"])
def test_windows_lie_as_upstream(
    both: Pipelines, max_seq_len: int | None, doc_stride: int | None, question: str
) -> None:
    ours, theirs = both
    options = {
        "max_seq_len": max_seq_len,
        "doc_stride": doc_stride,
        "handle_impossible_answer": True,
    }
    if max_seq_len == 16 and doc_stride is None:
        options["doc_stride"] = 3
    for top_k in (1, 3):
        options["top_k"] = top_k
        assert_same(
            ours(question=question, context=LONG, **options),
            theirs(question=question, context=LONG, **options),
        )


def test_contexts_of_no_word_have_no_answer(both: Pipelines) -> None:
    ours, theirs = both
    for context in (" ", "\u200b \n"):
        for impossible in (False, True):
            call = {
                "question": QUESTION,
                "context": context,
                "handle_impossible_answer": impossible,
            }
            assert_same(ours(**call, align_to_words=False), theirs(**call, align_to_words=False))
            assert ours(**call)["answer"] == ""


def test_inputs_are_read_as_upstream(both: Pipelines) -> None:
    ours, theirs = both
    record = {"question": QUESTION, "context": SHORT}
    other = {"question": "a dog?", "context": CONTEXTS[2]}
    for call in (
        {"question": [QUESTION, "a dog?"], "context": SHORT},
        {"question": [QUESTION, "a dog?"], "context": [SHORT, CONTEXTS[2]]},
        {"question": [QUESTION], "context": SHORT},
        {"question": [QUESTION], "context": [SHORT]},
        {"question": [], "context": SHORT},
    ):
        assert_same(ours(**call), theirs(**call))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream calls a list deprecated
        expected = theirs([record, other], top_k=2)
    assert_same(ours([record, other], top_k=2), expected)
    assert_same(ours(record, other, top_k=2), expected)
    assert_same(list(ours(iter([record, other]), top_k=2)), expected)
    assert_same(ours(record, top_k=2), expected[0])
    assert_same(ours([record], top_k=2), expected[0])
    assert_same(ours((record,), top_k=2), expected[0])
    assert_same(ours(QUESTION, SHORT, top_k=2), expected[0])
    assert ours([]) == []


def test_a_generator_is_answered_lazily(both: Pipelines) -> None:
    ours, _ = both
    read = []

    def records() -> Iterator[dict[str, str]]:
        for context in CONTEXTS:
            read.append(context)
            yield {"question": QUESTION, "context": context}

    lazy = ours(records())
    assert not read
    assert_same(list(lazy), [ours(question=QUESTION, context=context) for context in CONTEXTS])


def test_a_question_that_leaves_room_enough_is_never_cut(both: Pipelines) -> None:
    ours, theirs = both
    question = "the cat sat on a mat and the dog sat on a mat. who?"  # most of a window
    call = {"question": question, "context": "a dog run", "max_question_len": 2, "top_k": 3}
    assert_same(ours(**call), theirs(**call))
    call |= {"context": LONG, "doc_stride": 2}
    assert_same(ours(**call), theirs(**call))


@pytest.mark.parametrize("method", ["pipeline", "squad_v2"])
@pytest.mark.parametrize("question", [LONG, "who sat on a mat and where is my dog?", "?" * 99])
def test_a_question_that_leaves_no_room_is_cut(
    pipeline: QuestionAnsweringPipeline, question: str, method: Any
) -> None:
    for options in ({}, {"doc_stride": 32}, {"max_seq_len": 5}, {"max_question_len": 1}):
        found = pipeline(question=question, context=LONG, method=method, **options)
        assert LONG[found["start"] : found["end"]] == found["answer"]
        assert found["answer"] or method == "squad_v2"
    item = QuestionItem(question, LONG)
    rows = pipeline.encode_items([item, QuestionItem("who?", SHORT)], pipeline.default_settings())
    assert all(len(row) <= 32 for own in rows for row in own)
    covered = {
        offset
        for row in rows[0]
        for offset, sequence in zip(row.encoding.offsets, row.encoding.sequence_ids, strict=True)
        if sequence == 1
    }
    whole = pipeline.tokenizer.encode([LONG[:29]], add_special_tokens=False)[0][0]
    assert set(whole.offsets) <= covered


def test_a_cut_question_keeps_its_first_tokens(pipeline: QuestionAnsweringPipeline) -> None:
    settings = replace(pipeline.default_settings(), max_question_len=5)
    question = "naive cats unaffable " * 9
    (rows,) = pipeline.encode_items([QuestionItem(question, LONG)], settings)
    tokens = pipeline.tokenizer.encode([question], add_special_tokens=False)[0][0].tokens
    assert len(rows) > 1
    assert all(row.encoding.tokens[1:7] == [*tokens[:5], "[SEP]"] for row in rows)


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_batches_do_not_change_answers(
    pipeline: QuestionAnsweringPipeline, batch_size: int | None
) -> None:
    records = [{"question": QUESTION, "context": context} for context in CONTEXTS]
    records.append({"question": LONG, "context": LONG})
    alone = [pipeline(record, top_k=3) for record in records]
    assert_same(pipeline(records, top_k=3, batch_size=batch_size), alone)


def test_records_become_items(pipeline: QuestionAnsweringPipeline) -> None:
    answers = {"text": [], "answer_start": []}
    item = pipeline.item({"question": QUESTION, "context": SHORT, "answers": answers})
    assert item == QuestionItem(QUESTION, SHORT)
    assert_same(
        list(pipeline.answers([item], pipeline.default_settings())),
        [pipeline(question=QUESTION, context=SHORT)],
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({}, "question is missing"),
        ({"question": "a"}, "context is missing"),
        ({"context": "a"}, "question is missing"),
        ({"question": "", "context": "a"}, "question is empty"),
        ({"question": "a", "context": ""}, "context is empty"),
        ({"question": 3, "context": "a"}, "questions are of the wrong type"),
        ({"question": "a", "context": 3}, "context is of the wrong type"),
        ({"question": "a", "context": ["a"]}, "context is of the wrong type"),
        ({"question": ["a", "b"], "context": ["a"]}, "expected a string, or 2 of them, got 1"),
        ({"question": ["a"], "context": 3}, "contexts are of the wrong type"),
        ({"question": [3], "context": "a"}, "question is of the wrong type"),
        ({"question": "a", "context": "a", "top_k": 0}, "top_k is wrong"),
        ({"question": "a", "context": "a", "top_k": None}, "top_k is wrong"),
        ({"question": "a", "context": "a", "max_answer_len": 0}, "max_answer_len is wrong"),
        ({"question": "a", "context": "a", "max_question_len": 0}, "max_question_len is wrong"),
        ({"question": "a", "context": "a", "max_seq_len": 4}, "max_seq_len is wrong"),
        ({"question": "a", "context": "a", "max_seq_len": 33}, "max_seq_len is above"),
        ({"question": "a", "context": "a", "doc_stride": -1}, "doc_stride is wrong"),
        ({"question": "a", "context": "a", "doc_stride": 33}, "doc_stride is larger"),
        ({"question": "a", "context": "a", "doc_stride": 2.0}, "doc_stride is wrong"),
        ({"question": "a", "context": "a", "method": "bert"}, "one of pipeline, squad_v2"),
        ({"question": "a", "context": "a", "n_best_size": 0}, "n_best_size is wrong"),
        ({"question": "a", "context": "a", "batch_size": 0}, "batch_size is wrong"),
    ],
)
def test_malformed_calls_are_refused(
    pipeline: QuestionAnsweringPipeline, call: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(**call)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("a", "inputs are of the wrong type"),
        (3, "inputs are of the wrong type"),
        (["a"], "item is of the wrong type"),
        ({"question": "a"}, "item lacks 'context'"),
        ([{"context": "a"}], "item lacks 'question'"),
        ([{"question": "a", "context": None}], "context is of the wrong type"),
        (iter([3]), "item is of the wrong type"),
    ],
)
def test_malformed_records_are_refused(
    pipeline: QuestionAnsweringPipeline, inputs: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        list(pipeline(inputs))
    with pytest.raises(InputError, match="inputs are given twice"):
        pipeline(inputs, question="a", context="b")


def test_a_threshold_decides_between_an_answer_and_none(
    pipeline: QuestionAnsweringPipeline,
) -> None:
    call: dict[str, Any] = {"question": QUESTION, "context": LONG, "method": "squad_v2"}
    never = pipeline(**call, null_score_diff_threshold=1e9, top_k=3)
    always = pipeline(**call, null_score_diff_threshold=-1e9, top_k=3)
    assert never[0]["answer"] != ""
    assert (always[0]["answer"], always[0]["start"], always[0]["end"]) == ("", 0, 0)
    assert len(never) == len(always) == 3
    single = pipeline(**call)
    assert isinstance(single, dict)
