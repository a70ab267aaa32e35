"""The trace cache: what its key holds, and that a graph from it is the graph of a fresh trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from bert_export.checkpoints.sentence_transformers import Dense, SentenceModules
from bert_export.models import HEADS, BertHead
from bert_export.models.heads import BertForSentenceEmbedding, BertModel
from bert_export.tasks import TASKS
from bert_export.tracing import CACHE_VARIABLE, TraceCache, linear_layers, trace
from bert_export.tracing.trace_cache import trace_key
from tests.passes.graphs import config_of
from tests.support import ONE_GRAPH

TASK_OF_HEAD = {task.head: name for name, task in ONE_GRAPH.items()}
ONE_BERT = [name for name in HEADS if name != "EncoderDecoderModel"]
KEY = "0" * 64


def build_head(name: str, *, seed: int = 0, pooling: Any = None, **fields: Any) -> BertHead:
    """The sizes are those of the graphs for the passes, so that a whole run traces each once."""
    config = config_of(**({"is_decoder": name == "BertLMHeadModel"} | fields))
    if name == "BertForSentenceEmbedding":
        modules = pooling or SentenceModules(pooling=("mean",), normalize=True)
        head: BertHead = BertForSentenceEmbedding(config, modules)
    else:
        head = HEADS[name](config)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(generator=generator)
    return head.eval()


def interface(name: str) -> dict[str, Any]:
    task = TASKS[TASK_OF_HEAD[name]]
    head = HEADS[name]
    choices = name == "BertForMultipleChoice"
    axes = ("batch", "choices", "sequence") if choices else ("batch", "sequence")
    shapes = {output.name: output.shape for output in task.outputs}
    return {
        "inputs": tuple((entry, axes) for entry in head.inputs),
        "outputs": tuple((output, shapes[output]) for output in head.outputs),
        "max_length": 16,
    }


def linear_layers_of(model: ir.Model) -> list[str]:
    return [name for name, _ in linear_layers(model.graph)]


def content(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString()


def key(head: nn.Module, **changes: Any) -> str | None:
    name = type(head).__name__
    call = interface(name) if name in TASK_OF_HEAD else interface("BertModel")
    return trace_key(head, **(call | {"opset": 23} | changes))


@pytest.mark.parametrize("name", ONE_BERT)
def test_a_graph_from_the_cache_equals_a_fresh_one(name: str, tmp_path: Path) -> None:
    """The cached graph was traced from weights of zeros, which an optimizer would fold away."""
    zeros, head = build_head(name), build_head(name, seed=1)
    with torch.no_grad():
        for parameter in zeros.parameters():
            parameter.zero_()
    trace(zeros, **interface(name), cache=TraceCache(tmp_path))
    (path,) = tmp_path.iterdir()
    from_cache = trace(head, **interface(name), cache=TraceCache(tmp_path))
    assert list(tmp_path.iterdir()) == [path]
    # Traced by this test or another of the run, from weights that are not zero.
    fresh = trace(head, **interface(name))
    assert content(from_cache) == content(fresh)


def test_real_sizes_come_out_of_the_cache_alike(tmp_path: Path) -> None:
    """Tables larger than the exporter's limits for folding; the decoder is tied to the words."""
    name = "BertForMaskedLM"
    sizes = {"vocab_size": 30522, "hidden_size": 384, "num_attention_heads": 12}
    sizes |= {"num_hidden_layers": 1, "intermediate_size": 1536, "max_position_embeddings": 512}
    first, second = (build_head(name, seed=seed, **sizes) for seed in (0, 1))
    for head in (first, second):
        decoder = head.get_submodule("cls.predictions.decoder")
        decoder.weight = head.bert.embeddings.word_embeddings.weight
    call = interface(name) | {"max_length": 512}
    traced = trace(first, **call, cache=TraceCache(tmp_path))
    from_cache = trace(second, **call, cache=TraceCache(tmp_path))
    fresh = trace(second, **call, cache=TraceCache(tmp_path / "empty"))
    assert content(from_cache) == content(fresh)
    assert content(from_cache) != content(traced)  # its own weights, in the same graph
    assert [node.name for node in from_cache.graph] == [node.name for node in traced.graph]


