"""Activation ranges: the float graph runs on calibration rows while observers watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from bert_export.errors import QuantizationError
from bert_export.quantization.observers import Observer
from bert_export.runtime.batching import Row, batch_rows, pad_rows
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession
from bert_export.runtime.sessions.session import Feeds

__all__ = ["collect_ranges"]

_TOKEN_BUDGET = 512
"""Padded tokens per call: every observed activation of a call is in memory at once."""


def collect_ranges(
    model: ir.Model,
    activations: Sequence[str],
    rows: Sequence[Row],
    *,
    folder: Path,
    pad_id: int,
    shape_feeds: Callable[[Feeds], Feeds],
    make_observer: Callable[[], Observer],
    threads: int | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[float, float]]:
    """Observe activations of the float graph.

    Args:
        model: The float graph.
        activations: Names of the values to observe, float32 (B, S, ...) or (B, ...).
        rows: Calibration rows; padding is excluded from every range.
        folder: Where the graph with the observed outputs is written while it is needed.
        pad_id: Id of ``[PAD]``.
        shape_feeds: Gives (B, S) feeds the axes of the graph's inputs.
        make_observer: Makes one observer per activation.
        threads: Threads inside an operator.
        advance: Called with (rows done, rows in all) after each batch.

    Returns:
        Lower and upper bound of each activation.

    Raises:
        QuantizationError: An activation holds a value that is not finite.
    """
    observers = {name: make_observer() for name in activations}
    path = folder / "observed.onnx"
    data = path.with_suffix(".onnx.data")
    _save_with_outputs(model, activations, path, data)
    order = batch_rows([len(row) for row in rows], token_budget=_TOKEN_BUDGET)
    done = 0
    with OnnxRuntimeSession(path, threads=threads) as session:
        for batch in order:
            feeds = pad_rows([rows[index] for index in batch], pad_id=pad_id)
            outputs = session.run(shape_feeds(feeds))
            kept = feeds["attention_mask"].astype(bool)  # (B, S)
            for name, observer in observers.items():
                observer.see(_unpadded(name, outputs[name], kept))
            done += len(batch)
            if advance is not None:
                advance(done, len(rows))
    path.unlink()
    data.unlink()
    return {name: observer.range() for name, observer in observers.items()}


def _save_with_outputs(model: ir.Model, names: Sequence[str], path: Path, data: Path) -> None:
    """Write the graph with further outputs; the model itself is as before afterwards."""
    graph = model.graph
    known = {value.name for value in graph.outputs}
    values = {value.name: value for node in graph for value in node.outputs}
    added = [values[name] for name in names if name not in known]
    graph.outputs.extend(added)
    try:
        ir.save(model, path, external_data=data.name)
    finally:
        for _ in added:
            graph.outputs.pop()


def _unpadded(
    name: str, array: np.ndarray[Any, np.dtype[Any]], kept: np.ndarray[Any, np.dtype[np.bool_]]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The activation's rows that belong to tokens of the text."""
    if array.shape[:2] == kept.shape:
        array = array[kept]
    if not np.isfinite(array).all():
        raise QuantizationError(
            f"activation {name} is not finite on the calibration set",
            expected="finite values",
            got=f"{np.count_nonzero(~np.isfinite(array))} others",
            fix="Check the checkpoint's weights",
        )
    return array
