"""A graph that is not the one that the manifest speaks of is refused, whatever the engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from onnx import helper

from bert_export.bundle import (
    SCHEMA_VERSION,
    EngineRecord,
    GraphRecord,
    Manifest,
    ModelRecord,
    TensorSpec,
    TokenizerRecord,
    check_graph,
    hash_file,
    read_manifest,
    write_manifest,
)
from bert_export.errors import BundleError, TaskError
from bert_export.exporter import Export
from bert_export.runtime.loading import load
from bert_export.tasks import TASKS, GraphInterface, GraphTensor, Task, find_task
from tests.support import ONE_GRAPH

replace = msgspec.structs.replace

SIZES = {"labels": 3, "hidden": 8, "vocabulary": 40, "embedding": 5}


@pytest.fixture(scope="module")
def tagger(tiny_export: Callable[..., Export]) -> Export:
    return tiny_export("token-classification", "BertForTokenClassification")


@pytest.fixture
def bundle(tagger: Export, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tagger.path, tmp_path / "bundle"))


def edit(bundle: Path, **changes: Any) -> Manifest:
    manifest = replace(read_manifest(bundle), **changes)
    write_manifest(bundle, manifest)
    return manifest


def refusal(bundle: Path) -> str:
    """What ``load`` says, one line."""
    with pytest.raises(BundleError) as caught:
        load(bundle, threads=1)
    return str(caught.value)


def with_graph(engine: EngineRecord, **changes: Any) -> EngineRecord:
    return replace(engine, graph=replace(engine.graph, **changes))


def specs_of(tensors: Iterable[GraphTensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=tensor.name,
            dtype=tensor.dtype,
            shape=tuple(SIZES.get(str(axis), axis) for axis in tensor.shape),
        )
        for tensor in tensors
    )


def values_of(specs: Iterable[TensorSpec]) -> list[onnx.ValueInfoProto]:
    types = {"int64": onnx.TensorProto.INT64, "float32": onnx.TensorProto.FLOAT}
    return [
        helper.make_tensor_value_info(spec.name, types[spec.dtype], spec.shape) for spec in specs
    ]


def bundle_of(folder: Path, task: Task, interface: GraphInterface) -> Manifest:
    """A bundle of which only the manifest and the graph's interface are there."""
    graph = GraphRecord(
        file="graph.onnx",
        opset=20,
        inputs=specs_of(interface.inputs),
        outputs=specs_of(interface.outputs),
    )
    proto = helper.make_graph([], "g", values_of(graph.inputs), values_of(graph.outputs))
    (folder / graph.file).write_bytes(helper.make_model(proto).SerializeToString())
    return Manifest(
        schema_version=SCHEMA_VERSION,
        task=task.name,
        labels=("a", "b", "c") if task.has_labels else (),
        model=ModelRecord(
            source="x",
            architecture=task.head,
            weights_sha256="",
            parameters=1,
            hidden_size=SIZES["hidden"],
            num_hidden_layers=1,
            num_attention_heads=1,
            vocab_size=SIZES["vocabulary"],
            type_vocab_size=2,
            max_position_embeddings=32,
        ),
        tokenizer=TokenizerRecord(file="tokenizer.json", max_length=32, do_lower_case=True),
        postprocessing={},
        default_target="onnxruntime",
        engines=(EngineRecord(target="onnxruntime", precision="fp32", graph=graph),),
        versions={},
        files={},
    )


@pytest.mark.parametrize("task", ONE_GRAPH.values(), ids=list(ONE_GRAPH))
def test_graphs_fit_their_own_head_alone(tmp_path: Path, task: Task) -> None:
    for interface in task.graph_interfaces():
        manifest = bundle_of(tmp_path, task, interface)
        check_graph(tmp_path, manifest, manifest.engine())
        for other in TASKS.values():
            renamed = replace(manifest, task=other.name)
            if other.head != task.head:
                with pytest.raises(BundleError, match="a task that its model does not serve"):
                    check_graph(tmp_path, renamed, manifest.engine())
            # Where the model's class was edited too, the graph itself still tells most heads apart.
            fake = replace(
                renamed,
                model=replace(manifest.model, architecture=other.head),
                labels=("a", "b", "c") if other.has_labels else (),
            )
            if interface not in other.graph_interfaces():
                with pytest.raises(BundleError, match="that does not fit its task"):
                    check_graph(tmp_path, fake, manifest.engine())


