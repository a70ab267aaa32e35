"""Score the vocabulary only at the tokens that are asked for."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import (
    insert_node,
    linear_layer,
    new_constant,
    static_dim,
)
from bert_export.passes.graph_pass import GraphPass, Refusal, remove_unused
from bert_export.passes.prune_first_token import prune_tokens
from bert_export.passes.row_selection import find_region, move_selection
from bert_export.tasks.interface import MASKED, MASKED_POSITIONS, is_inner_output

__all__ = ["PruneLastPosition", "PruneMaskedPositions"]

_MASK_INPUT, _IDS_INPUT = "attention_mask", "input_ids"
_OF_DECODER = "decoder_"
_CACHE_RANK = 4
"""Axes of keys and values that a graph gives beside its scores, which stay whole."""


class _PruneScores(GraphPass):
    """Leaves out what computes the scores of tokens that nobody asks for."""

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Prune in front of the scores."""
        graph = model.graph
        logits = _scored(graph)
        if logits is None:
            return 0, ()
        refusal = logits if isinstance(logits, Refusal) else self.prune(graph, logits)
        if refusal is not None:
            return 0, (refusal,)
        remove_unused(graph)
        return 1, ()

    @abstractmethod
    def prune(self, graph: ir.Graph, logits: ir.Value) -> Refusal | None:
        """Prune in front of scores (B, S, V), or say why not."""


class PruneMaskedPositions(_PruneScores):
    """Add an input that names the tokens to score, and compute the last layer for those alone.

    Before::

        attention -> (B, S, H) -> dense, norms, feed-forward -> transform -> decoder -> (B, S, V)

    After::

        attention -> (B, S, H) -> Reshape (B * S, H) -> Gather(masked_positions) -> (M, H)
            -> dense, norms, feed-forward -> transform -> decoder -> (M, V)

    Positions count through the whole batch (``row * S + column``), so that texts may have any
    number of them and one ``Gather`` on the first axis takes them. Attention keeps all queries,
    which have an axis per text.
    """

    name = "prune_masked_positions"

    def prune(self, graph: ir.Graph, logits: ir.Value) -> Refusal | None:
        """Compute the rows that the new input names."""
        region = find_region(logits, through_attention=False)
        if not region.nodes:
            return Refusal("nothing before the scores is row-wise", str(logits.name), 2)
        positions = ir.Value(
            name=MASKED_POSITIONS,
            shape=ir.Shape([MASKED]),
            type=ir.TensorType(ir.DataType.INT64),
        )
        graph.inputs.append(positions)

        def select(value: ir.Value, before: ir.Node) -> ir.Value:
            width = static_dim(value, 2)
            flat = insert_node(
                graph,
                before,
                "Reshape",
                [value, new_constant(graph, f"rows.{width}", np.array([-1, width], np.int64))],
                name=f"{value.name}.rows",
                shape=[None, width],
                dtype=value.dtype,
            )
            return insert_node(
                graph,
                before,
                "Gather",
                [flat, positions],
                {"axis": 0},
                name=f"{value.name}.masked",
                shape=[MASKED, width],
                dtype=value.dtype,
            )

        move_selection(region, select, None, (MASKED,))
        return None


class PruneLastPosition(_PruneScores):
    """Score the token after the last one of every text only.

    Before::

        x (B, S, H) -> last layer -> transform -> decoder -> logits (B, S, V)

    After::

        attention_mask -> position of the last 1 (B, 1, 1) ─┐     among the tokens of this call
        x (B, S, H) ─┬> keys, values                        │
                     └─────────────────────────────────> GatherND (B, 1, H) -> queries -> Attention
            -> ... -> Squeeze (B, H) -> transform -> decoder -> logits (B, V)

    Padding may stand on either side: the position is the last 1 of the attention mask.
    """

    name = "prune_last_position"

    def prune(self, graph: ir.Graph, logits: ir.Value) -> Refusal | None:
        """Compute the row of every text's last token."""
        place = _last_place(graph)
        if place is None:
            return Refusal(f"the graph has no input {_MASK_INPUT}", str(logits.name), 2)
        assert logits.shape is not None
        batch, _, width = logits.shape
        if not prune_tokens(graph, logits, place):
            return Refusal("nothing before the scores is row-wise", str(logits.name), 3)
        _squeeze_output(graph, logits, [batch, width])
        return None


