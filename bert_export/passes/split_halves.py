"""Write an encoder-decoder's graph as two: one that runs once per text, and one per token."""

from __future__ import annotations

import onnx_ir as ir

from bert_export.passes.editing import attribute
from bert_export.passes.graph_pass import remove_unused
from bert_export.tasks.interface import SOURCE, decoder_name

__all__ = ["has_halves", "split_halves"]


def has_halves(model: ir.Model) -> bool:
    """Whether a graph encodes a text and lets a decoder attend to it."""
    return any(SOURCE in _axes(value) for value in model.graph.outputs)


def _axes(value: ir.Value) -> tuple[str | int, ...]:
    return tuple(axis if isinstance(axis, int) else str(axis.value) for axis in value.shape or ())


def split_halves(model: ir.Model) -> tuple[ir.Model, ir.Model]:
    """Cut a graph where the decoder reads what the encoder made of the text.

    Before::

        text -> encoder -> keys and values of the text (also outputs) ─┐
        tokens, cache ─────────────────────────────────────────────────┴> decoder -> logits, cache

    After::

        text -> encoder -> keys and values of the text
        keys and values of the text, its mask, tokens, cache -> decoder -> logits, cache

    Args:
        model: In a target's form; it stays as it is. Its outputs with the axis ``source`` are what
            the decoder reads.

    Returns:
        The graphs of encoder and decoder, with the inputs and outputs of
        :func:`bert_export.tasks.interface.split_interface`.
    """
    encoder, decoder = model.clone(), model.clone()
    # The encoder: of the text's inputs and outputs.
    graph = encoder.graph
    text = [value for value in graph.inputs if SOURCE in _axes(value)]
    kept = [value for value in graph.outputs if SOURCE in _axes(value)]
    graph.outputs.clear()
    graph.outputs.extend(kept)
    _keep_inputs(graph, text)
    graph.name = "encoder"
    # The decoder: what the encoder gives comes in.
    graph = decoder.graph
    given = [value for value in graph.outputs if SOURCE in _axes(value)]
    others = [value for value in graph.outputs if SOURCE not in _axes(value)]
    graph.outputs.clear()
    graph.outputs.extend(others)
    taken = []
    for value in given:
        into = ir.Value(name=f"{value.name}.taken", shape=value.shape, type=value.type)
        ir.convenience.replace_all_uses_with(value, into)
        taken.append(into)
    own = [value for value in graph.inputs if SOURCE not in _axes(value)]
    mask = [value for value in graph.inputs if value.name == "attention_mask"]
    _keep_inputs(graph, [*own, *mask, *taken])
    for value, name in zip(
        graph.inputs,
        [decoder_name(str(value.name).removesuffix(".taken")) for value in graph.inputs],
        strict=True,
    ):
        value.name = name
    graph.name = "decoder"
    return encoder, decoder


def _keep_inputs(graph: ir.Graph, inputs: list[ir.Value]) -> None:
    """Leave a graph what these inputs are enough for; its outputs need no more.

    Sizes of axes are looked up in whichever input the tracer saw first: here in one that stays.
    """
    remove_unused(graph)
    kept = {str(value.name) for value in inputs}
    for node in list(graph):
        value = node.inputs[0] if node.op_type == "Shape" else None
        if value is None or not value.is_graph_input() or str(value.name) in kept:
            continue
        place = attribute(node, "start", 0)
        axis = _axes(value)[place]
        other, at = next((each, _axes(each).index(axis)) for each in inputs if axis in _axes(each))
        node.replace_input_with(0, other)
        node.attributes["start"] = ir.AttrInt64("start", at)
        node.attributes["end"] = ir.AttrInt64("end", at + 1)
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    remove_unused(graph)
