"""One graph in which every quantized group can be switched between INT8 and float, call by call.

A search for the layers that INT8 hurts asks for many configurations of the two. Instead of a graph
and a session for each, this graph has both forms of every group and an input that chooses::

    x -> QuantizeLinear -> DequantizeLinear ─┐
    x ───────────────────────────────────────┴> Where(flag) ─┐
    W (int8) -> DequantizeLinear ─┐                          │
    W ────────────────────────────┴> Where(flag) ────────────┴> MatMul -> Add(Where(flag)) -> y

With all flags off it computes what the float graph does, with all on what the INT8 graph does: the
rounded numbers are the same, multiplied in float. It is for measuring, not for speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.editing import (
    constant,
    insert_node,
    new_constant,
    producer,
    sole_reader,
)
from bert_export.quantization.equalization.equalization import apply_equalizations
from bert_export.quantization.linear_layers import (
    LinearLayer,
    find_linear_layers,
    group_linear_layers,
    weight_of,
)
from bert_export.quantization.preparation import Preparation
from bert_export.quantization.quantizer import quantize_graph
from bert_export.quantization.weights.embeddings import TABLE
from bert_export.quantization.weights.number_formats import Scheme
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession
from bert_export.runtime.sessions.session import Feeds, Outputs

__all__ = [
    "SWITCHES",
    "QuantizationGroup",
    "SwitchableSession",
    "build_switchable_graph",
    "find_groups",
    "open_graph",
]

SWITCHES = "int8_groups"
"""Graph input: which groups are in INT8, bool (groups,)."""

_FILE, _DATA = "switched.onnx", "switched.onnx.data"


@dataclass(frozen=True, slots=True)
class QuantizationGroup:
    """Layers that read one activation: they are in INT8 together, or in float together.

    The word embeddings are a group of their own, where they are in int8.

    Args:
        activation: Its name in the prepared float graph.
        layers: Names of the layers' modules, in graph order.
        products: Multiplications per token of them all, or per text where only its first token is
            computed.
        per_token: Which of the two it is.
    """

    activation: str
    layers: tuple[str, ...]
    products: int
    per_token: bool


def find_groups(model: ir.Model, preparation: Preparation) -> tuple[QuantizationGroup, ...]:
    """The linear layers of a prepared float graph by group, in graph order."""
    layers, _ = find_linear_layers(model, preparation.options.excluded_layers)
    return tuple(
        QuantizationGroup(
            activation,
            tuple(layer.name for layer in members),
            sum(weight_of(layer).size for layer in members),
            _per_token(members[0]),
        )
        for activation, members in group_linear_layers(layers).items()
    )


def build_switchable_graph(
    model: ir.Model, preparation: Preparation, scheme: Scheme
) -> tuple[ir.Model, tuple[QuantizationGroup, ...]]:
    """Build the graph.

    Args:
        model: The prepared float graph; not changed.
        preparation: What calibration found.
        scheme: Number formats.

    Returns:
        The graph, with the input :data:`SWITCHES`, and its groups in the order of the switches.
    """
    groups = find_groups(model, preparation)
    treated, switched = model.clone(), model.clone()
    layers = _treat(treated, preparation)
    plan = quantize_graph(switched, preparation, scheme=scheme)
    table = constant(model.graph.initializers.get(f"{TABLE}.weight"))
    rounded = {entry.layer for entry in plan if entry.precision == "int8"}
    if table is not None and TABLE in rounded:
        groups += (QuantizationGroup(TABLE, (TABLE,), table.shape[1], per_token=True),)
    nodes = {node.name: node for node in switched.graph}
    chosen = ir.Value(
        name=SWITCHES,
        shape=ir.Shape([len(groups)]),
        type=ir.TensorType(ir.DataType.BOOL),
    )
    switched.graph.inputs.append(chosen)
    for index, group in enumerate(groups):
        if group.layers == (TABLE,):
            _switch_table(switched.graph, _flag(switched.graph, chosen, index), table)
            continue
        members = [(layers[layer], nodes[layers[layer].node.name]) for layer in group.layers]
        channel_splitting = preparation.activations[group.activation].equalization.channel_splitting
        kept = None if channel_splitting is None else len(channel_splitting.copies)
        _switch(switched.graph, chosen, index, members, kept)
    return switched, groups


def _switch(
    graph: ir.Graph,
    chosen: ir.Value,
    index: int,
    members: Sequence[tuple[LinearLayer, ir.Node]],
    kept: int | None,
) -> None:
    """Give the layers of one group both forms.

    Args:
        graph: The INT8 graph.
        chosen: The switches.
        index: Of the group's own.
        members: Each layer's layer in the treated float graph, and its product in the INT8 graph.
        kept: Channels that the activation has in the float graph, where channel_splitting adds
            copies of
            some: those are only right together with INT8's range.
    """
    first = members[0][1]
    flag = _flag(graph, chosen, index)
    rounded = first.inputs[0]
    choice = [flag, rounded, _before_rounding(rounded)]
    value = insert_node(graph, first, "Where", choice, name=f"{SWITCHES}.{index}.activation")
    for layer, product in members:
        product.replace_input_with(0, value)
        weight = weight_of(layer).copy()
        if kept is not None:
            weight[kept:] = 0
        _choose_constant(graph, product, 1, flag, f"{layer.name}.weight_float", weight)
        exact, ours = _bias(layer.node), _bias(product)
        if ours is not None:  # the quantizer gives every layer a bias to correct
            bias = np.zeros_like(ours[2]) if exact is None else exact[2]
            _choose_constant(graph, *ours[:2], flag, f"{layer.name}.bias_float", bias)


def _switch_table(graph: ir.Graph, flag: ir.Value, table: NDArray[np.float32] | None) -> None:
    """Give the word embeddings both forms."""
    assert table is not None, "the group is only there with it"
    nodes = {node.name: node for node in graph}
    scaled = nodes[f"{TABLE}.scaled"]
    rounded, ids = scaled.outputs[0], nodes[f"{TABLE}.weight_int8_rows"].inputs[1]
    readers = tuple(rounded.uses())
    first = readers[0].node
    stored = new_constant(graph, f"{TABLE}.weight_float", table)
    exact = insert_node(
        graph, first, "Gather", [stored, ids], {"axis": 0}, name=f"{TABLE}.rows_float"
    )
    rows = insert_node(graph, first, "Where", [flag, rounded, exact], name=f"{TABLE}.chosen")
    for reader in readers:
        reader.node.replace_input_with(reader.idx, rows)


def _flag(graph: ir.Graph, chosen: ir.Value, index: int) -> ir.Value:
    """One switch, bool ()."""
    group = new_constant(graph, f"{SWITCHES}.{index}", np.array(index, dtype=np.int64))
    name = f"{SWITCHES}.{index}.flag"
    return insert_node(graph, graph[0], "Gather", [chosen, group], name=name)


def _choose_constant(
    graph: ir.Graph,
    node: ir.Node,
    position: int,
    flag: ir.Value,
    name: str,
    exact: NDArray[np.float32],
) -> None:
    """Let a node read what it reads where the flag is on, and another array where it is off."""
    choice = [flag, node.inputs[position], new_constant(graph, name, exact)]
    value = insert_node(graph, node, "Where", choice, name=f"{name}.chosen")
    node.replace_input_with(position, value)


def _before_rounding(value: ir.Value | None) -> ir.Value:
    """What goes into QuantizeLinear, DequantizeLinear."""
    dequantize = producer(value, "DequantizeLinear")
    quantize = None if dequantize is None else producer(dequantize.inputs[0], "QuantizeLinear")
    exact = None if quantize is None else quantize.inputs[0]
    assert exact is not None, "the quantizer put both there"
    return exact


def _bias(product: ir.Node) -> tuple[ir.Node, int, NDArray[np.float32]] | None:
    """The addition of a product's bias, the bias's position there, and the bias."""
    add = sole_reader(product.outputs[0], "Add")
    for position, value in enumerate(() if add is None else add.inputs):
        array = constant(value)
        if add is not None and array is not None and array.ndim == 1:
            return add, position, array
    return None


def _treat(model: ir.Model, preparation: Preparation) -> dict[str, LinearLayer]:
    """Bring a float graph to the form that is quantized, in group; gives its layers by layer."""
    layers, _ = find_linear_layers(model, preparation.options.excluded_layers)
    apply_equalizations(model.graph, group_linear_layers(layers), preparation.equalizations)
    return {layer.name: layer for layer in layers}


def _per_token(layer: LinearLayer) -> bool:
    """Whether a layer computes every token; where the shape does not tell, it is taken to."""
    value = layer.node.inputs[0]
    if value is None or value.shape is None or len(value.shape) < 3:
        return value is None or value.shape is None
    return value.shape[1] != 1


def open_graph(model: ir.Model, *, folder: Path, threads: int | None = None) -> OnnxRuntimeSession:
    """A session over a graph that is written for as long as it takes to open it.

    Args:
        model: The graph.
        folder: Where it is written.
        threads: Threads inside an operator.
    """
    path = folder / _FILE
    ir.save(model, path, external_data=_DATA)
    try:
        return OnnxRuntimeSession(path, threads=threads)
    finally:
        path.unlink()
        (folder / _DATA).unlink(missing_ok=True)


class SwitchableSession:
    """A session over the graph that takes a float graph's feeds; the switches are set beside them.

    Args:
        model: From :func:`build_switchable_graph`.
        groups: How many there are.
        folder: Where the graph is written while it is opened.
        threads: Threads inside an operator.
    """

    def __init__(
        self, model: ir.Model, groups: int, *, folder: Path, threads: int | None = None
    ) -> None:
        self._session = open_graph(model, folder=folder, threads=threads)
        self.inputs = tuple(spec for spec in self._session.inputs if spec.name != SWITCHES)
        self.outputs = self._session.outputs
        self._chosen = np.zeros(groups, dtype=bool)

    def choose(self, groups: Iterable[int]) -> None:
        """Put these groups into INT8, all others into float."""
        self._chosen = np.zeros(len(self._chosen), dtype=bool)
        self._chosen[list(groups)] = True

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph as it is switched now."""
        return self._session.run({**feeds, SWITCHES: self._chosen})

    def close(self) -> None:
        """Free the engine."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
