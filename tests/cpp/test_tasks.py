"""Every task's C++ pipeline answers as the Python package's, through the C interface."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bert_export
from bert_export.errors import BertExportError, InputError
from bert_export.target_table import TARGETS as TARGET_TABLE
from tests.cpp.nasty import nasty_texts
from tests.cpp.test_bundles import OLDER
from tests.cpp.test_tokenizer import kind_of

pytestmark = pytest.mark.long

Call = dict[str, Any]

TARGETS = ("onnxruntime", "openvino", "native")
LABELS = {"id2label": {0: "contradiction", 1: "neutral", 2: "Entailment"}}
TAGS = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}}
LONG = "the cat sat on the mat " * 12
TEXTS = ["The cat sat on the mat.", "café 文 in Paris", "", "a\u0000b", *nasty_texts(12, seed=4)]
MASKED = [
    "the [MASK] sat",
    "[MASK] cat [MASK] on 文 mat.",
    *(f"{text[:9]} [MASK]" for text in nasty_texts(8, seed=5)),
]
PAIRS = [
    {"text": "the cat sat", "text_pair": "on the [MASK]"},
    {"text": "é [MASK] 文", "text_pair": "running"},
]
QUESTIONS = [
    {"question": "Where is the cat?", "context": "The cat sat on the mat. " * 3},
    {"question": "é?", "context": "naïve 文 café, ΣΑΣ sat."},
    {"question": "who " * 20, "context": LONG},
    {"question": "sat?", "context": LONG},
]
CHOICES = [
    {"prompt": "the cat", "choices": ["sat.", "on the mat", ""]},
    {"prompt": LONG, "choices": ["é"]},
]

PROMPTS = ["the cat sat", "", "a dog on the mat 中文", "the"]
GENERATION: list[dict[str, Any]] = [
    {"num_beams": 3, "num_return_sequences": 2, "min_new_tokens": 4},
    {"num_beams": 2, "early_stopping": "never", "length_penalty": 2.0},
    {"num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 2, "batch_size": 4},
    {"num_beams": 2, "length_penalty": -1, "eos_token_id": [3, 40, 41, 42, 43, 44]},
    {
        "num_beams": 1,
        "repetition_penalty": 1.4,
        "no_repeat_ngram_size": 3,
        "min_new_tokens": 5,
        "eos_token_id": 3,
    },
    {"num_beams": 1, "do_sample": True, "seed": 5, "num_return_sequences": 3, "top_k": 0},
]
"""Options of decoding that both tasks which generate have."""

REFUSED_OPTIONS: list[dict[str, Any]] = [
    {"num_beams": 0},
    {"num_beams": 1025},
    {"num_beams": 2, "num_return_sequences": 3},
    {"num_beams": 2, "do_sample": True},
    {"num_return_sequences": 5000, "num_beams": 1, "do_sample": True},
    {"repetition_penalty": 0},
    {"repetition_penalty": "a"},
    {"no_repeat_ngram_size": -1},
    {"min_new_tokens": 1.5},
    {"early_stopping": "often"},
    {"eos_token_id": 99999},
    {"eos_token_id": [3, -1]},
    {"eos_token_id": ["x"]},
    {"max_length": 0},
    {"length_penalty": True},
]
"""Options that both refuse."""

TASKS: dict[str, tuple[str, dict[str, Any], list[Call]]] = {
    "text-classification": (
        "BertForSequenceClassification",
        LABELS,
        [
            {"inputs": TEXTS[0]},
            {"inputs": TEXTS, "batch_size": 2},
            {"inputs": TEXTS[0], "top_k": 2},
            {"inputs": {"text": TEXTS[0], "text_pair": "é"}},
            {"inputs": [TEXTS[0], {"text": "the", "text_pair": ""}], "top_k": None},
            {"inputs": LONG, "truncation": False},
            {"inputs": LONG, "truncation": "only_first", "max_length": 5},
            {"inputs": TEXTS[0], "top_k": 0},
            {"inputs": TEXTS[0], "batch_size": 0},
            {"inputs": ["the", 3]},
            {"inputs": 4},
            {"inputs": TEXTS[0], "truncation": "middle"},
            {"inputs": TEXTS[0], "nothing_like_it": 1},
        ],
    ),
    "zero-shot-classification": (
        "BertForSequenceClassification",
        LABELS,
        [
            {"sequences": TEXTS[0], "candidate_labels": "cats, dogs ,,  é"},
            {"sequences": TEXTS[:2], "candidate_labels": ["cats", "dogs"], "multi_label": True},
            {"sequences": LONG, "candidate_labels": ["cats"], "hypothesis_template": "{{{}}} 文"},
            {"sequences": "the", "candidate_labels": ["a"], "hypothesis_template": "{0} and {0}"},
            {"sequences": "the", "candidate_labels": ["a"], "hypothesis_template": "no place"},
            {"sequences": "the", "candidate_labels": ["a"], "hypothesis_template": "{} }"},
            {"sequences": "the", "candidate_labels": ["a"], "hypothesis_template": "{} {"},
            {"sequences": "the", "candidate_labels": []},
            {"sequences": ["the", ""], "candidate_labels": ["a"]},
            {"sequences": "the", "candidate_labels": [LONG * 3]},
        ],
    ),
    "token-classification": (
        "BertForTokenClassification",
        TAGS,
        [
            {"inputs": TEXTS[0]},
            *(
                {"inputs": TEXTS, "aggregation_strategy": strategy, "ignore_labels": []}
                for strategy in ("none", "simple", "first", "average", "max")
            ),
            {"inputs": LONG, "aggregation_strategy": "first", "stride": 3, "ignore_labels": []},
            {"inputs": [["the", "cat"], ["文", ""]], "is_split_into_words": True},
            {"inputs": ["New", "York"], "is_split_into_words": True, "delimiter": "-—"},
            {"inputs": LONG, "stride": 3},
            {"inputs": LONG, "stride": 40, "aggregation_strategy": "max"},
            {"inputs": "the", "aggregation_strategy": "mean"},
            {"inputs": ["the", ["cat"]]},
        ],
    ),
    "question-answering": (
        "BertForQuestionAnswering",
        {},
        [
            {"inputs": QUESTIONS[0]},
            {"inputs": QUESTIONS},
            {"inputs": QUESTIONS, "top_k": 3, "max_answer_len": 4, "batch_size": 1},
            {"inputs": QUESTIONS, "method": "squad_v2", "top_k": 4, "n_best_size": 5},
            {"inputs": QUESTIONS, "method": "squad_v2", "null_score_diff_threshold": -50.5},
            {"inputs": QUESTIONS, "handle_impossible_answer": True, "align_to_words": False},
            {"inputs": QUESTIONS, "doc_stride": 2, "max_seq_len": 20, "max_question_len": 3},
            {**QUESTIONS[1], "top_k": 2},
            {"inputs": QUESTIONS[0], "max_seq_len": 4000},
            {"inputs": QUESTIONS[0], "doc_stride": 30, "max_seq_len": 20},
            {"inputs": QUESTIONS[0], "method": "bert"},
            {"inputs": [QUESTIONS[0], {"question": "", "context": "the"}]},
            {"inputs": [QUESTIONS[0], {"question": "the"}]},
            {"inputs": QUESTIONS[0], "top_k": 1.5},
        ],
    ),
    "fill-mask": (
        "BertForMaskedLM",
        {},
        [
            {"inputs": MASKED[0]},
            {"inputs": MASKED, "top_k": 3, "batch_size": 3},
            {"inputs": MASKED[:1]},
            {"inputs": MASKED, "targets": ["cat", "mat", "cat"]},
            {"inputs": MASKED[0], "top_k": 0},
            {"inputs": MASKED[0], "top_k": 100_000},
            {"inputs": MASKED[0], "tokenizer_kwargs": {"max_length": 4}},
            {"inputs": MASKED[0], "tokenizer_kwargs": {"add_special_tokens": False}},
            {"inputs": ["the [MASK]", "no mask"]},
            {"inputs": LONG + "[MASK]"},
        ],
    ),
    "next-sentence-prediction": (
        "BertForNextSentencePrediction",
        {},
        [
            {"inputs": PAIRS},
            {**PAIRS[0]},
            {"inputs": {"text": LONG, "text_pair": LONG}},
            {"inputs": [PAIRS[0], {"text": "the"}]},
            {"inputs": PAIRS[0], "text": "the"},
        ],
    ),
    "multiple-choice": (
        "BertForMultipleChoice",
        {},
        [
            {"inputs": CHOICES},
            {**CHOICES[0], "batch_size": 2},
            {"inputs": [CHOICES[0], {"prompt": "the", "choices": []}]},
            {"inputs": {"prompt": "the", "choices": ["a", 1]}},
        ],
    ),
    "pretraining": (
        "BertForPreTraining",
        {},
        [
            {"inputs": PAIRS, "top_k": 2},
            {**PAIRS[1]},
            {"inputs": {"text": "no", "text_pair": "mask"}},
            {"inputs": {"text": LONG, "text_pair": LONG}},
        ],
    ),
    "feature-extraction": (
        "BertModel",
        {},
        [
            {"inputs": TEXTS},
            {"inputs": TEXTS[1], "tokenize_kwargs": {"max_length": 4}},
            {"inputs": LONG, "truncation": True},
            {"inputs": LONG},
            {"inputs": ["", "the"], "tokenize_kwargs": {"add_special_tokens": False}},
            {"inputs": "the", "tokenize_kwargs": {"padding": True}},
        ],
    ),
    "text-generation": (
        "BertLMHeadModel",
        {"is_decoder": True, "seed": 3},
        [
            {"inputs": ["the cat sat", "", "The  Dog isn't on 中文!", "the"], "max_new_tokens": 9},
            {"inputs": "the cat", "return_full_text": False},
            {"inputs": "the cat", "do_sample": True, "seed": 7, "max_new_tokens": 12},
            {
                "inputs": ["the cat", "a b c"],
                "do_sample": True,
                "seed": 1 << 40,
                "temperature": 1.7,
                "top_k": 9,
            },
            {"inputs": "the", "do_sample": True, "seed": 0, "top_p": 0.6, "top_k": 0},
            {"inputs": "the", "temperature": -1.5},
            {"inputs": "the", "top_p": 1.25},
            {"inputs": "the", "max_new_tokens": 0},
            {"inputs": ["the", LONG]},
            *({"inputs": PROMPTS, "max_new_tokens": 6, **options} for options in GENERATION),
            {"inputs": PROMPTS, "max_length": 9, "batch_size": 2},
            {"inputs": "the", "max_length": 9, "max_new_tokens": 3},
            {"inputs": "the cat sat", "max_length": 4},
            *({"inputs": "the", **options} for options in REFUSED_OPTIONS),
        ],
    ),
}


def ask(
    build: Path, bundle: Path, calls: Sequence[Call | str], task: str = "", *others: str
) -> list[tuple[int, Any]]:
    """What ``c_calls`` writes: a status and an answer or a message, first of the opening.

    ``others`` are the threads of its pool, none where that is empty, and the target.
    """
    lines = (call if isinstance(call, str) else json.dumps(call) for call in calls)
    done = subprocess.run(
        [str(build / "c_calls"), str(bundle), task, *others],
        input="".join(f"{line}\n" for line in lines).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    outcomes = []
    for place, line in enumerate(done.stdout.decode().splitlines()):
        status, _, answer = line.partition(" ")
        plain = place == 0 or status != "0"
        outcomes.append((int(status), answer if plain else json.loads(answer)))
    assert len(outcomes) == 1 + sum(call != "close" for call in calls)
    return outcomes


def expected(pipeline: Any, call: Call) -> Any:
    """The Python package's answer, or its error."""
    options = dict(call)
    inputs = [options.pop("inputs")] if "inputs" in options else []
    try:
        answer = pipeline(*inputs, **options)
    except BertExportError as error:
        return error
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


