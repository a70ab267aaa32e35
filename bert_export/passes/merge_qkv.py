"""Merge the linear layers that make queries, keys and values into one product."""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import (
    Linear,
    constant,
    insert_node,
    linear_layer,
    module_name,
    new_constant,
    substitute,
    use_count,
)
from bert_export.passes.graph_pass import Match, Refusal, RulePass

__all__ = ["MergeQkv"]

_PARTS = ("query", "key", "value")


class _Rule:
    root_op: ClassVar[str] = "Attention"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        layers = [linear_layer(value) for value in node.inputs[:3]]
        if any(value is not None and _is_part(value) for value in node.inputs[:3]):
            return None  # merged before
        for part, layer in zip(_PARTS, layers, strict=True):
            if layer is None or layer.bias is None or constant(layer.weight) is None:
                return Refusal(f"the {part} is not a float linear layer", str(node.name), 1)
            if module_name(layer) is None or use_count(layer.output) != 1:
                return Refusal(f"the {part} is read elsewhere too", str(node.name), 2)
        found = [cast("Linear", layer) for layer in layers]
        together = [
            part for part, layer in zip(_PARTS, found, strict=True) if layer.x is found[2].x
        ]
        if len(together) < 2:
            return Refusal("keys and values come from different states", str(node.name), 3)
        values: dict[str, ir.Value | None] = {
            part: layer.output
            for part, layer in zip(_PARTS, found, strict=True)
            if part in together
        }
        return Match(node, found[2].output, values=values)

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        outputs = [cast("ir.Value", value) for value in match.values.values()]
        layers = [cast("Linear", linear_layer(value)) for value in outputs]
        names = [str(module_name(layer)) for layer in layers]
        base = names[0].rpartition(".")[0]
        name = ".".join(filter(None, (base, "_".join(match.values))))
        weights = [cast("np.ndarray", constant(layer.weight)) for layer in layers]
        biases = [cast("np.ndarray", constant(layer.bias)) for layer in layers]
        x = layers[0].x
        position = {node: index for index, node in enumerate(graph)}
        before = min((layer.matmul for layer in layers), key=lambda node: position[node])
        lead = [] if x.shape is None else list(x.shape)[:-1]
        width = sum(array.shape[1] for array in weights)
        product = insert_node(
            graph,
            before,
            "MatMul",
            [x, new_constant(graph, f"{name}.weight", np.concatenate(weights, axis=1))],
            name=f"{name}.product",
            shape=[*lead, width],
            dtype=x.dtype,
        )
        joined = insert_node(
            graph,
            before,
            "Add",
            [product, new_constant(graph, f"{name}.bias", np.concatenate(biases))],
            name=f"{name}.joined",
            shape=[*lead, width],
            dtype=x.dtype,
        )
        sizes = np.array([array.shape[1] for array in weights], np.int64)
        split = ir.node(
            "Split",
            [joined, new_constant(graph, f"{name}.sizes", sizes)],
            {"axis": -1},
            name=f"{name}.split",
            num_outputs=len(layers),
        )
        graph.insert_before(before, split)
        for output, part in zip(split.outputs, outputs, strict=True):
            substitute(part, output)


def _is_part(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "Split"


class MergeQkv(RulePass):
    """Merge layers that read the same states; in a pruned layer these are keys and values only.

    Before::

        x ─┬> MatMul -> Add -> q ─┐
           ├> MatMul -> Add -> k ─┼> Attention
           └> MatMul -> Add -> v ─┘

    After::

        x -> MatMul (H, 3 H) -> Add -> Split -> q, k, v -> Attention

    The layer is called ``query_key_value`` (or ``key_value``), so that the quantizer finds it.
    """

    name = "merge_qkv"
    rules = (_Rule(),)
