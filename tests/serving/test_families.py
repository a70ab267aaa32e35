"""The routes of Text Embeddings Inference, OpenAI and KServe, by their own clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from bert_export.exporter import Export
from bert_export.runtime.loading import load
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving import app
from tests.serving.conftest import ask, read

Pipelines = Mapping[str, Pipeline[Any, Any, Any]]
TEXTS = ["Ada Lovelace", "met Charles Babbage in London"]


def test_embed(service: Any, pipelines: Pipelines) -> None:
    own = pipelines["sentence-embedding"]
    found = np.array(ask(service, "/embed", {"inputs": TEXTS}).json())
    np.testing.assert_allclose(found, own(TEXTS, normalize=True), atol=1e-6)
    short = np.array(ask(service, "/embed", {"inputs": TEXTS[0], "dimensions": 4}).json())
    assert short.shape == (1, 4)
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-6)
    every = ask(service, "/embed_all", {"inputs": TEXTS[0]}).json()
    np.testing.assert_allclose(every, pipelines["feature-extraction"](TEXTS[:1])[0], atol=1e-6)
    assert ask(service, "/embed", {"inputs": []}).status_code == 422
    too_long = {"inputs": "word " * 1000, "truncate": False}
    assert ask(service, "/embed", too_long).status_code == 422
    wanted = {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS}}
    alike = ask(service, "/similarity", wanted).json()
    vectors = own(TEXTS)
    assert alike == pytest.approx(own.similarity(vectors[0], vectors)[0].tolist(), abs=1e-6)  # type: ignore[attr-defined]


def test_predict_and_tokenize(service: Any, pipelines: Pipelines) -> None:
    own = pipelines["text-classification"]
    (label, *_), (other, *_) = ask(service, "/predict", {"inputs": [[TEXTS[0]], TEXTS]}).json()
    assert label["label"] == own(TEXTS[0])[0]["label"]
    pair = own({"text": TEXTS[0], "text_pair": TEXTS[1]})
    assert other == {"label": pair["label"], "score": pytest.approx(pair["score"], abs=1e-6)}
    raw = ask(service, "/predict", {"inputs": TEXTS[0], "raw_scores": True}).json()
    assert raw[0]["score"] == pytest.approx(
        own(TEXTS[0], function_to_apply="none")[0]["score"], abs=1e-5
    )
    (tokens,) = ask(service, "/tokenize", {"inputs": "Ada met"}).json()
    assert [token["special"] for token in (tokens[0], tokens[-1])] == [True, True]
    assert tokens[1]["start"] == 0
    assert ask(service, "/predict", {"inputs": [["a", "b", "c"]]}).status_code == 422


def test_rerank(tiny_export: Callable[..., Export], service: Any) -> None:
    bundle = tiny_export("text-classification", "BertForSequenceClassification", num_labels=1).path
    wanted = {"query": "Who?", "texts": [*TEXTS, "another"]}
    with load(bundle, threads=1) as own:
        pairs = [{"text": "Who?", "text_pair": text} for text in wanted["texts"]]
        scores = [one["score"] for one in own(pairs, function_to_apply="sigmoid")]
    ranker = app(bundle, threads=1)
    found = ask(ranker, "/rerank", {**wanted, "return_text": True}).json()
    order = sorted(range(3), key=lambda index: -scores[index])
    assert [one["index"] for one in found] == order
    assert [one["text"] for one in found] == [wanted["texts"][index] for index in order]
    expected = [scores[index] for index in order]
    assert [one["score"] for one in found] == pytest.approx(expected, abs=1e-6)
    raw = ask(ranker, "/rerank", {**wanted, "raw_scores": True}).json()
    assert [one["index"] for one in raw] == order
    assert 1 / (1 + np.exp(-raw[0]["score"])) == pytest.approx(expected[0], abs=1e-6)
    assert ask(ranker, "/rerank", {"query": "Who?", "texts": []}).status_code == 422
    assert ask(ranker, "/rerank", {"query": "Who?", "texts": ["x"] * 33}).status_code == 413
    assert ask(service, "/rerank", wanted).status_code == 404
    ranker.state.models[0].close()


def test_the_client_of_openai(address: str, pipelines: Pipelines) -> None:
    own = pipelines["sentence-embedding"](TEXTS)
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        assert "sentence-embedding" in [model.id for model in client.models.list()]
        # The client asks for base64 by itself where it has numpy.
        for form in ({}, {"encoding_format": "float"}):
            reply = client.embeddings.create(model="sentence-embedding", input=TEXTS, **form)
            np.testing.assert_allclose(
                [one.embedding for one in reply.data], own, rtol=0, atol=1e-6
            )
        assert reply.usage.prompt_tokens == reply.usage.total_tokens > len(TEXTS)
        short = client.embeddings.create(model="sentence-embedding", input=TEXTS[0], dimensions=3)
        assert len(short.data[0].embedding) == 3
        ids = [pipelines["sentence-embedding"].tokenizer.encode([text])[0][0].ids for text in TEXTS]
        for given in (ids, ids[0]):
            spelled = client.embeddings.create(model="sentence-embedding", input=given)
            np.testing.assert_allclose(
                [one.embedding for one in spelled.data], own[: len(spelled.data)], rtol=0, atol=1e-6
            )
        assert spelled.usage.prompt_tokens == len(ids[0])
        for broken in ([10**9], [["a"]], ["a", 1], [-1]):
            with pytest.raises(openai.UnprocessableEntityError):
                client.embeddings.create(model="sentence-embedding", input=broken)
        with pytest.raises(openai.UnprocessableEntityError, match="dim"):
            client.embeddings.create(model="sentence-embedding", input="x", dimensions=0)
        with pytest.raises(openai.APIStatusError, match="input hold too many items"):
            client.embeddings.create(model="sentence-embedding", input=["x"] * 33)


class KServeClient:
    """Speaks the Open Inference Protocol as its specification has it."""

    def __init__(self, client: httpx.Client, model: str) -> None:
        self._client, self._path = client, f"/v2/models/{model}"

    def metadata(self) -> Any:
        return self._client.get(self._path).raise_for_status().json()

    def infer(self, *inputs: Any, **fields: Any) -> dict[str, Any]:
        body = {"inputs": list(inputs), **fields}
        reply = self._client.post(f"{self._path}/infer", json=body).raise_for_status().json()
        return {
            output["name"]: self._array(output["datatype"], output["shape"], output["data"])
            for output in reply["outputs"]
        }

    @staticmethod
    def _array(kind: str, shape: list[int], data: list[Any]) -> Any:
        if kind == "BYTES":
            return [json.loads(text) for text in data]
        return np.array(data, dtype={"FP32": np.float32, "INT64": np.int64}[kind]).reshape(shape)


def strings(name: str, values: list[str]) -> dict[str, Any]:
    return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": values}


def test_a_client_of_kserve(address: str, pipelines: Pipelines) -> None:
    with httpx.Client(base_url=address) as http:
        assert http.get("/v2").json()["name"] == "bert-export"
        answers = KServeClient(http, "question-answering")
        assert [one["name"] for one in answers.metadata()["inputs"]] == ["question", "context"]
        found = answers.infer(strings("question", ["Who?"] * 2), strings("context", TEXTS))
        expected = [
            pipelines["question-answering"](question="Who?", context=text) for text in TEXTS
        ]
        assert [one["answer"] for one in found["answer"]] == [one["answer"] for one in expected]
        missing = {"inputs": [strings("questoin", ["Who?"])]}
        assert http.post("/v2/models/question-answering/infer", json=missing).status_code == 422
        assert http.post("/v2/models/sentence-embedding/infer", json=missing).status_code == 422
        embeds = KServeClient(http, "sentence-embedding").infer(strings("text", TEXTS))
        np.testing.assert_allclose(
            embeds["embedding"], pipelines["sentence-embedding"](TEXTS), atol=1e-6
        )
        labels = KServeClient(http, "zero-shot-classification").infer(
            strings("text", TEXTS[:1]), parameters={"candidate_labels": ["one", "two"]}
        )
        assert set(labels["answer"][0]["labels"]) == {"one", "two"}


def test_kserve_with_ids(service: Any, pipelines: Pipelines) -> None:
    own = pipelines["text-classification"]
    rows = [row for each in own.encode_items(TEXTS, own.defaults) for row in each]
    feeds = own.feeds(rows)
    graph = read(service, "/v2/models/text-classification").json()["parameters"]
    assert {one["name"] for one in graph["graph_inputs"]} == set(feeds)
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": "INT64", "data": array.tolist()}
        for name, array in feeds.items()
    ]
    path = "/v2/models/text-classification/infer"
    (output,) = ask(service, path, {"id": "7", "inputs": inputs}).json()["outputs"]
    found = np.array(output["data"], dtype=np.float32).reshape(output["shape"])
    np.testing.assert_allclose(found, own.run(feeds)["logits"], atol=1e-6)
    for broken in (
        {"inputs": inputs[:1]},
        {"inputs": [{**inputs[0], "shape": [1, 1]}, *inputs[1:]]},
        {"inputs": [{**inputs[0], "datatype": "FP8"}, *inputs[1:]]},
        {"inputs": [{**inputs[0], "data": ["x"] * np.size(inputs[0]["data"])}, *inputs[1:]]},
        {"inputs": [{**inputs[0], "data": [2**70] * np.size(inputs[0]["data"])}, *inputs[1:]]},
        {"inputs": [*inputs, strings("text", ["x"])]},
        {"inputs": [inputs[0], *inputs]},
        {"inputs": inputs, "outputs": [{"name": "nothing"}]},
        {"inputs": []},
    ):
        reply = ask(service, path, broken)
        assert reply.status_code == 422, reply.text
        assert set(reply.json()) == {"error"}