def without_bytes(answer: Any) -> Any:
    """An answer in Python's form, which has no places in bytes."""
    if isinstance(answer, list):
        return [without_bytes(item) for item in answer]
    if isinstance(answer, dict):
        return {
            name: without_bytes(value)
            for name, value in answer.items()
            if not name.startswith("byte_")
        }
    return answer


def assert_close(found: Any, wanted: Any, place: str) -> None:
    """Equal but for the seventh digit of numbers."""
    if isinstance(wanted, list | tuple):
        assert isinstance(found, list), place
        assert len(found) == len(wanted), place
        for index, (left, right) in enumerate(zip(found, wanted, strict=True)):
            assert_close(left, right, f"{place}[{index}]")
    elif isinstance(wanted, dict):
        assert isinstance(found, dict), place
        assert list(found) == list(wanted), place
        for name, value in wanted.items():
            assert_close(found[name], value, f"{place}.{name}")
    elif isinstance(wanted, float | np.floating):
        assert math.isclose(found, float(wanted), rel_tol=1e-6, abs_tol=1e-6), place
    else:
        assert found == wanted, place


def assert_equal(outcome: tuple[int, Any], wanted: Any, call: Call) -> None:
    """An answer, or the words of an error but for what may have been meant."""
    status, answer = outcome
    where = ascii(call)[:200]
    if isinstance(wanted, BertExportError):
        assert isinstance(wanted, InputError)
        assert status == 2, where
        assert kind_of(answer) == kind_of(str(wanted).partition(" Did you mean")[0]), where
    else:
        assert status == 0, (where, answer)
        assert_close(without_bytes(answer), wanted, where)


