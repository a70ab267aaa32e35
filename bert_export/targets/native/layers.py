"""Readers of layers: norms, linear layers with their activations, attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import onnx_ir as ir

from bert_export.bundle.program import Activation, Attention, Embed, Linear, Norm, ProgramCache
from bert_export.passes.editing import attribute, constant, static_dim, use_count
from bert_export.passes.fused_attention import FusedAttention, read_attention
from bert_export.passes.graph_pass import Refusal
from bert_export.targets.native.builder import Result
from bert_export.targets.native.meanings import (
    AttentionMask,
    Dequantized,
    EmbeddedRows,
    Gate,
    Meaning,
    Past,
    Present,
    ScaledWeight,
    Transposed,
)
from bert_export.targets.native.walk import NoMeaningError, Reader, Walk

__all__ = ["READERS"]


def _layer_normalization(walk: Walk, node: ir.Node) -> Meaning:
    x, gamma, beta = node.inputs
    if constant(gamma) is None or constant(beta) is None:
        raise NoMeaningError("its weight or bias is not stored")
    meaning, name = walk.of(x), node.outputs[0].name
    common = {
        "gamma": walk.builder.tensor(cast("ir.Value", gamma)),
        "beta": walk.builder.tensor(cast("ir.Value", beta)),
        "epsilon": float(attribute(node, "epsilon", 1e-5)),
    }
    if not isinstance(meaning, EmbeddedRows):
        result = walk.result(x)
        x_name = walk.builder.as_float(result)
        return walk.builder.add(name, Norm, result.rows, result.width, x=x_name, **common)
    tables = (meaning.word, meaning.token_type, meaning.position)
    if any(table is None for table in tables):
        raise NoMeaningError("it normalizes something else than the sum of three tables' rows")
    word, token_type, position = (cast("ir.Value", table) for table in tables)
    scale = meaning.word_scale
    if (constant(word).dtype == np.int8) != (scale is not None):  # type: ignore[union-attr]
        raise NoMeaningError("a table of int8 has no scales")
    return walk.builder.add(
        name,
        Embed,
        "tokens",
        int(static_dim(word, 1) or 0),
        word=walk.builder.tensor(word),
        word_scale=None if scale is None else walk.builder.tensor(scale, flat=True),
        token_type=walk.builder.tensor(token_type),
        position=walk.builder.tensor(position),
        **common,
    )


def _mat_mul(walk: Walk, node: ir.Node) -> Meaning:
    left, right = node.inputs
    x, weight = walk.all_of(node)
    scale: ir.Value | None = None
    stored, transposed = right, False
    if isinstance(weight, ScaledWeight):
        stored, scale = weight.weight, weight.scale
        if not isinstance(x, Dequantized):
            raise NoMeaningError("its weight is int8 and its activation is not uint8")
        result, x_name = x.quantized.result, x.quantized.name
    else:
        if isinstance(weight, Transposed):
            stored, transposed = weight.stored, True
        result, x_name = walk.operand(left)
    array = constant(stored)
    if stored is None or array is None or array.ndim != 2:
        raise NoMeaningError("its weight is not stored")
    return walk.builder.add(
        node.outputs[0].name,
        Linear,
        result.rows,
        array.shape[0 if transposed else 1],
        x=x_name,
        weight=walk.builder.tensor(stored),
        weight_scale=None if scale is None else walk.builder.tensor(scale),
        transposed=transposed,
        bias=None,
        activation="none",
        residual=None,
    )


def _activation(name: Activation) -> Reader:
    def read(walk: Walk, node: ir.Node) -> Meaning:
        used = name
        if node.op_type == "Gelu" and attribute(node, "approximate", "none") == "tanh":
            used = "gelu_tanh"
        x = node.inputs[0]
        gated = _gated(node)
        layer = walk.of(x) if gated else walk.open_linear(x)
        if not isinstance(layer, Result) or layer.kind is not Linear or layer.values:
            raise NoMeaningError("it does not follow a linear layer")
        if layer.fields["activation"] != "none" or layer.fields["residual"] is not None:
            raise NoMeaningError("the linear layer before it has another or a residual")
        if gated:
            walk.builder.extend(layer, layer.name, activation="silu")
            return Gate(layer)
        return walk.builder.extend(layer, node.outputs[0].name, activation=used)

    return read


def _gated(node: ir.Node) -> bool:
    """Whether a sigmoid and its own input, which nothing else reads, are multiplied: SiLU."""
    x, output = node.inputs[0], node.outputs[0]
    if node.op_type != "Sigmoid" or x is None or use_count(x) != 2 or use_count(output) != 1:
        return False
    reader = next(iter(output.uses())).node
    return reader.op_type == "Mul" and not reader.domain and x in reader.inputs


def _attention(walk: Walk, node: ir.Node) -> Meaning:
    attention = read_attention(node)
    if attention is None or isinstance(attention, Refusal):
        raise NoMeaningError("it is of another domain" if attention is None else attention.reason)
    (query, query_name), (key, key_name), (value, value_name) = map(walk.operand, attention.parts)
    mask = walk.of(attention.mask)
    if not isinstance(mask, AttentionMask):
        raise NoMeaningError("its mask is not made of the attention mask")
    if (key.rows, value.rows) != ("tokens", "tokens") or query.rows == "masks":
        raise NoMeaningError("its keys are not those of all tokens")
    if mask.causal and query.rows != "tokens":
        raise NoMeaningError("one token of each text reads through a causal mask")
    cache = _cache(walk, attention) if attention.past else None
    return walk.builder.add(
        node.outputs[0].name,
        Attention,
        query.rows,
        query.width,
        query=query_name,
        key=key_name,
        value=value_name,
        heads=int(attention.heads),
        scale=float(attention.scale),
        causal=mask.causal,
        cache=cache,
    )


def _cache(walk: Walk, attention: FusedAttention) -> int:
    """The place of an attention's cache among the program's; what it gives out gets its meaning."""
    names = []
    for past, present in zip(attention.past, attention.present, strict=True):
        meaning = walk.of(past)
        if not isinstance(meaning, Past):
            raise NoMeaningError("its past is no input of the graph")
        names += [meaning.name, str(present.name)]
        walk.meanings[present] = Present(meaning.name)
    past_key, present_key, past_value, present_value = names
    known = {name for cache in walk.caches for name in (cache.past_key, cache.past_value)}
    if past_key == past_value or known & {past_key, past_value}:
        raise NoMeaningError("another attention, or its other half, reads the same past")
    walk.caches.append(
        ProgramCache(
            past_key=past_key,
            past_value=past_value,
            present_key=present_key,
            present_value=present_value,
        )
    )
    return len(walk.caches) - 1


READERS: Mapping[str, Reader] = {
    "Attention": _attention,
    "Gelu": _activation("gelu"),
    "LayerNormalization": _layer_normalization,
    "MatMul": _mat_mul,
    "Relu": _activation("relu"),
    "Sigmoid": _activation("sigmoid"),
    "Tanh": _activation("tanh"),
}
"""By operator of the standard domain."""
