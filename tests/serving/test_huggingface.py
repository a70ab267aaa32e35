"""Answers over HTTP are those of the call: every recorded call of every task."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from huggingface_hub import InferenceClient

from bert_export.runtime.batcher import Batcher
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving.application import build
from bert_export.serving.limits import Limits
from bert_export.serving.metrics import Metrics
from bert_export.serving.models import Model
from bert_export.tasks import TASKS, find_task
from tests.runtime.test_vectors import assert_same
from tests.runtime.vectors import open_vector, read_vectors
from tests.serving.conftest import ask

LIMITS = Limits(items=1000, tokens=1_000_000)

Pipelines = Mapping[str, Pipeline[Any, Any, Any]]


class OpenModel(Model):
    """A model over a pipeline that is open already."""

    def __init__(self, pipeline: Pipeline[Any, Any, Any], metrics: Metrics) -> None:
        self.name, self.manifest = "vector", pipeline.manifest
        self.task, self.engine = find_task(pipeline.task), pipeline.manifest.engine()
        self.metrics = metrics.of(self.name)
        self._batcher: Batcher | None = pipeline.batcher(observer=self.metrics)


@pytest.mark.parametrize("task", TASKS)
def test_every_call_answers_as_recorded(task: str) -> None:
    for vector in read_vectors(task):
        rows: list[Any] = []
        metrics = Metrics()
        with open_vector(vector, rows) as pipeline, warnings.catch_warnings():
            warnings.simplefilter("ignore" if vector.warns else "error")
            service = build([OpenModel(pipeline, metrics)], metrics=metrics, limits=LIMITS)
            body = {"inputs": vector.input, "parameters": vector.options}
            raw = json.dumps(body).encode()
            reply = ask(service, "/", raw)
        if rb"\u0000" in raw:  # a service refuses what the tokenizer would drop
            assert reply.status_code == 422, (vector.name, reply.text)
            assert "holds a NUL character" in reply.json()["error"]
        elif vector.error:
            assert 400 <= reply.status_code < 500, (vector.name, reply.text)
            assert set(reply.json()) == {"error", "error_type"}
        else:
            assert reply.status_code == 200, (vector.name, reply.text)
            assert_same(reply.json(), vector.answer)


def test_the_client_of_the_hub(address: str, pipelines: Pipelines) -> None:
    def client(task: str) -> InferenceClient:
        return InferenceClient(model=f"{address}/models/{task}/pipeline/{task}")

    text = "Ada Lovelace met Charles Babbage"
    vectors = client("feature-extraction").feature_extraction(text)
    np.testing.assert_allclose(vectors, pipelines["feature-extraction"](text), rtol=0, atol=1e-6)
    vector = client("sentence-embedding").feature_extraction(text, truncate=True)
    assert vector == pytest.approx(pipelines["sentence-embedding"](text), abs=1e-6)
    alike = client("sentence-embedding").sentence_similarity(text, other_sentences=[text, "one"])
    assert alike[0] == pytest.approx(1, abs=1e-5)
    assert alike[1] < alike[0]

    labels = client("text-classification").text_classification(text, top_k=2)
    expected = pipelines["text-classification"](text, top_k=2)
    assert [label.label for label in labels] == [label["label"] for label in expected]
    assert [label.score for label in labels] == pytest.approx(
        [label["score"] for label in expected], abs=1e-6
    )
    entities = client("token-classification").token_classification(
        text, aggregation_strategy="first"
    )
    own = pipelines["token-classification"](text, aggregation_strategy="first")
    assert entities
    assert [(one.start, one.end, one.entity_group) for one in entities] == [
        (one["start"], one["end"], one["entity_group"]) for one in own
    ]
    masked = "Ada [MASK] Charles"
    filled = client("fill-mask").fill_mask(masked, top_k=3)
    assert [(one.token, one.sequence) for one in filled] == [
        (one["token"], one["sequence"]) for one in pipelines["fill-mask"](masked, top_k=3)
    ]
    answer = client("question-answering").question_answering(question="Who?", context=text)
    found = pipelines["question-answering"](question="Who?", context=text)
    assert (answer.answer, answer.start, answer.end) == (
        found["answer"],
        found["start"],
        found["end"],
    )
    scored = client("zero-shot-classification").zero_shot_classification(
        text, candidate_labels=["people", "food"]
    )
    expected = pipelines["zero-shot-classification"](text, candidate_labels=["people", "food"])
    assert [one.label for one in scored] == expected["labels"]
    assert [one.score for one in scored] == pytest.approx(expected["scores"], abs=1e-6)


def test_a_path_names_the_task(service: Any) -> None:
    reply = ask(service, "/models/fill-mask/pipeline/question-answering", {"inputs": "x"})
    assert reply.status_code == 422
    assert "question-answering does not fit" in reply.json()["error"]