@pytest.mark.parametrize(
    ("task", "precision"),
    [
        *((task, precision) for task in TASKS for precision in ("fp32", "int8")),
        *((task, "bf16") for task in ("question-answering", "fill-mask")),
    ],
)
@pytest.mark.filterwarnings("ignore:target")
@pytest.mark.usefixtures("module")
def test_answers(plain: Path, tiny_export: Callable[..., Any], task: str, precision: str) -> None:
    """On the same engine; INT8 with the calls whose answers are numbers."""
    pytest.importorskip("openvino")
    head, config, calls = TASKS[task]
    name = "text-classification" if "zero" in task else task
    targets = tuple(target for target in TARGETS if precision in TARGET_TABLE[target].precisions)
    bundle = tiny_export(name, head, targets=targets, precision=precision, **config).path
    for target in targets:
        opened, *found = ask(plain, bundle, calls, task, "", target)
        assert opened == (0, task)
        with bert_export.load(bundle, task=task, target=target, threads=1) as pipeline:
            for outcome, call in zip(found, calls, strict=True):
                assert_equal(outcome, expected(pipeline, call), call)


def test_a_pool_changes_no_answer(plain: Path, tiny_export: Callable[..., Any]) -> None:
    head, config, calls = TASKS["token-classification"]
    bundle = tiny_export("token-classification", head, **config).path
    many = [{"inputs": TEXTS * 20, "aggregation_strategy": "simple"}, *calls]
    alone = ask(plain, bundle, many)
    together = ask(plain, bundle, many, "", "3")
    for left, right, call in zip(together[1:], alone[1:], many, strict=True):
        assert left[0] == right[0]
        assert_close(left[1], right[1], ascii(call)[:200])


