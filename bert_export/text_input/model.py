"""The tokenizer of a bundle as a model of its own, and in front of a graph that takes ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import read_manifest
from bert_export.errors import TargetError
from bert_export.passes.graph_pass import remove_unused
from bert_export.regular_files import read_regular_text
from bert_export.tasks.interface import (
    BATCH,
    CHOICES,
    MASKED_POSITIONS,
    OFFSETS,
    SEQUENCE,
    TEXT,
    TEXT_PAIR,
    TOKEN_INPUTS,
    TextForm,
)
from bert_export.text_input.check import check_tokenizer
from bert_export.text_input.graph import TokenizerPlan, write_tokenizer
from bert_export.text_input.plan import make_plan
from bert_export.text_input.writer import Writer

__all__ = ["MOST_BYTES", "check_inputs", "put_tokenizer", "tokenizer_graph", "tokenizer_model"]

MOST_BYTES = 1 << 28
"""That a tokenizer.json may have."""

_DOMAINS = {"": 20, "ai.onnx.ml": 4, "com.microsoft": 1}
"""Operators that the tokenizer needs, all of them part of every ONNX Runtime."""

_IR_VERSION = 9
_PREFIX = "tokenizer"


def tokenizer_graph(bundle: str | Path, *, pairs: bool = False) -> ir.Model:
    """Write the tokenizer of a bundle as a graph.

    Args:
        bundle: The bundle's folder.
        pairs: Whether a row holds two texts.

    Returns:
        A model for ONNX Runtime, of stock operators alone. Inputs: ``text``, string (B), and with
        ``pairs`` also ``text_pair``. Outputs: ``input_ids``, ``attention_mask`` and
        ``token_type_ids``, int64 (B, S), truncated and padded as the bundle's pipelines do; and
        ``offsets``, int64 (B, S, 2), in characters.

    Raises:
        BundleError: There is no such bundle.
        TokenizerError: Its tokenizer has no exact form in a graph; the message names the part.
        VerificationError: A text has other ids than the ``tokenizers`` library gives it.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    text = read_regular_text(folder / manifest.tokenizer.file, most=MOST_BYTES)
    plan = make_plan(text, manifest.tokenizer)
    check_tokenizer(plan, text, pairs=pairs)
    return tokenizer_model(plan, pairs=pairs)


def tokenizer_model(plan: TokenizerPlan, *, pairs: bool) -> ir.Model:
    """The graph of a plan, not compared with anything; see :func:`tokenizer_graph`."""
    texts = _text_inputs("pair" if pairs else "single")
    writer = Writer(_PREFIX)
    outputs = write_tokenizer(plan, writer, texts)
    graph = ir.Graph(
        texts,
        [_output(value, name, (BATCH, SEQUENCE)) for name, value in outputs.items()],
        nodes=writer.nodes,
        initializers=writer.initializers,
        opset_imports=_DOMAINS,
        name=_PREFIX,
    )
    remove_unused(graph)
    return ir.Model(graph, ir_version=_IR_VERSION, producer_name="bert-export")


def put_tokenizer(
    model: ir.Model, plan: TokenizerPlan, *, form: TextForm, mask_id: int | None
) -> None:
    """Let a graph that takes ids take texts, in place.

    Before::

        input_ids, attention_mask, token_type_ids -> ... -> outputs

    After::

        text, text_pair -> tokenizer -> ... -> outputs, input_ids, attention_mask, offsets

    Args:
        model: Of ONNX Runtime's operators, in opset 20 or later.
        plan: The tokenizer.
        form: Of the texts.
        mask_id: Of the token whose places a graph scores that scores no others.

    Raises:
        TargetError: The graph has an input that no text says, or is of an older opset.
    """
    graph = model.graph
    check_inputs(str(value.name) for value in graph.inputs)
    if graph.opset_imports[""] < _DOMAINS[""]:
        raise TargetError(
            "graph cannot take texts",
            expected=f"opset {_DOMAINS['']} or later",
            got=graph.opset_imports[""],
        )
    texts = _text_inputs(form)
    writer = Writer(_PREFIX)
    made = dict(_write(plan, writer, texts, form))
    axes = (BATCH, CHOICES, SEQUENCE) if form == "choices" else (BATCH, SEQUENCE)
    told = [name for name in (*_TOLD, OFFSETS) if name in made]
    if any(value.name == MASKED_POSITIONS for value in graph.inputs):
        made[MASKED_POSITIONS] = _masked_positions(writer, made["input_ids"], mask_id)
    for value in tuple(graph.inputs):
        ir.convenience.replace_all_uses_with(value, made[str(value.name)])
    graph.inputs[:] = texts
    graph.insert_before(graph[0], writer.nodes)
    for value in writer.initializers:
        graph.register_initializer(value)
    graph.outputs.extend(_output(made[name], name, axes) for name in told)
    remove_unused(graph)
    graph.opset_imports.update({name: _DOMAINS[name] for name in _DOMAINS if name})


def check_inputs(names: Iterable[str]) -> None:
    """Refuse a graph with an input that no text says.

    Raises:
        TargetError: There is one, such as the part of a prompt that is not pooled.
    """
    for name in names:
        if name not in (*TOKEN_INPUTS, MASKED_POSITIONS):
            raise TargetError(
                f"graph cannot take texts: it has the input {name}",
                expected=", ".join(TOKEN_INPUTS),
                got=name,
                fix="Export without --text-input",
            )


_TOLD = TOKEN_INPUTS[:2]


def _write(
    plan: TokenizerPlan, w: Writer, texts: Sequence[ir.Value], form: TextForm
) -> Mapping[str, ir.Value]:
    """The tokenizer's operators; rows of choices stand one below the other in between."""
    if form != "choices":
        return write_tokenizer(plan, w, texts)
    prompt, choices = texts
    shape = w.op("Shape", choices)
    column = w.op("Unsqueeze", prompt, w.int64([1]))
    prompts = w.op("Reshape", w.op("Expand", column, shape), w.int64([-1]))
    rows = write_tokenizer(plan, w, [prompts, w.op("Reshape", choices, w.int64([-1]))])
    whole = w.op("Concat", shape, w.int64([-1]), axis=0)
    return {name: w.op("Reshape", value, whole) for name, value in rows.items() if name != OFFSETS}


def _masked_positions(w: Writer, ids: ir.Value, mask_id: int | None) -> ir.Value:
    """``row * S + column`` of every mask, int64 (M)."""
    assert mask_id is not None, "a graph that scores masks has a mask token"
    flat = w.op("Reshape", ids, w.int64([-1]))
    places = w.op("NonZero", w.op("Equal", flat, w.int64(mask_id)))
    return w.op("Reshape", places, w.int64([-1]))


def _text_inputs(form: TextForm) -> list[ir.Value]:
    shapes: dict[str, tuple[str, ...]] = {TEXT: (BATCH,)}
    if form != "single":
        shapes[TEXT_PAIR] = (BATCH, CHOICES) if form == "choices" else (BATCH,)
    return [
        ir.Value(name=name, type=ir.TensorType(ir.DataType.STRING), shape=ir.Shape(shape))
        for name, shape in shapes.items()
    ]


def _output(value: ir.Value, name: str, axes: Sequence[str]) -> ir.Value:
    value.name = name
    value.type = ir.TensorType(ir.DataType.INT64)
    value.shape = ir.Shape([*axes, *([2] if name == OFFSETS else [])])
    return value
