"""Triton's folder: its configuration, and its model file over a stand-in for Triton's module."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bert_export import load
from bert_export.exporter import Export
from bert_export.hand_over import hand_over


@dataclass
class Tensor:
    """As the Python backend documents it."""

    named: str
    array: Any

    def name(self) -> str:
        return self.named

    def as_numpy(self) -> Any:
        return self.array


class TritonError(Exception):
    """Its text goes to the client."""

    def message(self) -> str:
        return str(self)


class InferenceResponse:
    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        assert all(isinstance(tensor, Tensor) for tensor in output_tensors)
        assert error is None or not output_tensors
        self.tensors = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
        self.error = error


@dataclass
class Request:
    tensors: list[Tensor]


def get_input_tensor_by_name(request: Request, name: str) -> Tensor | None:
    return next((tensor for tensor in request.tensors if tensor.name() == name), None)


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("triton_python_backend_utils")
    for one in (Tensor, TritonError, InferenceResponse, get_input_tensor_by_name):
        setattr(module, one.__name__, one)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def strings(*texts: str) -> Any:
    return np.array([[text.encode()] for text in texts], object)


def read_config(text: str) -> dict[str, Any]:
    """The configuration, through the text format of its published schema."""
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import json_format, text_format

    parsed = text_format.Parse(text, schema.ModelConfig())
    found: dict[str, Any] = json_format.MessageToDict(parsed, preserving_proto_field_name=True)
    return found


class Server:
    """What Triton does with a model's folder."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        spec = importlib.util.spec_from_file_location("model", folder / "bert" / "1" / "model.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.model = module.TritonPythonModel()
        self.model.initialize({"model_config": json.dumps(config)})

    def ask(self, *requests: dict[str, Any]) -> list[InferenceResponse]:
        made = [Request([Tensor(name, array) for name, array in one.items()]) for one in requests]
        responses: list[InferenceResponse] = self.model.execute(made)
        assert len(responses) == len(requests)
        return responses


def config_of(inputs: list[str], output: str) -> dict[str, Any]:
    return {
        "input": [{"name": name} for name in inputs],
        "output": [{"name": output}],
        "parameters": {"threads": {"string_value": "1"}},
    }


@pytest.fixture
def classifier(tiny_export: Callable[..., Export], tmp_path: Path) -> Iterator[tuple[Path, Server]]:
    bundle = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path
    folder = hand_over(bundle, "triton", tmp_path / "repository").folder
    server = Server(folder, config_of(["TEXT"], "ANSWER"))
    yield bundle, server
    server.model.finalize()


def test_requests_run_together_and_answer_as_the_bundle(classifier: tuple[Path, Server]) -> None:
    bundle, server = classifier
    first, second = server.ask(
        {"TEXT": strings("the cat sat", "a dog")}, {"TEXT": strings("中文 é")}
    )
    with load(bundle, threads=1) as pipeline:
        own = pipeline(["the cat sat", "a dog", "中文 é"])
    found = [*first.tensors["ANSWER"], *second.tensors["ANSWER"]]
    assert [json.loads(row[0]) for row in found] == own
    assert first.tensors["ANSWER"].shape == (2, 1)


def test_a_request_that_is_no_text_harms_no_other(classifier: tuple[Path, Server]) -> None:
    _, server = classifier
    broken, good = server.ask(
        {"TEXT": np.array([[b"\xff\xfe"]], object)}, {"TEXT": strings("a dog")}
    )
    assert broken.error is not None
    assert "not valid Unicode" in broken.error.message()
    assert good.error is None
    assert json.loads(good.tensors["ANSWER"][0, 0])["label"].startswith("LABEL_")


def test_vectors_are_numbers(embeddings: Path, tmp_path: Path) -> None:
    folder = hand_over(embeddings, "triton", tmp_path / "repository").folder
    server = Server(folder, config_of(["TEXT"], "EMBEDDING"))
    (response,) = server.ask({"TEXT": strings("the cat sat", "a dog")})
    with load(embeddings, threads=1) as pipeline:
        np.testing.assert_array_equal(
            response.tensors["EMBEDDING"], pipeline(["the cat sat", "a dog"])
        )
    server.model.finalize()


def test_several_fields_make_a_record(tiny_export: Callable[..., Export], tmp_path: Path) -> None:
    bundle = tiny_export("question-answering", "BertForQuestionAnswering").path
    folder = hand_over(bundle, "triton", tmp_path / "repository").folder
    server = Server(folder, config_of(["QUESTION", "CONTEXT"], "ANSWER"))
    (response,) = server.ask(
        {"QUESTION": strings("the cat"), "CONTEXT": strings("a dog sat on the mat")}
    )
    with load(bundle, threads=1) as pipeline:
        own = pipeline(question="the cat", context="a dog sat on the mat")
    assert json.loads(response.tensors["ANSWER"][0, 0]) == own
    server.model.finalize()


@pytest.mark.parametrize(
    ("task", "head", "inputs"),
    [
        ("text-classification", "BertForSequenceClassification", {"TEXT": ["1"]}),
        ("multiple-choice", "BertForMultipleChoice", {"PROMPT": ["1"], "CHOICES": ["-1"]}),
        ("token-classification", "BertForTokenClassification", {"TEXT": ["1"]}),
    ],
)
def test_the_configuration_follows_the_published_schema(
    task: str,
    head: str,
    inputs: dict[str, list[str]],
    tiny_export: Callable[..., Export],
    tmp_path: Path,
) -> None:
    folder = hand_over(tiny_export(task, head).path, "triton", tmp_path / "repository").folder
    config = read_config((folder / "bert" / "config.pbtxt").read_text(encoding="utf-8"))
    assert {one["name"]: one["dims"] for one in config["input"]} == inputs
    assert {one["data_type"] for one in config["input"]} == {"TYPE_STRING"}
    assert config["backend"] == "python"
    assert config["instance_group"] == [{"count": 2, "kind": "KIND_CPU"}]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == "500"
    assert config["parameters"] == {"threads": {"string_value": "1"}}
    (warm,) = config["model_warmup"]
    assert set(warm["inputs"]) == set(inputs)
    for one in warm["inputs"].values():
        data = (folder / "bert" / "warmup" / one["input_data_file"]).read_bytes()
        texts = []
        while data:
            (size,) = struct.unpack_from("<I", data)
            texts.append(data[4 : 4 + size].decode())
            data = data[4 + size :]
        assert [str(len(texts))] == one["dims"]
        assert all(texts)
