"""Compute the last layer for one token per text where only that token is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import (
    attribute,
    constant,
    insert_node,
    is_output,
    new_constant,
    producer,
    static_dim,
    substitute,
)
from bert_export.passes.graph_pass import GraphPass, Refusal, remove_unused
from bert_export.passes.row_selection import find_region, move_selection

__all__ = ["PruneFirstToken", "prune_tokens", "select_mask_row"]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A node that takes one token of every text out of the encoder's result.

    Args:
        states: The encoder's result, (B, S, H).
        index: The token's position: (1,), or (B, 1, 1) where it differs between texts.
        taken: The node's output: (B, H), or (B, 1, H).
    """

    states: ir.Value
    index: ir.Value
    taken: ir.Value


class PruneFirstToken(GraphPass):
    """Compute queries, attention output, feed-forward and norms of one token only.

    Before::

        x (B, S, H) -> last layer -> (B, S, H) -> Gather(first token) -> pooler ...

    After::

        x (B, S, H) ─┬> keys, values ────────────────────────────────┐
                     └> Gather (B, 1, H) -> queries ──────────────┴> Attention -> ... -> Gather

    The rest of the layer is computed for one token instead of S. A head that reads another single
    token of every text is pruned alike; one that reads more tokens is refused.
    """

    name = "prune_first_token"

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Find the nodes that take one token out, and prune in front of them."""
        graph = model.graph
        rewritten = 0
        refusals: list[Refusal] = []
        readers = [node for node in graph if _takes_one_token(node)]
        for node in readers:
            if static_dim(node.inputs[0], 1) == 1:
                continue  # pruned before
            reader = _match(graph, node)
            if isinstance(reader, Refusal):
                refusals.append(reader)
            elif prune_tokens(graph, reader.states, reader.index):
                _read_selected(graph, node, reader)
                rewritten += 1
        if rewritten:
            graph.sort()  # an index may have been made after the layer that it now selects for
            remove_unused(graph)
        if not readers:
            last = graph.outputs[0].producer()
            name = str(graph.outputs[0].name if last is None else last.name)
            refusals.append(Refusal("no node takes one token out of the encoder's result", name))
        return rewritten, tuple(refusals)


def prune_tokens(graph: ir.Graph, states: ir.Value, index: ir.Value) -> bool:
    """Compute a value for one token per text.

    Args:
        graph: The graph.
        states: (B, S, H), of which only the token at ``index`` is read; (B, 1, H) afterwards.
        index: int64, (1,) or (B, 1, 1).

    Returns:
        Whether anything could be left out.
    """
    region = find_region(states, through_attention=True)
    if not any(node.op_type == "MatMul" for node in region.nodes):
        return False
    shape = states.shape
    assert shape is not None
    move_selection(
        region,
        lambda value, before: select_token(graph, value, index, before),
        lambda mask, before: select_mask_row(graph, mask, index, before),
        (shape[0], 1),
    )
    return True


def select_token(graph: ir.Graph, value: ir.Value, index: ir.Value, before: ir.Node) -> ir.Value:
    """One token of (B, S, H): (B, 1, H)."""
    assert value.shape is not None
    batch, _, width = value.shape
    one_for_all = len(index.shape or ()) == 1
    return insert_node(
        graph,
        before,
        "Gather" if one_for_all else "GatherND",
        [value, index],
        {"axis": 1} if one_for_all else {"batch_dims": 1},
        name=f"{value.name}.token",
        shape=[batch, 1, width],
        dtype=value.dtype,
    )


def select_mask_row(graph: ir.Graph, mask: ir.Value, index: ir.Value, before: ir.Node) -> ir.Value:
    """The mask of one query: (B, 1, S, T) to (B, 1, 1, T)."""
    expand = producer(mask, "Expand")
    if expand is not None and static_dim(expand.inputs[0], 2) == 1:
        row = expand.inputs[0]  # the rows of a padding mask are all alike
        assert row is not None
        return row
    assert mask.shape is not None
    batch, _, queries, keys = mask.shape
    if len(index.shape or ()) == 1:
        return insert_node(
            graph,
            before,
            "Gather",
            [mask, index],
            {"axis": 2},
            name=f"{mask.name}.row",
            shape=[batch, 1, 1, keys],
            dtype=mask.dtype,
        )
    axis = new_constant(graph, "visible.axis", np.array([1], np.int64))
    flat = insert_node(
        graph,
        before,
        "Squeeze",
        [mask, axis],
        name=f"{mask.name}.squeezed",
        shape=[batch, queries, keys],
        dtype=mask.dtype,
    )
    row = insert_node(
        graph,
        before,
        "GatherND",
        [flat, index],
        {"batch_dims": 1},
        name=f"{mask.name}.selected",
        shape=[batch, 1, keys],
        dtype=mask.dtype,
    )
    return insert_node(
        graph,
        before,
        "Unsqueeze",
        [row, axis],
        name=f"{mask.name}.row",
        shape=[batch, 1, 1, keys],
        dtype=mask.dtype,
    )


def _takes_one_token(node: ir.Node) -> bool:
    """Whether a node takes tokens out of the encoder's result, as the heads write it."""
    if node.domain or node.op_type not in ("Gather", "GatherElements"):
        return False
    states = node.inputs[0]
    if len(getattr(states, "shape", None) or ()) != 3 or attribute(node, "axis", 0) not in (1, -2):
        return False
    return node.op_type == "GatherElements" or not (getattr(node.inputs[1], "shape", None) or ())


def _match(graph: ir.Graph, node: ir.Node) -> _Reader | Refusal:
    """Check that the token which a node takes is the only one that is read."""
    states = node.inputs[0]
    assert states is not None
    index = _place(graph, node)
    if index is None:
        return Refusal("the token's place is not one per text", str(node.name), 1)
    others = [use.node for use in states.uses() if use.node is not node]
    if is_output(states):
        return Refusal(f"output {states.name} holds every token", str(node.name), 2)
    if others:
        return Refusal(f"{others[0].op_type} {others[0].name} reads every token", str(node.name), 2)
    return _Reader(states, index, node.outputs[0])


def _place(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    """The index that a node takes, as :class:`_Reader` wants it."""
    index = node.inputs[1]
    if node.op_type == "Gather":
        array = constant(index)
        if array is None or array.size != 1:
            return None
        return new_constant(graph, "token.index", array.reshape(1).astype(np.int64))
    expand = producer(index, "Expand")
    place = None if expand is None else expand.inputs[0]
    if place is None or len(place.shape or ()) != 3:
        return None
    return place if static_dim(place, 1) == 1 and static_dim(place, 2) == 1 else None


def _read_selected(graph: ir.Graph, node: ir.Node, reader: _Reader) -> None:
    """Let the reader take the only token that is left."""
    if node.op_type == "GatherElements":
        substitute(reader.taken, reader.states)
        return
    index = constant(node.inputs[1])
    if index is not None and index.any():
        node.replace_input_with(1, new_constant(graph, "token.only", np.zeros_like(index)))