def test_places_in_bytes(plain: Path, tiny_export: Callable[..., Any]) -> None:
    head, config, _ = TASKS["question-answering"]
    bundle = tiny_export("question-answering", head, **config).path
    asked = {"question": "é?", "context": "naïve 文 café, ΣΑΣ sat."}
    _, (status, answer) = ask(plain, bundle, [asked])
    assert status == 0
    spelled = asked["context"].encode()[answer["byte_start"] : answer["byte_end"]]
    assert spelled.decode() == answer["answer"]


def test_embeddings(plain: Path, embedding_int8: Any) -> None:
    calls: list[Call | str] = [{"inputs": "the cat"}, "embed the cat", {"inputs": ["a", "b"]}]
    _, alone, numbers, several = ask(plain, embedding_int8.path, calls)
    with bert_export.load(embedding_int8.path, threads=1) as pipeline:
        wanted = pipeline("the cat")
        np.testing.assert_allclose(alone[1], wanted, rtol=0, atol=1e-6)
        np.testing.assert_allclose(numbers[1], wanted, rtol=0, atol=1e-6)
        np.testing.assert_allclose(several[1], pipeline(["a", "b"]), rtol=0, atol=1e-6)


def test_statuses(plain: Path, tmp_path: Path) -> None:
    bundle = OLDER / "v2-token-classification-fp32"
    assert ask(plain, tmp_path / "nothing", [])[0][0] == 1
    status, message = ask(plain, bundle, [], "fill-mask")[0]
    assert (status, message.partition(":")[0]) == (4, "task fill-mask does not fit the bundle")
    assert ask(plain, bundle, [], "", "0")[0] == (
        2,
        "threads of a pool are wrong: expected at least 1, got 0.",
    )


def test_calls_that_are_no_calls(plain: Path) -> None:
    bundle = OLDER / "v2-token-classification-fp32"
    calls = ["", "[]", "{", '{"inputs": ' + "[" * 10_000, '{"inputs": 1e999}', "embed the"]
    _, *found = ask(plain, bundle, calls)
    assert [status for status, _ in found] == [2, 2, 2, 2, 2, 4]
    assert all(len(message) < 300 for _, message in found)


def test_huge_texts(plain: Path) -> None:
    """10 MB, a word of a million characters, and as many marks: answered as in Python."""
    bundle = OLDER / "v2-token-classification-fp32"
    calls: list[Call] = [
        {"inputs": text, "ignore_labels": []}
        for text in ("the cat sat on é " * 600_000, "x" * 1_000_000, "\u0301" * 1_000_000)
    ]
    _, *found = ask(plain, bundle, calls)
    with bert_export.load(bundle, threads=1) as pipeline:
        for outcome, call in zip(found, calls, strict=True):
            assert_equal(outcome, expected(pipeline, call), call)


def test_closed(plain: Path) -> None:
    bundle = OLDER / "v2-token-classification-fp32"
    _, first, second = ask(plain, bundle, [{"inputs": "the"}, "close", {"inputs": "the"}])
    assert first[0] == 0
    assert second == (2, "session is closed. Load the bundle again.")
