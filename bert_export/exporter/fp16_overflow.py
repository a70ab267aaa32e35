"""Which numbers of a graph FP16 cannot hold, found on real text and told by node.

The FP32 graph is run with one further number per node: the largest magnitude of its result. Padding
counts too: a value that is infinite at a padded token becomes not-a-number where attention weighs
it with 0, and reaches the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import OverflowRecord
from bert_export.errors import QuantizationError
from bert_export.passes.convert_precision import LARGEST
from bert_export.passes.editing import attribute
from bert_export.passes.open_graph import open_graph
from bert_export.quantization.calibration.batches import run_batches
from bert_export.runtime.batching import Row
from bert_export.runtime.sessions.session import Feeds

__all__ = ["FP16_LIMIT", "find_overflow"]

FP16_LIMIT = LARGEST[ir.DataType.FLOAT16] / 2
"""A node stays FP32 from here: other text may reach twice what the calibration set does."""

_CUBED_LIMIT = LARGEST[ir.DataType.FLOAT16] ** (1 / 3)
"""GELU by tanh raises its input to the third power."""


def find_overflow(
    model: ir.Model,
    rows: Sequence[Row],
    *,
    folder: Path,
    feeds: Callable[[Sequence[Row]], Feeds],
    threads: int | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> tuple[OverflowRecord, ...]:
    """Run the FP32 graph on real text and compare its values with what FP16 holds.

    Args:
        model: The FP32 graph in its target's form; a clone, which is changed.
        rows: Calibration rows.
        folder: Where the graph is written while it is opened.
        feeds: The graph's inputs for a batch of rows.
        threads: Threads inside an operator.
        advance: Called with (rows done, rows in all) after each batch.

    Returns:
        Nodes beyond the limit, in graph order.

    Raises:
        QuantizationError: A value of the FP32 graph itself is not finite.
    """
    watched = _watch(model.graph)
    peaks = dict.fromkeys(watched, 0.0)
    with open_graph(model, folder=folder, threads=threads) as session:
        for _, outputs in run_batches(session, rows, feeds=feeds, advance=advance):
            for name in watched:
                peaks[name] = max(peaks[name], float(outputs[name]))
    return tuple(_beyond(watched, peaks))


def _watch(graph: ir.Graph) -> dict[str, ir.Node]:
    """Let the graph give the largest magnitude of every float result, and nothing else."""
    watched: dict[str, ir.Node] = {}
    results = [
        (node, node.outputs[0])
        for node in graph
        if node.outputs[0].dtype == ir.DataType.FLOAT and node.op_type != "Cast"
    ]
    graph.outputs.clear()
    for node, value in results:
        name = f"{value.name}.peak"
        size = ir.Value(name=f"{value.name}.size", type=ir.TensorType(ir.DataType.FLOAT))
        peak = ir.Value(name=name, shape=ir.Shape([]), type=ir.TensorType(ir.DataType.FLOAT))
        graph.insert_after(
            node,
            [
                ir.node("Abs", [value], name=str(size.name), outputs=[size]),
                ir.node("ReduceMax", [size], {"keepdims": 0}, name=name, outputs=[peak]),
            ],
        )
        graph.outputs.append(peak)
        watched[name] = node
    return watched


def _beyond(watched: Mapping[str, ir.Node], peaks: Mapping[str, float]) -> Iterator[OverflowRecord]:
    for name, node in watched.items():
        peak, limit = peaks[name], FP16_LIMIT
        if not peak < float("inf"):
            raise QuantizationError(
                f"{node.op_type} node {node.name} gives values that are not finite",
                expected="finite values on the calibration set",
                got=peak,
                fix="Check the checkpoint's weights",
            )
        if node.op_type == "Gelu" and attribute(node, "approximate", "none") == "tanh":
            source = node.inputs[0]
            peak = peaks.get(f"{source.name if source else None}.peak", 0.0)
            limit = _CUBED_LIMIT
        if peak > limit:
            yield OverflowRecord(node=str(node.name), operator=node.op_type, peak=peak, limit=limit)
