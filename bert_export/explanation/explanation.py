"""What an explanation says, and the call that makes one; onnx_ir is imported inside that call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

from bert_export.bundle import (
    GraphRecord,
    Manifest,
    PassRecord,
    RefusalRecord,
    read_manifest,
    read_steadily,
)
from bert_export.bundle.program import PROGRAM_SUFFIX
from bert_export.errors import InputError, MissingExtraError, TaskError
from bert_export.explanation.cost import STAGES, Cost
from bert_export.explanation.programs import price_program

__all__ = ["Explanation", "PassChanges", "explain"]

_LENGTH, _CHOICES = 128, 4


@dataclass(frozen=True, slots=True)
class PassChanges:
    """What a pass did.

    Args:
        name: Verb and object, as its file is called.
        rewritten: How many sites it rewrote.
        refusals: Why it left others, with the node.
        nodes: How many nodes the graph had before and after.
        operators: How often each operator stood in the graph before and after, where that changed.
    """

    name: str
    rewritten: int
    refusals: tuple[RefusalRecord, ...]
    nodes: tuple[int, int]
    operators: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a bundle's graph looks as it does.

    Args:
        task: The bundle's task.
        target: The target whose graph is explained.
        precision: Precision of that graph.
        axes: Size of every dynamic axis that the costs hold for.
        passes: What each pass did, in the order in which they ran.
        stages: Cost by stage, see :data:`~bert_export.explanation.cost.STAGES`; stages that compute
            nothing are left out.
        layers: Cost of each encoder layer by stage.
        total: Cost of the whole graph.
    """

    task: str
    target: str
    precision: str
    axes: Mapping[str, int]
    passes: tuple[PassChanges, ...]
    stages: Mapping[str, Cost]
    layers: tuple[Mapping[str, Cost], ...]
    total: Cost


def explain(
    bundle: str | Path, *, target: str | None = None, shape: tuple[int, ...] | None = None
) -> Explanation:
    """Explain what the passes did to a graph and what it costs; weights are not read.

    Args:
        bundle: The bundle's folder.
        target: The target whose graph is explained; the bundle's default when ``None``.
        shape: Batch and sequence, or batch, choices and sequence where the graph has choices. When
            ``None``, 1 text of 128 tokens (with 4 choices), or of fewer where the bundle's rows are
            shorter.

    Returns:
        Figures that follow from the graph file and the manifest alone. There is one masked position
        per text. Of a branch that is chosen at run time, the dearer side counts.

    Raises:
        BundleError: The bundle is damaged, or its graph holds an operator without a known cost.
        InputError: The shape does not fit the graph.
        MissingExtraError: ``onnx_ir`` is not installed.
    """
    folder = Path(bundle)
    # Manifest and graph belong together, though the bundle may be replaced meanwhile.
    return read_steadily(folder, lambda: _explain(folder, target, shape))


def _explain(folder: Path, target: str | None, shape: tuple[int, ...] | None) -> Explanation:
    manifest = read_manifest(folder)
    engine = manifest.engine(target)
    if engine.graph.encoder is not None:
        raise TaskError(
            f"task {manifest.task} cannot be explained",
            expected="a task of a single graph",
            got="an encoder's and a decoder's graph",
        )
    axes = _axes(manifest, engine.graph, shape)
    priced = _priced(folder / engine.graph.file, axes=axes, layers=manifest.model.num_hidden_layers)
    summed = {
        stage: reduce(add, (cost for (_, other), cost in priced.items() if other == stage), Cost())
        for stage in STAGES
    }
    return Explanation(
        task=manifest.task,
        target=engine.target,
        precision=engine.precision,
        axes=axes,
        passes=tuple(map(_changes, engine.passes)),
        stages={stage: cost for stage, cost in summed.items() if cost != Cost()},
        layers=tuple(
            {stage: priced[layer, stage] for stage in STAGES if (layer, stage) in priced}
            for layer in range(manifest.model.num_hidden_layers)
        ),
        total=reduce(add, summed.values(), Cost()),
    )


def _priced(
    path: Path, *, axes: Mapping[str, int], layers: int
) -> dict[tuple[int | None, str], Cost]:
    """The costs of a graph file or a program."""
    if path.suffix == PROGRAM_SUFFIX:
        return price_program(path, axes=axes, layers=layers)
    try:
        from bert_export.explanation.stages import price_stages
    except ImportError as error:
        raise MissingExtraError(f"explain ({error.name})", extra="export") from error
    return price_stages(path, axes=axes, layers=layers)


def _axes(manifest: Manifest, graph: GraphRecord, shape: tuple[int, ...] | None) -> dict[str, int]:
    """A size for every dynamic axis of the graph's inputs."""
    names = ("batch", "choices", "sequence")
    present = tuple(name for name in names if name in graph.inputs[0].shape)
    longest = manifest.tokenizer.max_length
    defaults = {"batch": 1, "choices": _CHOICES, "sequence": min(_LENGTH, longest)}
    sizes = tuple(defaults[name] for name in present) if shape is None else shape
    text = "x".join(map(str, sizes))
    if len(sizes) != len(present):
        raise InputError(
            f"shape {text} does not fit task {manifest.task}",
            expected=" x ".join(present),
            got=f"{len(sizes)} sizes",
        )
    axes = dict(zip(present, sizes, strict=True))
    if min(sizes) < 1 or axes["sequence"] > longest:
        raise InputError(
            f"shape {text} does not fit the bundle",
            expected=f"sizes from 1, and a sequence of at most {longest}",
            got=text,
        )
    if any("masked" in spec.shape for spec in graph.inputs):
        axes["masked"] = axes["batch"]
    if any("past" in spec.shape for spec in graph.inputs):  # a first call, whose cache is empty
        axes |= {"past": 0, "total": axes["sequence"]}
    return axes


def _changes(record: PassRecord) -> PassChanges:
    before, after = record.operators_before, record.operators_after
    return PassChanges(
        name=record.name,
        rewritten=record.rewritten,
        refusals=record.refusals,
        nodes=(sum(before.values()), sum(after.values())),
        operators={
            name: (before.get(name, 0), after.get(name, 0))
            for name in sorted(before.keys() | after.keys())
            if before.get(name, 0) != after.get(name, 0)
        },
    )
