"""One graph in which every quantization group can be switched between INT8 and float, per call.

An accuracy-budget search measures many configurations of the two. Instead of a graph and a session
for each, this graph holds both forms of every group, and an input chooses::

    x -> QuantizeLinear -> DequantizeLinear ─┐
    x ───────────────────────────────────────┴> Where(flag) ─┐
    W (int8) -> DequantizeLinear ─┐                          │
    W ────────────────────────────┴> Where(flag) ────────────┴> MatMul -> Add(Where(flag)) -> y

With all switches off it computes what the float graph does, and with all on what the INT8 graph
does: the quantized values are the same, multiplied in float. It is for measuring, not for speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from bert_export.passes.open_graph import open_graph
from bert_export.quantization.equalization.equalization import apply_equalizations
from bert_export.quantization.int8_calibration import Int8Calibration
from bert_export.quantization.linear_layers import (
    LinearLayer,
    find_linear_layers,
    group_linear_layers,
    weight_of,
)
from bert_export.quantization.quantizer import quantize_graph
from bert_export.quantization.weights.embeddings import TABLE
from bert_export.quantization.weights.number_formats import Scheme
from bert_export.runtime.sessions.session import Feeds, Outputs, Session

__all__ = [
    "SWITCHES",
    "QuantizationGroup",
    "SwitchableSession",
    "build_switchable_graph",
    "find_groups",
]

SWITCHES = "int8_groups"
"""Graph input: which groups are in INT8, bool (groups,)."""


@dataclass(frozen=True, slots=True)
class QuantizationGroup:
    """Layers that read one activation: all of them are in INT8, or all in float.

    The word embeddings are a group of their own, where they are in int8.

    Args:
        activation: Name of the activation in the prepared float graph.
        layers: Names of the layers' modules, in graph order.
        multiplications: Of all layers together, per token, or per text where only the first token
            is computed.
        per_token: Whether it is per token.
    """

    activation: str
    layers: tuple[str, ...]
    multiplications: int
    per_token: bool


def find_groups(model: ir.Model, calibration: Int8Calibration) -> tuple[QuantizationGroup, ...]:
    """The quantization groups of a prepared float graph's linear layers, in graph order."""
    layers, _ = find_linear_layers(model, calibration.options.excluded_layers)
    return tuple(
        QuantizationGroup(
            activation,
            tuple(layer.name for layer in members),
            sum(weight_of(layer).size for layer in members),
            _is_per_token(members[0]),
        )
        for activation, members in group_linear_layers(layers).items()
    )


def build_switchable_graph(
    model: ir.Model, calibration: Int8Calibration, scheme: Scheme
) -> tuple[ir.Model, tuple[QuantizationGroup, ...]]:
    """Build the graph.

    Args:
        model: The prepared float graph; not changed.
        calibration: The results of calibration.
        scheme: Number formats.

    Returns:
        The graph, with the input :data:`SWITCHES`, and its groups in the order of the switches.
    """
    groups = find_groups(model, calibration)
    # The float form comes from an equalized clone, the INT8 form from a quantized one.
    equalized, switchable = model.clone(), model.clone()
    equalized_layers = _equalize(equalized, calibration)
    plan = quantize_graph(switchable, calibration, scheme=scheme)
    table = constant(model.graph.initializers.get(f"{TABLE}.weight"))
    int8_layers = {entry.layer for entry in plan if entry.precision == "int8"}
    if table is not None and TABLE in int8_layers:
        groups += (QuantizationGroup(TABLE, (TABLE,), table.shape[1], per_token=True),)
    switches = ir.Value(
        name=SWITCHES,
        shape=ir.Shape([len(groups)]),
        type=ir.TensorType(ir.DataType.BOOL),
    )
    nodes = {node.name: node for node in switchable.graph}
    switchable.graph.inputs.append(switches)
    for index, group in enumerate(groups):
        flag = _flag(switchable.graph, switches, index)
        if group.layers == (TABLE,):
            _switch_table(switchable.graph, flag, table)
            continue
        members = [equalized_layers[name] for name in group.layers]
        products = [nodes[layer.node.name] for layer in members]
        splitting = calibration.activations[group.activation].equalization.channel_splitting
        units = None if splitting is None else len(splitting.copies)
        _switch_layers(switchable.graph, index, flag, members, products, units)
    return switchable, groups


def _switch_layers(
    graph: ir.Graph,
    index: int,
    flag: ir.Value,
    layers: Sequence[LinearLayer],
    products: Sequence[ir.Node],
    units: int | None,
) -> None:
    """Give the layers of one group both forms.

    Args:
        graph: The INT8 graph.
        index: Index of the group.
        flag: Whether the group is in INT8.
        layers: The layers in the equalized float graph.
        products: Their products in the INT8 graph.
        units: Hidden units without the copies that channel splitting adds; ``None`` where it adds
            none. Copies only count together with INT8's range, so the float form leaves them out.
    """
    dequantized = products[0].inputs[0]
    choice = [flag, dequantized, _before_quantization(dequantized)]
    activation = insert_node(
        graph, products[0], "Where", choice, name=f"{SWITCHES}.{index}.activation"
    )
    for layer, product in zip(layers, products, strict=True):
        product.replace_input_with(0, activation)
        float_weight = weight_of(layer).copy()
        if units is not None:
            float_weight[units:] = 0
        _switch_constant(graph, product, 1, flag, f"{layer.name}.weight_float", float_weight)
        int8_bias = _find_bias(product)
        if int8_bias is not None:  # bias correction gives every layer a bias
            add, position, array = int8_bias
            equalized_bias = _find_bias(layer.node)
            float_bias = np.zeros_like(array) if equalized_bias is None else equalized_bias[2]
            _switch_constant(graph, add, position, flag, f"{layer.name}.bias_float", float_bias)


