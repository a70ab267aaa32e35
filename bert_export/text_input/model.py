"""The tokenizer of a bundle as a model, compared with the library before anyone gets it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import read_manifest
from bert_export.regular_files import read_regular_text
from bert_export.text_input.check import check_tokenizer
from bert_export.text_input.graph import TokenizerPlan, write_tokenizer
from bert_export.text_input.plan import make_plan
from bert_export.text_input.writer import Writer

__all__ = ["tokenizer_graph", "tokenizer_model"]

DOMAINS = {"": 20, "ai.onnx.ml": 4, "com.microsoft": 1}
"""Operators that the tokenizer needs, all of them part of every ONNX Runtime."""

_TEXTS = ("text", "text_pair")
_IR_VERSION = 9
_MOST_BYTES = 1 << 28


def tokenizer_graph(bundle: str | Path, *, pairs: bool = False) -> ir.Model:
    """Write the tokenizer of a bundle as a graph.

    Args:
        bundle: The bundle's folder.
        pairs: Whether a row holds two texts.

    Returns:
        A model for ONNX Runtime, of stock operators alone. Inputs: ``text``, string (B), and with
        ``pairs`` also ``text_pair``. Outputs: ``input_ids``, ``attention_mask`` and
        ``token_type_ids``, int64 (B, S), truncated and padded as the bundle's pipelines do; and
        ``offsets``, int64 (B, S, 2), in characters. Where normalization changes the order of marks,
        which it does with some of musical notation and Hangul, an offset may be one mark wider than
        the library's.

    Raises:
        BundleError: There is no such bundle.
        TokenizerError: Its tokenizer has no exact form in a graph; the message names the part.
        VerificationError: A text has other ids than the ``tokenizers`` library gives it.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    text = read_regular_text(folder / manifest.tokenizer.file, most=_MOST_BYTES)
    plan = make_plan(text, manifest.tokenizer)
    model = tokenizer_model(plan, pairs=pairs)
    check_tokenizer(model, text, max_length=manifest.tokenizer.max_length, pairs=pairs)
    return model


def tokenizer_model(plan: TokenizerPlan, *, pairs: bool) -> ir.Model:
    """The graph of a plan, not compared with anything; see :func:`tokenizer_graph`."""
    texts = _text_inputs(pairs=pairs)
    writer = Writer("tokenizer")
    outputs = write_tokenizer(plan, writer, texts)
    graph = ir.Graph(
        texts,
        [_output(value, name) for name, value in outputs.items()],
        nodes=writer.nodes,
        initializers=writer.initializers,
        opset_imports=DOMAINS,
        name="tokenizer",
    )
    return ir.Model(graph, ir_version=_IR_VERSION, producer_name="bert-export")


def _text_inputs(*, pairs: bool) -> Sequence[ir.Value]:
    names = _TEXTS if pairs else _TEXTS[:1]
    return [
        ir.Value(name=name, type=ir.TensorType(ir.DataType.STRING), shape=ir.Shape(["batch"]))
        for name in names
    ]


def _output(value: ir.Value, name: str) -> ir.Value:
    value.name = name
    value.type = ir.TensorType(ir.DataType.INT64)
    value.shape = ir.Shape(["batch", "sequence", *([2] if name == "offsets" else [])])
    return value
