"""Comparing the graph that answers with the manifest that speaks for it.

A manifest that is valid by itself may still be that of another graph: files were mixed up, or
edited. Every engine would answer something, most of them without a word. So whoever opens an
engine compares first, in one place for all engines:

- the task is one that the traced head serves;
- inputs and outputs of its graph files are those of their records, name by name, axis by axis;
- they are the task's, with as many labels as the manifest names;
- every file that the graph reads weights from is listed with its hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bert_export.bundle.graph_file import read_graph_file
from bert_export.bundle.schema import EngineRecord, GraphRecord, Manifest, TensorSpec
from bert_export.errors import BundleError, shown
from bert_export.tasks import Task, find_task
from bert_export.tasks.interface import (
    GraphInterface,
    GraphTensor,
    has_source,
    is_inner_output,
    split_interface,
    text_interface,
    with_inner_outputs,
)

__all__ = ["check_graph"]

_AGAIN = "Export the bundle again"


def check_graph(folder: Path, manifest: Manifest, engine: EngineRecord) -> None:
    """Compare an engine's graph with its record and with the manifest's task.

    Args:
        folder: Of the bundle.
        manifest: Its manifest.
        engine: One of the manifest's entries.

    Raises:
        BundleError: They contradict each other, or the graph file cannot be read.
        TaskError: The manifest's task is unknown.
    """
    task = find_task(manifest.task)
    if task.head != manifest.model.architecture:
        raise BundleError(
            f"bundle {folder} has a task that its model does not serve",
            expected=f"a task of {manifest.model.architecture}",
            got=f"{task.name}, of {task.head}",
            fix=_AGAIN,
        )
    for record in engine.graph.graphs:
        _check_file(folder, manifest, record)
    _check_task(folder, task, manifest, engine)
    if engine.text is not None:
        _check_file(folder, manifest, engine.text.graph)


def _check_file(folder: Path, manifest: Manifest, record: GraphRecord) -> None:
    """Compare a graph file with its record, and its weights with the manifest's files."""
    path = folder / record.file
    graph = read_graph_file(path)
    for what, declared, present in (
        ("inputs", record.inputs, graph.inputs),
        ("outputs", record.outputs, graph.outputs),
    ):
        if list(map(_interface, declared)) != list(map(_interface, present)):
            raise BundleError(
                f"graph {path} has other {what} than the manifest says",
                expected=_listed(declared),
                got=_listed(present),
                fix=_AGAIN,
            )
    unlisted = sorted(graph.data_files - manifest.files.keys())
    if unlisted:
        raise BundleError(
            f"graph {path} reads a file that the bundle does not list",
            expected="weights whose size and sha256 are in the manifest",
            got=shown(unlisted[0]),
            fix=_AGAIN,
        )


def _check_task(folder: Path, task: Task, manifest: Manifest, engine: EngineRecord) -> None:
    """Compare a record's interfaces with those that graphs of its task may have."""
    model = manifest.model
    sizes = {
        "labels": len(manifest.labels),
        "hidden": model.hidden_size,
        "vocabulary": model.vocab_size,
    }
    if bool(manifest.labels) != task.has_labels:
        raise BundleError(
            f"bundle {folder} has labels that do not fit its task {task.name}",
            expected="a name for each label" if task.has_labels else "none",
            got=f"{len(manifest.labels)} labels",
            fix=_AGAIN,
        )
    interfaces = task.graph_interfaces(
        layers=model.num_hidden_layers,
        heads=model.num_attention_heads,
        head_size=model.hidden_size // model.num_attention_heads,
    )
    asked = {
        spec.name.partition(".")[0] for spec in engine.graph.outputs if is_inner_output(spec.name)
    }
    if asked:
        interfaces = tuple(
            with_inner_outputs(
                interface,
                asked,
                layers=model.num_hidden_layers,
                heads=model.num_attention_heads,
            )
            for interface in interfaces
        )
    fits = _check_interface(
        f"bundle {folder} has a graph for {engine.target} that does not fit its task {task.name}",
        engine.graph,
        interfaces,
        sizes,
    )
    if engine.text is not None:
        form, offsets = engine.text.form, task.text_offsets
        texts = text_interface(fits, form, offsets=offsets) if form in task.text_forms else None
        _check_interface(
            f"bundle {folder} has a text graph for {engine.target} that does not fit its task "
            f"{task.name}",
            engine.text.graph,
            () if texts is None else (texts,),
            sizes,
        )


def _check_interface(
    what: str, graph: GraphRecord, interfaces: Sequence[GraphInterface], sizes: Mapping[str, int]
) -> GraphInterface:
    """The one of some interfaces that a graph has."""
    for interface in interfaces:
        # An encoder-decoder's whole interface is that of two graphs.
        parts = split_interface(interface) if has_source(interface.inputs) else (interface,)
        if len(parts) == len(graph.graphs) and all(
            _fits(own.inputs, part.inputs, {}) and _fits(own.outputs, part.outputs, sizes)
            for own, part in zip(graph.graphs, parts, strict=True)
        ):
            return interface
    raise BundleError(
        what,
        expected=" or ".join(
            dict.fromkeys(
                f"({_listed(_sized(interface.inputs, {}))}) => "
                f"({_listed(_sized(interface.outputs, sizes))})"
                for interface in interfaces
            )
        )
        or "none",
        got=f"({_listed(graph.inputs)}) => ({_listed(graph.outputs)})",
        fix=_AGAIN,
    )


def _fits(
    specs: Sequence[TensorSpec], tensors: Sequence[GraphTensor], sizes: Mapping[str, int]
) -> bool:
    """Whether tensors of a graph are those of an interface."""
    return len(specs) == len(tensors) and all(
        (spec.name, spec.dtype, len(spec.shape)) == (tensor.name, tensor.dtype, len(tensor.shape))
        and all(map(_axis_fits, spec.shape, tensor.shape))
        for spec, tensor in zip(specs, _sized(tensors, sizes), strict=True)
    )


def _axis_fits(found: str | int, wanted: str | int) -> bool:
    """Whether an axis is as wanted; a size that the manifest does not tell may be any."""
    return found == wanted or (wanted == "embedding" and isinstance(found, int))


def _sized(tensors: Sequence[GraphTensor], sizes: Mapping[str, int]) -> list[GraphTensor]:
    """The tensors, with sizes in place of their names where they are known."""
    return [
        GraphTensor(
            tensor.name,
            tuple(
                sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in tensor.shape
            ),
            tensor.dtype,
        )
        for tensor in tensors
    ]


def _interface(spec: TensorSpec) -> tuple[object, ...]:
    return spec.name, spec.dtype, spec.shape


def _listed(specs: Sequence[TensorSpec] | Sequence[GraphTensor]) -> str:
    return ", ".join(
        f"{spec.dtype}[{', '.join(map(str, spec.shape))}] {spec.name}" for spec in specs
    )
