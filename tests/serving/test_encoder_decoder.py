"""A service over an encoder-decoder: the hub's client, and KServe's protocol with text and ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from huggingface_hub import SummarizationOutput

from bert_export.exporter import Export
from bert_export.runtime.loading import load
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving import app
from tests.serving.conftest import ask, read

TEXTS = ["the cat sat on the mat", "a dog runs"]


@pytest.fixture(scope="module")
def writer(halves_export: Export) -> Iterator[Pipeline[Any, Any, Any]]:
    with load(halves_export.path, threads=1) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def writing(halves_export: Export) -> Any:
    return app(halves_export.path, threads=1)


def test_the_hubs_client_gets_a_summary(writing: Any, writer: Pipeline[Any, Any, Any]) -> None:
    parameters = {
        "clean_up_tokenization_spaces": False,
        "generate_parameters": {"num_beams": 2, "max_new_tokens": 5},
        "truncation": "only_first",
    }
    body = {"inputs": TEXTS[0], "parameters": parameters}
    reply = ask(writing, "/pipeline/summarization", body)
    (summary,) = SummarizationOutput.parse_obj_as_list(reply.json())
    (expected,) = writer(TEXTS[0], num_beams=2, max_new_tokens=5)
    assert summary.summary_text == expected["summary_text"]
    plain = {"inputs": TEXTS, "parameters": {"num_beams": 1}}
    assert ask(writing, "/", plain).json() == writer(TEXTS, num_beams=1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"generate_parameters": 3}, "generate_parameters are of the wrong type"),
        ({"generate_parameters": {"num_beam": 3}}, "num_beam.*num_beams"),
        ({"generate_parameters": {"top_k": 3}, "top_k": 2}, "option top_k is given twice"),
        ({"clean_up_tokenization_spaces": True}, "clean_up_tokenization_spaces is unknown"),
    ],
)
def test_what_an_answer_cannot_be_told_is_named(
    writing: Any, parameters: dict[str, Any], message: str
) -> None:
    body = {"inputs": TEXTS[0], "parameters": parameters}
    reply = ask(writing, "/pipeline/summarization", body)
    assert reply.status_code == 422
    assert re.search(message, reply.json()["error"])


def test_kserve_with_text_and_with_ids(writing: Any, writer: Pipeline[Any, Any, Any]) -> None:
    path = "/v2/models/summarization"
    texts = [{"name": "text", "shape": [2], "datatype": "BYTES", "data": TEXTS}]
    told = {"inputs": texts, "parameters": {"num_beams": 1}}
    (output,) = ask(writing, f"{path}/infer", told).json()["outputs"]
    assert [json.loads(text) for text in output["data"]] == [
        writer(text, num_beams=1) for text in TEXTS
    ]
    rows = [row for (row,) in writer.encode_items(TEXTS, writer.defaults)]
    feeds = writer.feeds(rows)
    graph = read(writing, path).json()["parameters"]
    names = [one["name"] for one in graph["graph_inputs"]]
    assert len(set(names)) == len(names)
    assert set(names) == set(feeds)
    tensors = [
        {"name": name, "shape": list(array.shape), "datatype": "INT64", "data": array.tolist()}
        for name, array in feeds.items()
        if array.size  # a cache that is empty need not be sent
    ]
    outputs = ask(writing, f"{path}/infer", {"inputs": tensors}).json()["outputs"]
    assert {one["name"] for one in outputs} == {one["name"] for one in graph["graph_outputs"]}
    found = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in outputs}
    np.testing.assert_allclose(found["logits"], writer.run(feeds)["logits"], atol=1e-6)
