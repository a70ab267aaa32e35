"""Activations of the float graph on calibration rows, and the ranges that observers give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.errors import QuantizationError
from bert_export.passes.open_graph import open_graph
from bert_export.quantization.calibration.batches import run_batches
from bert_export.quantization.calibration.observers import Observer
from bert_export.runtime.batching import Row
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession
from bert_export.runtime.sessions.session import Feeds

__all__ = ["collect_ranges", "observe"]


def observe(
    model: ir.Model,
    activations: Sequence[str],
    rows: Sequence[Row],
    *,
    folder: Path,
    feeds: Callable[[Sequence[Row]], Feeds],
    threads: int | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run the float graph and give every activation of every batch, with its name.

    Args:
        model: The float graph.
        activations: Names of the values to observe, float32 (B, S, ...) or (B, ...).
        rows: Calibration rows.
        folder: Where the graph with these values as outputs is written while it is opened.
        feeds: The graph's inputs for a batch of rows.
        threads: Threads inside an operator.
        advance: Called with (rows done, rows in all) after each batch.

    Yields:
        A name and its values without padding: float32 (tokens, C).

    Raises:
        QuantizationError: An activation holds a value that is not finite.
    """
    with _open_with_outputs(model, activations, folder, threads) as session:
        for inputs, outputs in run_batches(session, rows, feeds=feeds, advance=advance):
            mask = inputs["attention_mask"].astype(bool)  # (B, S) or (B, 1, S)
            is_token = mask.reshape(-1, mask.shape[-1])  # (B, S)
            for name in activations:
                yield name, _unpadded(name, outputs[name], is_token)


def collect_ranges(
    model: ir.Model,
    activations: Sequence[str],
    rows: Sequence[Row],
    *,
    make_observer: Callable[[], Observer],
    transforms: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] | None = None,
    **settings: Any,
) -> dict[str, tuple[float, float]]:
    """Observe activations of the float graph and give the range of each.

    Args:
        model: The float graph.
        activations: Names of the values to observe.
        rows: Calibration rows; padding is excluded from every range.
        make_observer: Makes one observer per activation.
        transforms: By name, what an activation, float32 (tokens, C), is turned into before it is
            observed. One without a transform is observed as it is.
        settings: The further arguments of :func:`observe`.

    Returns:
        Lower and upper bound of each activation.

    Raises:
        QuantizationError: An activation holds a value that is not finite.
    """
    observers = {name: make_observer() for name in activations}
    transforms = transforms or {}
    for name, values in observe(model, activations, rows, **settings):
        observers[name].observe(transforms[name](values) if name in transforms else values)
    return {name: observer.range() for name, observer in observers.items()}


def _open_with_outputs(
    model: ir.Model, names: Sequence[str], folder: Path, threads: int | None
) -> OnnxRuntimeSession:
    """Open the graph with further values as outputs; the model itself stays as it was."""
    graph = model.graph
    outputs = {value.name for value in graph.outputs}
    values = {value.name: value for node in graph for value in node.outputs}
    added = [values[name] for name in names if name not in outputs]
    graph.outputs.extend(added)
    try:
        return open_graph(model, folder=folder, threads=threads)
    finally:
        for _ in added:
            graph.outputs.pop()


def _unpadded(name: str, array: NDArray[np.float32], is_token: NDArray[np.bool_]) -> Any:
    """The rows of an activation that belong to tokens of the text, (tokens, C)."""
    if array.ndim > 2 and array.shape[:2] == is_token.shape and not is_token.all():
        array = array[is_token]
    if not _is_finite(array):
        raise QuantizationError(
            f"activation {name} is not finite on the calibration set",
            expected="finite values",
            got=f"{np.count_nonzero(~np.isfinite(array))} others",
            fix="Check the checkpoint's weights",
        )
    return array.reshape(-1, array.shape[-1])


def _is_finite(array: NDArray[np.float32]) -> bool:
    """Whether all values are finite.

    Their sum is quick to take and is finite only if they are; a sum that overflows proves nothing.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())
