"""A bundle's graph in the forms that other tools read.

No number is computed anew: a form gives more of what the graph computes, under other names, or
writes attention with an operator that older engines know.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from bert_export.errors import TargetError
from bert_export.hand_over.consumer import Bundle
from bert_export.passes.editing import (
    CONTRIB,
    insert_node,
    new_constant,
    substitute,
)
from bert_export.passes.fused_attention import read_attention
from bert_export.passes.graph_pass import Refusal, remove_unused
from bert_export.passes.keep_residuals import KeepResiduals
from bert_export.passes.lower_opset import lower_as_far_as_legal
from bert_export.tasks.interface import BATCH, MASKED_POSITIONS, PAST, SEQUENCE
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_generation import TASK as TEXT_GENERATION

__all__ = [
    "load_model",
    "lower_to",
    "make_decoder",
    "put_one_token",
    "save_model",
    "score_every_position",
    "write_graph",
]

DATA_SUFFIX = "_data"
"""Of a weight file's name, behind the graph's, as exporters of the field have it."""

_MOST_BYTES = 1_900_000_000
"""A graph file with its weights stays below the 2 GiB of a protocol buffer."""

_STATES = "last_hidden_state"


def write_graph(
    bundle: Bundle, path: Path, *, opset: int | None, external_data: bool, states: bool = False
) -> int:
    """Write the bundle's ONNX Runtime graph in the form that most consumers read.

    Every position is scored, the opset is the lowest that the graph can have.

    Args:
        bundle: The graph's.
        path: Of the file.
        opset: The opset must not be above it; any will do when ``None``.
        external_data: Whether the weights lie beside it.
        states: Whether a pooled vector is given as the states of one token.

    Returns:
        The opset.

    Raises:
        TargetError: The graph needs a later opset, or inputs that no consumer gives.
    """
    model = load_model(bundle.graph)
    score_every_position(model)
    if bundle.manifest.task == TEXT_GENERATION.name:
        make_decoder(model)
    strange = [
        value.name
        for value in model.graph.inputs
        if value.name not in _USUAL and not _is_cache(value)
    ]
    if strange:
        raise TargetError(
            f"graph {bundle.graph.name} has an input {strange[0]}",
            expected=" ".join(_USUAL),
            got=strange[0],
            fix="No other tool gives it: export the bundle without that option",
        )
    if states and bundle.manifest.task == SENTENCE_EMBEDDING.name:
        put_one_token(model)
    written = lower_to(model, opset)
    save_model(model, path, external_data=external_data)
    return written


_USUAL = ("input_ids", "attention_mask", "token_type_ids")


def load_model(path: Path) -> ir.Model:
    """Read a bundle's graph, in the form that default sessions keep; see :class:`KeepResiduals`.

    Bundles of before that pass was part of the recipe get it here.
    """
    model = ir.load(path)
    KeepResiduals()(model)
    return model


def score_every_position(model: ir.Model) -> None:
    """Let a graph that scores named positions score all, in place.

    Before::

        states -> Reshape (B * S, H) -> Gather(masked_positions) -> ... -> logits (M, V)

    After::

        states -> Reshape (B * S, H) -> ... -> Reshape -> logits (B, S, V)

    A graph without that input stays as it is.
    """
    graph = model.graph
    positions = _input(graph, MASKED_POSITIONS)
    if positions is None:
        return
    for use in tuple(positions.uses()):
        rows = use.node.inputs[0]
        assert rows is not None, "Gather has a first input"
        ir.convenience.replace_all_uses_with(use.node.outputs[0], rows)
    graph.inputs.remove(positions)
    ids = graph.inputs[0]
    for index, value in enumerate(tuple(graph.outputs)):
        assert value.shape is not None, "the manifest names every axis"
        width = value.shape[-1]
        first = graph[0]
        shape = insert_node(
            graph, first, "Shape", [ids], name="rows.shape", dtype=ir.DataType.INT64
        )
        last = new_constant(graph, "rows.last", np.array([width], np.int64))
        whole = insert_node(
            graph, first, "Concat", [shape, last], {"axis": 0}, name=f"{value.name}.shape"
        )
        _replace_output(graph, index, "Reshape", [value, whole], [BATCH, SEQUENCE, width])
    remove_unused(graph)


def put_one_token(model: ir.Model) -> None:
    """Give a pooled vector as the states of a single token, in place.

    Before::

        ... -> sentence_embedding (B, E)

    After::

        ... -> Unsqueeze -> last_hidden_state (B, 1, E)

    Whoever takes the first token's state then has the pooled vector.
    """
    graph = model.graph
    (vector,) = graph.outputs
    assert vector.shape is not None, "the manifest names every axis"
    batch, width = vector.shape
    axis = new_constant(graph, "token.axis", np.array([1], np.int64))
    _replace_output(graph, 0, "Unsqueeze", [vector, axis], [batch, 1, width], name=_STATES)


def make_decoder(model: ir.Model) -> None:
    """Give a graph with a cache the interface of other decoders, in place.

    Before::

        input_ids, attention_mask, token_type_ids, past keys and values -> logits (B, V)

    After::

        input_ids, attention_mask, past keys and values -> logits (B, 1, V)

    Whoever takes the last token's logits then has them. Types are those of a single text, 0.

    Raises:
        TargetError: The graph keeps no cache, as those of older bundles do not.
    """
    graph = model.graph
    if not any(map(_is_cache, graph.inputs)):
        raise TargetError(
            "graph keeps no keys and values from one call to the next",
            expected="inputs past_key_values.<layer>.key and .value",
            got=", ".join(str(value.name) for value in graph.inputs),
            fix="Export the bundle again",
        )
    ids, types = _input(graph, "input_ids"), _input(graph, "token_type_ids")
    assert ids is not None, "the task's interface has it"
    assert types is not None, "the task's interface has it"
    zeros = insert_node(
        graph,
        graph[0],
        "Sub",
        [ids, ids],
        name="token_types.zeros",
        shape=types.shape,
        dtype=ir.DataType.INT64,
    )
    ir.convenience.replace_all_uses_with(types, zeros)
    graph.inputs.remove(types)
    index, logits = next(
        (index, value) for index, value in enumerate(graph.outputs) if value.name == "logits"
    )
    assert logits.shape is not None, "the manifest names every axis"
    batch, width = logits.shape
    axis = new_constant(graph, "token.axis", np.array([1], np.int64))
    _replace_output(graph, index, "Unsqueeze", [logits, axis], [batch, 1, width])


def _is_cache(value: ir.Value) -> bool:
    """Whether an input holds keys or values of earlier calls."""
    return any(str(getattr(axis, "value", axis)) == PAST for axis in value.shape or ())


def lower_to(model: ir.Model, most: int | None) -> int:
    """Declare the lowest opset that the graph can have, in place.

    Args:
        model: The graph.
        most: The opset must not be above it: standard ``Attention``, of opset 23, then becomes
            ONNX Runtime's ``MultiHeadAttention``.

    Returns:
        The opset.

    Raises:
        TargetError: The graph needs a later opset than ``most``.
    """
    opset = lower_as_far_as_legal(model)
    if most is not None and opset > most:
        _use_older_attention(model)
        opset = lower_as_far_as_legal(model)
    if most is not None and opset > most:
        raise TargetError(
            f"graph cannot be written in opset {most}",
            expected=f"opset {opset} or later, the lowest that its operators are in",
            got=most,
        )
    return opset


def save_model(model: ir.Model, path: Path, *, external_data: bool) -> None:
    """Write a graph, with its weights inside or beside it in ``<name>_data``.

    Args:
        model: The graph.
        path: Of the graph file.
        external_data: Whether weights lie beside it; they do where one file could not hold them.
    """
    size = sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if external_data or size > _MOST_BYTES:
        ir.save(model, path, external_data=f"{path.name}{DATA_SUFFIX}")
        return
    ir.external_data.load_to_model(model)
    ir.save(model, path)


def _use_older_attention(model: ir.Model) -> None:
    """Write ``Attention`` with the operator that ONNX Runtime had before, branches included."""
    for node in tuple(ir.traversal.RecursiveGraphIterator(model.graph)):
        if node.op_type != "Attention":
            continue
        attention = read_attention(node)
        if attention is None or isinstance(attention, Refusal):
            continue
        graph = node.graph
        assert graph is not None, "the iterator gives nodes of graphs"
        mask = attention.mask
        output = node.outputs[0]
        older = ir.node(
            "MultiHeadAttention",
            [*attention.parts, *((None, None, mask) if mask is not None else ())],
            {"num_heads": attention.heads, "scale": attention.scale},
            domain=CONTRIB,
            name=f"{node.name}.multi_head",
            outputs=[ir.Value(name=f"{output.name}.older", shape=output.shape, type=output.type)],
        )
        graph.insert_before(node, older)
        substitute(output, older.outputs[0])
        graph.remove(node, safe=True)
    model.graph.opset_imports.setdefault(CONTRIB, 1)


def _input(graph: ir.Graph, name: str) -> ir.Value | None:
    return next((value for value in graph.inputs if value.name == name), None)


def _replace_output(
    graph: ir.Graph,
    index: int,
    op_type: str,
    inputs: list[ir.Value],
    shape: list[ir.SymbolicDim | int | str],
    *,
    name: str | None = None,
) -> None:
    """Let a new node make an output, under the name of the one that it reads or another."""
    value = inputs[0]
    kept = str(value.name)
    value.name = f"{kept}.before"
    node = ir.node(
        op_type,
        inputs,
        name=f"{kept}.{op_type.lower()}",
        outputs=[ir.Value(name=name or kept, shape=ir.Shape(shape), type=value.type)],
    )
    graph.append(node)
    graph.outputs[index] = node.outputs[0]