def _scored(graph: ir.Graph) -> ir.Value | Refusal | None:
    """The output of a head that scores the vocabulary at every token, and nothing else."""
    outputs = list(graph.outputs)
    logits = outputs[0]
    at = logits.producer()
    name = str(logits.name if at is None else at.name)
    further = [
        value
        for value in outputs[1:]
        if len(value.shape or ()) != _CACHE_RANK and not is_inner_output(value.name)
    ]
    if further:
        others = ", ".join(str(value.name) for value in further)
        return Refusal(f"outputs {others} are read too", name)
    if len(logits.shape or ()) != 3:
        pruned = len(logits.shape or ()) == 2 and linear_layer(logits) is not None
        return None if pruned else Refusal(f"output {logits.name} is not one row per token", name)
    if linear_layer(logits) is None:
        return Refusal(f"output {logits.name} does not come from a linear layer", name, 1)
    if any(True for _ in logits.uses()):
        return Refusal(f"output {logits.name} is read inside the graph", name, 1)
    return logits


def _last_place(graph: ir.Graph) -> ir.Value | None:
    """The position of the attention mask's last 1, as (B, 1, 1)."""
    named = {value.name: value for value in graph.inputs}
    prefix = _OF_DECODER if _OF_DECODER + _MASK_INPUT in named else ""
    mask, ids = named.get(prefix + _MASK_INPUT), named.get(prefix + _IDS_INPUT)
    if mask is None or mask.shape is None:
        return None
    first = graph[0]
    batch = mask.shape[0]
    if ids is not None and ids.shape != mask.shape:
        mask = _own_mask(graph, mask, ids, first)
    position = insert_node(
        graph,
        first,
        "ArgMax",
        [mask],
        {"axis": 1, "keepdims": 1, "select_last_index": 1},
        name="last.place",
        shape=[batch, 1],
        dtype=ir.DataType.INT64,
    )
    return insert_node(
        graph,
        first,
        "Unsqueeze",
        [position, new_constant(graph, "last.axis", np.array([2], np.int64))],
        name="last.index",
        shape=[batch, 1, 1],
        dtype=ir.DataType.INT64,
    )


def _own_mask(graph: ir.Graph, mask: ir.Value, ids: ir.Value, before: ir.Node) -> ir.Value:
    """Of a mask (B, T) over a cache too, the part (B, S) of this call's tokens, the last ones."""
    assert ids.shape is not None
    length = insert_node(
        graph,
        before,
        "Shape",
        [ids],
        {"start": 1, "end": 2},
        name="last.length",
        shape=[1],
        dtype=ir.DataType.INT64,
    )
    zero = new_constant(graph, "last.zero", np.array([0], np.int64))
    start = insert_node(
        graph,
        before,
        "Sub",
        [zero, length],
        name="last.start",
        shape=[1],
        dtype=ir.DataType.INT64,
    )
    end = new_constant(graph, "last.end", np.array([np.iinfo(np.int64).max], np.int64))
    axis = new_constant(graph, "last.tokens", np.array([1], np.int64))
    return insert_node(
        graph,
        before,
        "Slice",
        [mask, start, end, axis],
        name="last.mask",
        shape=ids.shape,
        dtype=mask.dtype,
    )


def _squeeze_output(graph: ir.Graph, value: ir.Value, shape: list[ir.SymbolicDim | int]) -> None:
    """Take the axis of one token out of an output, which keeps its name."""
    name = str(value.name)
    value.name = f"{name}.token"
    axis = new_constant(graph, "token.axis", np.array([1], np.int64))
    node = ir.node(
        "Squeeze",
        [value, axis],
        name=f"{name}.squeeze",
        outputs=[ir.Value(name=name, shape=ir.Shape(shape), type=value.type)],
    )
    graph.append(node)
    graph.outputs[0] = node.outputs[0]
