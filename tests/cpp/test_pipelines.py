"""The C++ pipelines answer whole bundles as the Python package does."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import bert_export
from bert_export.errors import BertExportError
from tests.cpp.nasty import nasty_texts
from tests.cpp.test_bundles import OLDER

pytestmark = pytest.mark.long

TEXTS = ["The cat sat on the mat.", "café 文 in Paris", "", *nasty_texts(30, seed=4)]
PAIRS = [{"text": "the cat", "text_pair": "sat on " * 30}, {"text": "é" * 40, "text_pair": ""}]
WORDS = [["New", "York", "is", "naïve"], ["文", "a-b", ""]]

Call = dict[str, Any]


def ask(build: Path, bundle: Path, calls: Sequence[Call], *target: str) -> list[Any]:
    """What ``answer_texts`` writes, a value per line."""
    done = subprocess.run(
        [str(build / "answer_texts"), str(bundle), *target],
        input="".join(f"{json.dumps(call)}\n" for call in calls).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def without_scores(answers: Any) -> Any:
    return [[{k: v for k, v in one.items() if k != "score"} for one in own] for own in answers]


def scores(answers: Any) -> list[float]:
    return [one["score"] for own in answers for one in own]


TEXT_CALLS: list[Call] = [
    {"inputs": TEXTS},
    {"inputs": PAIRS, "top_k": 2},
    {"inputs": TEXTS[:5], "top_k": None, "function_to_apply": "Sigmoid"},
    {"inputs": TEXTS[:5], "top_k": 1, "function_to_apply": "none"},
    {"inputs": TEXTS[:5], "max_length": 6, "top_k": 2},
    {"inputs": TEXTS[:5], "truncation": True, "max_length": 4},
    {"inputs": ["the cat " * 80], "truncation": False},
    {"inputs": TEXTS[:2], "function_to_apply": "tanh"},
    {"inputs": TEXTS[:2], "max_length": 4000},
]


def text_answers(pipeline: Any, call: Call) -> Any:
    options = {name: value for name, value in call.items() if name != "inputs"}
    try:
        answers = pipeline(call["inputs"], **options)
    except BertExportError as error:
        return {"error": str(error)}
    return [answer if isinstance(answer, list) else [answer] for answer in answers]


@pytest.mark.parametrize(
    "name", ["v1-text-classification-int8", "v2-text-classification-int8-search"]
)
def test_text_classification(plain: Path, name: str) -> None:
    found = ask(plain, OLDER / name, TEXT_CALLS)
    with bert_export.load(OLDER / name, threads=1) as pipeline:
        for call, answers in zip(TEXT_CALLS, found, strict=True):
            wanted = text_answers(pipeline, call)
            if isinstance(wanted, dict):
                assert answers == wanted, call
                continue
            assert without_scores(answers) == without_scores(wanted), call
            assert scores(answers) == pytest.approx(scores(wanted), abs=1e-6)


TOKEN_CALLS: list[Call] = [
    {"inputs": TEXTS},
    *(
        {"inputs": TEXTS, "aggregation_strategy": strategy, "ignore_labels": []}
        for strategy in ("simple", "FIRST", "average", "max")
    ),
    {"inputs": WORDS, "aggregation_strategy": "simple", "ignore_labels": []},
    {"inputs": WORDS, "delimiter": "-—", "ignore_labels": []},
    {"inputs": ["the cat sat " * 40], "aggregation_strategy": "first", "stride": 3},
    {"inputs": ["the cat sat " * 40], "aggregation_strategy": "first", "stride": None},
    {"inputs": TEXTS[:2], "stride": 3},
    {"inputs": TEXTS[:2], "stride": 400, "aggregation_strategy": "max"},
    {"inputs": TEXTS[:2], "aggregation_strategy": "mean"},
]


def token_answers(pipeline: Any, call: Call) -> Any:
    options = {name: value for name, value in call.items() if name != "inputs"}
    split = isinstance(call["inputs"][0], list)
    try:
        answers = pipeline(call["inputs"], is_split_into_words=split, **options)
    except BertExportError as error:
        return {"error": str(error)}
    for entity in (entity for own in answers for entity in own):
        if "entity_group" in entity:
            entity |= {"entity": entity.pop("entity_group"), "index": -1}
    return answers


@pytest.mark.parametrize("name", ["v1-token-classification-fp32", "v2-token-classification-fp32"])
def test_token_classification(plain: Path, name: str) -> None:
    found = ask(plain, OLDER / name, TOKEN_CALLS)
    with bert_export.load(OLDER / name, threads=1) as pipeline:
        for call, answers in zip(TOKEN_CALLS, found, strict=True):
            wanted = token_answers(pipeline, call)
            if isinstance(wanted, dict):
                assert answers == wanted, call
                continue
            texts = [joined(given, call.get("delimiter", " ")) for given in call["inputs"]]
            for text, own in zip(texts, answers, strict=True):
                for entity in own:
                    start, end = entity.pop("bytes")
                    part = text[entity["start"] : entity["end"]]
                    assert text.encode()[start:end].decode() == part
            assert without_scores(answers) == without_scores(wanted), call
            assert scores(answers) == pytest.approx(scores(wanted), abs=1e-6)


EMBEDDING_CALLS: list[Call] = [
    {"inputs": TEXTS},
    {"inputs": TEXTS, "prompt_name": "query", "normalize": True},
    {"inputs": TEXTS[:4], "prompt": "find, ", "truncate_dim": 3, "normalize": True},
    {"inputs": TEXTS[:4], "prompt": "", "truncate_dim": 5000},
    {"inputs": TEXTS[:4], "prompt_name": "document"},
    {"inputs": TEXTS[:4], "prompt_name": "nothing"},
]


def test_sentence_embedding(plain: Path, embedding: Path) -> None:
    found = ask(plain, embedding, EMBEDDING_CALLS)
    with bert_export.load(embedding, threads=1) as pipeline:
        for call, answers in zip(EMBEDDING_CALLS, found, strict=True):
            wanted = vectors(pipeline, **call)
            if isinstance(wanted, dict):
                assert answers == wanted
            else:
                np.testing.assert_allclose(answers, wanted, rtol=0, atol=1e-6)


def vectors(pipeline: Any, inputs: list[str], **options: Any) -> Any:
    try:
        return pipeline(inputs, **options)
    except BertExportError as error:
        return {"error": str(error)}


def joined(given: str | list[str], delimiter: str) -> str:
    return given if isinstance(given, str) else delimiter.join(given)


def test_another_task_is_refused(plain: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(OLDER / "v1-text-classification-int8", bundle)
    path = bundle / "manifest.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"task": "text-classification"', '"task": "fill-mask"'))
    (refused,) = ask(plain, bundle, [])
    assert refused["error"].startswith("task text-classification does not fit the bundle")