def test_weights_that_are_not_transposed_are_the_heads_own_memory() -> None:
    head = build_head("BertModel")
    model = trace(head, **interface("BertModel"))
    stored = model.graph.initializers["bert.embeddings.word_embeddings.weight"].const_value
    head.bert.embeddings.word_embeddings.weight.data.fill_(7.0)
    assert float(stored.numpy()[0, 0]) == 7.0


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert TraceCache.from_environment() is None
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "made"))
    trace(build_head("BertModel", num_hidden_layers=1), **interface("BertModel"))
    assert [path.suffix for path in (tmp_path / "made").iterdir()] == [".trace"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:0],
        lambda whole: whole[:-40],
        lambda whole: b"x" + whole[1:],
        lambda whole: whole + b"x",
    ],
    ids=["empty", "cut off", "altered", "longer"],
)
def test_a_damaged_file_is_no_graph(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    cache = TraceCache(tmp_path)
    cache.write(KEY, b"graph" * 20)
    assert cache.read(KEY) == b"graph" * 20
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.read(KEY) is None


def test_a_damaged_file_is_replaced_by_a_fresh_trace(tmp_path: Path) -> None:
    cache = TraceCache(tmp_path)
    head = build_head("BertModel", num_hidden_layers=1)
    graph_key = key(head)
    assert graph_key is not None
    cache.write(graph_key, b"no graph")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    traced = trace(head, **interface("BertModel"), cache=cache)
    assert len(linear_layers_of(traced)) == 7
    assert list(tmp_path.iterdir()) == [path]
    graph = cache.read(graph_key)
    assert graph is not None
    assert len(onnx.load_model_from_string(graph).graph.node) == len(traced.graph)


def test_what_is_not_there_is_no_graph(tmp_path: Path) -> None:
    assert TraceCache(tmp_path / "none").read(KEY) is None


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    cache = TraceCache(tmp_path / "file")
    with pytest.warns(RuntimeWarning, match="trace cache .* cannot be written: got"):
        cache.write(KEY, b"graph")
    assert cache.read(KEY) is None


def test_a_write_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "replace", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        TraceCache(tmp_path).write(KEY, b"graph")
    assert not list(tmp_path.iterdir())


def test_weights_have_no_part_in_the_key() -> None:
    assert key(build_head("BertModel", seed=0)) == key(build_head("BertModel", seed=1))


@pytest.mark.parametrize(
    "fields",
    [
        {"vocab_size": 38},
        {"hidden_size": 12},
        {"num_hidden_layers": 3},
        {"num_attention_heads": 2},
        {"intermediate_size": 16},
        {"max_position_embeddings": 20},
        {"type_vocab_size": 3},
        {"hidden_act": "relu"},
        {"layer_norm_eps": 1e-6},
        {"is_decoder": True},
        {"position_embedding_type": "relative_key"},
    ],
    ids=str,
)
def test_every_field_of_a_config_is_in_the_key(fields: dict[str, Any]) -> None:
    assert key(build_head("BertModel", **fields)) != key(build_head("BertModel"))


def test_kinds_of_relative_positions_have_keys_of_their_own() -> None:
    """Both have the same tensors."""
    kinds = ("relative_key", "relative_key_query")
    assert len({key(build_head("BertModel", position_embedding_type=kind)) for kind in kinds}) == 2


def test_every_head_has_a_key_of_its_own() -> None:
    heads = [build_head(name) for name in ONE_BERT]
    heads.append(BertModel(config_of(), add_pooling_layer=False).eval())
    same_call = [key(head, **interface("BertModel")) for head in heads]
    assert None not in same_call
    assert len(set(same_call)) == len(heads)


def test_every_setting_of_a_sentence_embedding_is_in_the_key() -> None:
    def with_dense(activation: str, *, bias: bool) -> SentenceModules:
        layer = Dense(
            in_features=16,
            out_features=16,
            activation=activation,
            weight=torch.ones(16, 16),
            bias=torch.ones(16) if bias else None,
        )
        return SentenceModules(dense=(layer,))

    settings = [
        SentenceModules(pooling=("mean",)),
        SentenceModules(pooling=("max",)),
        SentenceModules(pooling=("mean", "max")),
        SentenceModules(pooling=("mean",), normalize=True),
        SentenceModules(pooling=("mean",), include_prompt=False),
        with_dense("tanh", bias=True),
        with_dense("tanh", bias=False),
        with_dense("relu", bias=True),
    ]
    keys = {key(build_head("BertForSentenceEmbedding", pooling=each)) for each in settings}
    assert None not in keys
    assert len(keys) == len(settings)


def test_a_shared_parameter_is_in_the_key() -> None:
    tied, untied = build_head("BertForMaskedLM"), build_head("BertForMaskedLM")
    tied.get_submodule(
        "cls.predictions.decoder"
    ).weight = tied.bert.embeddings.word_embeddings.weight
    assert key(tied) != key(untied)


@pytest.mark.parametrize(
    "change",
    [
        {"opset": 22},
        {"max_length": 11},
        {"outputs": (("states", ("batch", "sequence", 8)),)},
        {"inputs": (("ids", ("batch", "sequence")),)},
    ],
    ids=str,
)
def test_the_call_is_in_the_key(change: dict[str, Any]) -> None:
    head = build_head("BertModel")
    assert key(head, **change) != key(head)


class Foreign(BertHead):
    """A head whose source is not in the package."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        return (input_ids + attention_mask + token_type_ids).float()


def with_a_foreign_layer(head: BertHead) -> None:
    head.bert.encoder.layer.append(Foreign())


def with_a_hook(head: BertHead) -> None:
    head.bert.encoder.register_forward_hook(lambda *call: call[-1] + 1)


def with_a_tensor_of_its_own(head: BertHead) -> None:
    head.bert.offset = [torch.ones(8)]  # type: ignore[assignment]


def with_another_forward(head: BertHead) -> None:
    head.forward = lambda *inputs: inputs[0].float()  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "alter",
    [with_a_foreign_layer, with_a_hook, with_a_tensor_of_its_own, with_another_forward],
)
def test_what_the_key_cannot_hold_is_never_cached(alter: Callable[[BertHead], None]) -> None:
    head = build_head("BertModel")
    assert key(head) is not None
    alter(head)
    assert key(head) is None


def test_a_head_without_a_key_is_traced_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        trace(
            Foreign().eval(),
            inputs=interface("BertModel")["inputs"],
            outputs=(("logits", ("batch", "sequence")),),
            max_length=12,
            cache=TraceCache(tmp_path),
        )
    assert not list(tmp_path.iterdir())
