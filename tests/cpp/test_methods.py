"""What pipelines have besides a call answers in C++ as in Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bert_export
from bert_export.errors import InputError
from tests.cpp.nasty import nasty_texts
from tests.cpp.test_tasks import LABELS, LONG, assert_close
from tests.cpp.test_tokenizer import kind_of

pytestmark = pytest.mark.long

Request = dict[str, Any]

TEXTS = ["the cat sat on the mat", "café 文 in Paris", "", *nasty_texts(6, seed=11), "the cat"]
PAIRS = [["the cat", text] for text in (*TEXTS, LONG)]
QUERY = "where is the cat?"
ONE_LABEL = {"id2label": {0: "LABEL_0"}}


def ask(build: Path, bundle: Path, requests: Sequence[Request]) -> list[Any]:
    """What ``answer_methods`` answers each request."""
    done = subprocess.run(
        [str(build / "answer_methods"), str(bundle)],
        input="".join(f"{json.dumps(request)}\n" for request in requests).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    return answers


def in_python(pipeline: Any, request: Request) -> Any:
    """The Python package's answer in the program's form, or its error."""
    options = dict(request)
    method = options.pop("method")
    try:
        if method == "similarity":
            vectors = pipeline.encode(options["texts"])
            return pipeline.similarity(vectors, vectors).tolist()
        if method == "rank":
            ranked = pipeline.rank(**options)
            return [[place["corpus_id"], place["score"]] for place in ranked]
        if method == "predict":
            scores = np.asarray(pipeline.predict(**options))
            return scores.reshape(-1, len(pipeline.labels)).tolist()
        return getattr(pipeline, method)(options.pop("texts"), **options).tolist()
    except InputError as error:
        return error


def compare(build: Path, bundle: Path, requests: Sequence[Request]) -> None:
    with bert_export.load(bundle, threads=1) as pipeline:
        for found, request in zip(ask(build, bundle, requests), requests, strict=True):
            wanted = in_python(pipeline, request)
            where = ascii(request)[:200]
            if isinstance(wanted, InputError):
                assert kind_of(found["error"]) == kind_of(str(wanted)), where
            else:
                assert_close(found, wanted, where)


def test_cross_encoders(plain: Path, tiny_export: Callable[..., Any]) -> None:
    bundle = tiny_export("text-classification", "BertForSequenceClassification", **ONE_LABEL).path
    ranking: Request = {"method": "rank", "query": QUERY, "documents": TEXTS}
    compare(
        plain,
        bundle,
        [
            {"method": "predict", "sentences": PAIRS},
            {"method": "predict", "sentences": PAIRS, "batch_size": 2},
            {"method": "predict", "sentences": PAIRS, "activation_fn": "none"},
            {"method": "predict", "sentences": PAIRS, "apply_softmax": True},
            {"method": "predict", "sentences": []},
            {"method": "predict", "sentences": PAIRS, "activation_fn": "tanh"},
            ranking,
            {**ranking, "documents": ["the", "the", "a", "the"]},
            {**ranking, "top_k": 2, "activation_fn": "none", "batch_size": 3},
            {**ranking, "top_k": 99},
            {**ranking, "top_k": 0},
            {**ranking, "documents": []},
        ],
    )


def test_scores_of_several_labels(plain: Path, tiny_export: Callable[..., Any]) -> None:
    bundle = tiny_export("text-classification", "BertForSequenceClassification", **LABELS).path
    compare(
        plain,
        bundle,
        [
            {"method": "predict", "sentences": PAIRS},
            {"method": "predict", "sentences": PAIRS, "apply_softmax": True},
            {"method": "predict", "sentences": PAIRS, "activation_fn": "sigmoid"},
            {"method": "rank", "query": QUERY, "documents": TEXTS},
        ],
    )


def test_queries_and_documents(plain: Path, embedding: Path) -> None:
    """Prompts that have the method's name, are named, or are texts."""
    requests: list[Request] = [
        {"method": method, "texts": [*TEXTS, LONG], **options}
        for method in ("encode", "encode_query", "encode_document")
        for options in (
            {},
            {"prompt_name": "plain"},
            {"prompt": "on "},
            {"truncate_dim": 5, "normalize_embeddings": True},
            {"batch_size": 1},
        )
    ]
    compare(plain, embedding, requests)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity(plain: Path, embedding: Path, tmp_path: Path, name: str) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(embedding, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["postprocessing"]["similarity_fn_name"] = name
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    compare(plain, bundle, [{"method": "similarity", "texts": TEXTS}])