def _switch_table(graph: ir.Graph, flag: ir.Value, table: NDArray[np.float32] | None) -> None:
    """Give the word embeddings both forms."""
    assert table is not None, "the group is only there with it"
    nodes = {node.name: node for node in graph}
    dequantized_rows = nodes[f"{TABLE}.scaled"].outputs[0]
    ids = nodes[f"{TABLE}.weight_int8_rows"].inputs[1]
    readers = tuple(dequantized_rows.uses())
    first = readers[0].node
    float_table = new_constant(graph, f"{TABLE}.weight_float", table)
    float_rows = insert_node(
        graph, first, "Gather", [float_table, ids], {"axis": 0}, name=f"{TABLE}.rows_float"
    )
    choice = [flag, dequantized_rows, float_rows]
    rows = insert_node(graph, first, "Where", choice, name=f"{TABLE}.chosen")
    for reader in readers:
        reader.node.replace_input_with(reader.idx, rows)


def _flag(graph: ir.Graph, switches: ir.Value, index: int) -> ir.Value:
    """The switch of one group, bool ()."""
    group = new_constant(graph, f"{SWITCHES}.{index}", np.array(index, dtype=np.int64))
    name = f"{SWITCHES}.{index}.flag"
    return insert_node(graph, graph[0], "Gather", [switches, group], name=name)


def _switch_constant(
    graph: ir.Graph,
    node: ir.Node,
    position: int,
    flag: ir.Value,
    name: str,
    float_array: NDArray[np.float32],
) -> None:
    """Let a node read the same input while the flag is on, and a float array while it is off."""
    choice = [flag, node.inputs[position], new_constant(graph, name, float_array)]
    value = insert_node(graph, node, "Where", choice, name=f"{name}.chosen")
    node.replace_input_with(position, value)


def _before_quantization(value: ir.Value | None) -> ir.Value:
    """The input of the QuantizeLinear and DequantizeLinear that give a value."""
    dequantize = producer(value, "DequantizeLinear")
    quantize = None if dequantize is None else producer(dequantize.inputs[0], "QuantizeLinear")
    float_value = None if quantize is None else quantize.inputs[0]
    assert float_value is not None, "the quantizer put both there"
    return float_value


def _find_bias(product: ir.Node) -> tuple[ir.Node, int, NDArray[np.float32]] | None:
    """The ``Add`` of a product's bias, the position of the bias among its inputs, and the bias."""
    add = sole_reader(product.outputs[0], "Add")
    for position, value in enumerate(() if add is None else add.inputs):
        array = constant(value)
        if add is not None and array is not None and array.ndim == 1:
            return add, position, array
    return None


def _equalize(model: ir.Model, calibration: Int8Calibration) -> dict[str, LinearLayer]:
    """Equalize a float graph in place, as before quantization; gives its layers by name."""
    layers, _ = find_linear_layers(model, calibration.options.excluded_layers)
    apply_equalizations(model.graph, group_linear_layers(layers), calibration.equalizations)
    return {layer.name: layer for layer in layers}


def _is_per_token(layer: LinearLayer) -> bool:
    """Whether a layer computes every token; it counts as such where its shape does not tell."""
    value = layer.node.inputs[0]
    if value is None or value.shape is None or len(value.shape) < 3:
        return value is None or value.shape is None
    return value.shape[1] != 1


class SwitchableSession(Session):
    """A session over a switchable graph; it takes the float graph's feeds.

    Args:
        model: From :func:`build_switchable_graph`.
        groups: How many groups there are; all are in float at first.
        folder: Where the graph is written while it is opened.
        threads: Threads inside an operator.
    """

    def __init__(
        self, model: ir.Model, groups: int, *, folder: Path, threads: int | None = None
    ) -> None:
        self._session = open_graph(model, folder=folder, threads=threads)
        self.inputs = tuple(spec for spec in self._session.inputs if spec.name != SWITCHES)
        self.outputs = self._session.outputs
        self._switches = np.zeros(groups, dtype=bool)

    def switch_to_int8(self, groups: Iterable[int]) -> None:
        """Switch these groups to INT8, and all others to float."""
        self._switches = np.zeros(len(self._switches), dtype=bool)
        self._switches[list(groups)] = True

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph as it is switched now."""
        return self._session.run({**feeds, SWITCHES: self._switches})

    def close(self) -> None:
        """Free the engine."""
        self._session.close()