def test_a_task_that_there_is_not(bundle: Path) -> None:
    edit(bundle, task="translation")
    with pytest.raises(TaskError, match="task 'translation' is unknown"):
        load(bundle)


@pytest.mark.parametrize("task", ["text-classification", "question-answering", "fill-mask"])
def test_a_task_of_another_head(bundle: Path, task: str) -> None:
    edit(bundle, task=task)
    assert "expected a task of BertForTokenClassification" in refusal(bundle)


@pytest.mark.parametrize("labels", [(), ("O",), tuple("abcdefghijkl")])
def test_labels_of_another_head(bundle: Path, labels: tuple[str, ...]) -> None:
    edit(bundle, labels=labels)
    assert "labels" in refusal(bundle)


def test_labels_of_a_head_that_has_none(tmp_path: Path) -> None:
    task = find_task("question-answering")
    manifest = replace(bundle_of(tmp_path, task, task.graph_interfaces()[0]), labels=("a", "b"))
    with pytest.raises(BundleError, match=r"labels that do not fit .*: expected none, got 2 label"):
        check_graph(tmp_path, manifest, manifest.engine())


@pytest.mark.parametrize(
    "change",
    [
        {"name": "scores"},
        {"dtype": "float16"},
        {"shape": ("batch", "sequence")},
        {"shape": ("sequence", "batch", 2)},
    ],
)
def test_a_record_of_another_interface(bundle: Path, change: dict[str, Any]) -> None:
    manifest = read_manifest(bundle)
    engine = manifest.engine()
    (logits,) = engine.graph.outputs
    edit(bundle, engines=(with_graph(engine, outputs=(replace(logits, **change),)),))
    text = refusal(bundle)
    assert "has other outputs than the manifest says: expected" in text
    assert "got float32[batch, sequence, " in text


def test_a_record_with_another_input(bundle: Path) -> None:
    engine = read_manifest(bundle).engine()
    further = TensorSpec(name="positions", dtype="int64", shape=("batch", "sequence"))
    edit(bundle, engines=(with_graph(engine, inputs=(*engine.graph.inputs, further)),))
    assert "has other inputs than the manifest says" in refusal(bundle)


def relist(bundle: Path, name: str) -> None:
    """List a file with the hash that it has now."""
    files = read_manifest(bundle).files
    edit(bundle, files=files | {name: hash_file(bundle / name)})


def test_a_graph_of_another_head_under_the_right_name(bundle: Path) -> None:
    name = read_manifest(bundle).engine().graph.file
    model = onnx.load_model_from_string((bundle / name).read_bytes())
    old = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["other" if output == old else output for output in node.output]
    model.graph.output[0].name = "other"
    (bundle / name).write_bytes(model.SerializeToString())
    relist(bundle, name)
    assert "has other outputs than the manifest says" in refusal(bundle)


def test_weights_that_are_not_listed(bundle: Path) -> None:
    files = read_manifest(bundle).files
    edit(bundle, files={name: file for name, file in files.items() if name != "weights.data"})
    assert "got 'weights.data'" in refusal(bundle)


@pytest.mark.parametrize("location", ["other.data", "../weights.data", "/etc/hostname"])
def test_weights_in_another_file(bundle: Path, location: str) -> None:
    name = read_manifest(bundle).engine().graph.file
    model = onnx.load_model_from_string((bundle / name).read_bytes())
    outside = next(tensor for tensor in model.graph.initializer if tensor.external_data)
    (entry,) = (entry for entry in outside.external_data if entry.key == "location")
    entry.value = location
    shutil.copy(bundle / "weights.data", bundle / "other.data")
    (bundle / name).write_bytes(model.SerializeToString())
    relist(bundle, name)
    text = refusal(bundle)
    assert "reads a file that the bundle does not list" in text
    assert f"got {location!r}" in text
