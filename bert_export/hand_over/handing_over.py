"""A bundle becomes a folder that another tool loads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bert_export.bundle import Manifest, check_unchanged, replace_folder
from bert_export.errors import BundleError, InputError, TaskError, one_of, shown
from bert_export.hand_over.comparison import compare_graph
from bert_export.hand_over.consumer import TARGET, Bundle, Consumer, Written
from bert_export.hand_over.table import CONSUMERS
from bert_export.hand_over.trying import try_folder
from bert_export.runtime.hub import find_bundle
from bert_export.runtime.loading import load

__all__ = ["HandedOver", "hand_over"]


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What was handed over.

    Args:
        folder: Where it is.
        consumer: Who reads it.
        opset: Of the graph; ``None`` where the folder holds the bundle itself.
        largest_difference: Between the graph's outputs in a default ONNX Runtime session and the
            bundle's; ``None`` as above.
        loaded: What became of loading it in the consumer.
        use: How the consumer loads it, lines of its language.
        notes: What its user must know.
    """

    folder: Path
    consumer: str
    opset: int | None
    largest_difference: float | None
    loaded: str
    use: tuple[str, ...]
    notes: tuple[str, ...]


def hand_over(
    bundle: str | Path,
    to: str,
    output: str | Path,
    *,
    opset: int | None = None,
    python: str | Path | None = None,
) -> HandedOver:
    """Write a folder that another tool loads, and prove that it answers as the bundle.

    The graph is run in a default ONNX Runtime session, as strangers run it, and the folder is
    loaded in the consumer where that is installed. Where either differs nothing is written.

    Args:
        bundle: A bundle with an engine for ONNX Runtime: a folder, or an id of the hub.
        to: A name in :data:`bert_export.hand_over.CONSUMERS`.
        output: The folder; it must not exist.
        opset: The graph's opset is not above it. Attention is then written with an older operator
            where it must be.
        python: The interpreter of an environment that has the consumer; this one when ``None``.

    Raises:
        InputError: No consumer has that name.
        TaskError: The consumer cannot read the bundle's head.
        BundleError: There is no such bundle, it has no engine for ONNX Runtime, it is replaced
            meanwhile, or ``output`` exists.
        TargetError: The graph cannot take the form or the opset.
        VerificationError: The folder answers otherwise than the bundle.
    """
    if to not in CONSUMERS:
        raise InputError(f"consumer {shown(to)} is unknown", **one_of(to, CONSUMERS))
    consumer, place = CONSUMERS[to], Path(output)
    if os.path.lexists(place):
        raise BundleError(f"output {place} exists already", fix="Remove it, or pass another -o")
    folder = find_bundle(bundle)
    with load(folder, target=TARGET, threads=1) as pipeline:
        opened = Bundle(folder, pipeline.manifest, pipeline)
        _check_task(consumer, pipeline.manifest)
        with replace_folder(place) as new:
            named = new / place.name  # consumers name a model by its folder
            named.mkdir()
            written = consumer.write(opened, named, opset)
            difference = None if written.graph is None else compare_graph(opened, written.graph)
            loaded = try_folder(consumer, opened, named, python=python)
            check_unchanged(folder, opened.manifest, f"handed over to {to}")
            _lift(named, new)
    return _report(consumer, place, written, difference, loaded)


def _check_task(consumer: Consumer, manifest: Manifest) -> None:
    if manifest.task in consumer.tasks:
        return
    raise TaskError(
        f"task {manifest.task} cannot be handed over to {consumer.name}",
        expected=f"one of {', '.join(consumer.tasks)}",
        got=consumer.why_not.get(manifest.task, manifest.task),
    )


def _lift(inner: Path, outer: Path) -> None:
    """Move what a folder holds into the one that it is in."""
    holder = inner.rename(outer / ".lifted")  # a file of its may have its name
    for path in holder.iterdir():
        path.rename(outer / path.name)
    holder.rmdir()


def _report(
    consumer: Consumer, place: Path, written: Written, difference: float | None, loaded: str
) -> HandedOver:
    return HandedOver(
        folder=place,
        consumer=consumer.name,
        opset=written.opset,
        largest_difference=difference,
        loaded=loaded,
        use=written.use,
        notes=written.notes,
    )
