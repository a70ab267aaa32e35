"""From the prepared, perhaps quantized graph to a program: every value of the graph is understood.

The nodes are taken in order. Each gives its output a meaning out of those of its inputs (see
:mod:`bert_export.targets.native.meanings`), by the row of its operator in :data:`_READERS`. What
computes something joins the program; a bias, an activation, a residual or a quantization joins the
operation before it. A node that no row understands is refused by its name, with the reason. Nothing
is inferred from names but those of the task's interface.

What a padded graph computes for the padding, and how it hides it, has no place in a program of
ragged rows. The masks are followed to where they are used, so that a mask that means anything else
is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import onnx_ir as ir

from bert_export.bundle.program import (
    Activation,
    Attention,
    Concat,
    Embed,
    Gather,
    GatherIndex,
    Interface,
    Linear,
    Norm,
    Normalize,
    Pool,
    PoolMode,
    Program,
    ProgramOutput,
    ProgramTensor,
    Rows,
)
from bert_export.errors import TargetError
from bert_export.passes.editing import (
    attribute,
    constant,
    is_output,
    is_vector,
    scalar,
    static_dim,
    use_count,
)
from bert_export.passes.fuse_attention import is_relative
from bert_export.passes.fused_attention import read_attention
from bert_export.passes.graph_pass import Refusal
from bert_export.targets.native.builder import ProgramBuilder, Result, StoredTensor
from bert_export.targets.native.meanings import (
    Affine,
    AttentionMask,
    Column,
    Count,
    Dequantized,
    EmbeddedRows,
    Gate,
    HiddenTokens,
    HiddenTokensRemoved,
    Ids,
    Length,
    Meaning,
    OneAtIndex,
    Ordinals,
    Pairs,
    Quantized,
    Rounded,
    ScaledWeight,
    Size,
    Summed,
    TokenIndex,
    Transposed,
    Visible,
    Weighted,
)
from bert_export.tasks.interface import MASKED_POSITIONS

__all__ = ["Translation", "translate"]

_IDS = ("input_ids", "token_type_ids", MASKED_POSITIONS)
_MASKS = ("attention_mask", "pooling_mask")
_HIDDEN = -1e4
"""What is added to the scores of hidden keys is less than this."""

_LEAST_COUNT = 1e-9


@dataclass(frozen=True, slots=True)
class Translation:
    """A program whose tensors have no place yet."""

    builder: ProgramBuilder
    outputs: tuple[ProgramOutput, ...]

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """What the program reads, by name."""
        return self.builder.tensors

    def program(
        self, interface: Interface, tensors: Mapping[str, ProgramTensor], weights: str
    ) -> Program:
        """The program; see :meth:`ProgramBuilder.finish`."""
        return self.builder.finish(interface, self.outputs, tensors, weights)


def translate(model: ir.Model) -> Translation:
    """Read a graph as a program.

    Args:
        model: Prepared, perhaps quantized; it is unchanged afterwards.

    Raises:
        TargetError: Names the node that a program cannot hold, and the reason.
    """
    if is_relative(model):
        raise TargetError(
            "graph has positions that are relative, which a program of target native cannot hold",
            expected="absolute positions",
            got="a term of the scores for the distance of tokens",
            fix="Export for another target",
        )
    return _Translator(model.graph).run()


class _Unknown(Exception):  # noqa: N818 - not an error by itself: the translator names the node
    """Why a node has no meaning."""


class _Translator:
    """The walk over the nodes of one graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.builder = ProgramBuilder()
        self.meanings: dict[ir.Value, Meaning] = {}

    def run(self) -> Translation:
        for value in self.graph.inputs:
            name = str(value.name)
            if name in _IDS:
                self.meanings[value] = Ids(name)
            elif name in _MASKS:
                self.meanings[value] = Visible(name)
            else:
                raise TargetError(
                    f"graph has the input {name}, which a program of target native cannot hold",
                    expected=", ".join((*_IDS, *_MASKS)),
                    got=name,
                    fix="Export for another target",
                )
        for node in self.graph:
            reader = None if node.domain else _READERS.get(node.op_type)
            try:
                if reader is None:
                    raise _Unknown("it has no operation for it")  # noqa: TRY301
                self.meanings[node.outputs[0]] = reader(self, node)
            except _Unknown as reason:
                raise TargetError(
                    f"{node.op_type} node {node.name} cannot be held by a program of target "
                    f"native: {reason}",
                    fix="Export for another target",
                ) from None
        return Translation(self.builder, tuple(map(self.output, self.graph.outputs)))

    # What readers ask of a node's inputs.

    def of(self, value: ir.Value | None) -> Meaning | None:
        """The meaning of a value; ``None`` for a constant."""
        return None if value is None else self.meanings.get(value)

    def all_of(self, node: ir.Node) -> list[Meaning | None]:
        return [self.of(value) for value in node.inputs]

    def only_sizes(self, node: ir.Node) -> bool:
        """Whether all inputs are sizes or constants, one a size at least."""
        meanings = [self.of(value) for value in node.inputs if constant(value) is None]
        return bool(meanings) and all(isinstance(meaning, Size) for meaning in meanings)

    def result(self, value: ir.Value | None) -> Result:
        """A result of the program."""
        meaning = self.of(value)
        if not isinstance(meaning, Result):
            name = None if value is None else value.name
            raise _Unknown(f"its input {name} is no result of an operation")
        return meaning

    def operand(self, value: ir.Value | None) -> tuple[Result, str]:
        """A result that a product reads, and the value in the number format that it reads."""
        meaning = self.of(value)
        if isinstance(meaning, Rounded):
            return meaning.result, self.builder.as_bfloat16(meaning.result)
        result = self.result(value)
        return result, self.builder.as_float(result)

    def open_linear(self, value: ir.Value | None) -> Result | None:
        """A linear layer's result that only the node at hand reads."""
        meaning = self.of(value)
        if not isinstance(meaning, Result) or meaning.kind is not Linear or value is None:
            return None
        return meaning if use_count(value) == 1 and not meaning.values else None

    def output(self, value: ir.Value) -> ProgramOutput:
        meaning, column = self.of(value), None
        if isinstance(meaning, Column):
            meaning, column = meaning.result, meaning.column
        if not isinstance(meaning, Result):
            raise TargetError(
                f"output {value.name} cannot be held by a program of target native",
                expected="a result of an operation",
                got="another value",
                fix="Export for another target",
            )
        axes = {"tokens": 2, "texts": 1, "masks": 1}[meaning.rows] + (column is None)
        shape = value.shape
        choices = column is not None and meaning.rows == "texts"  # (B, C) for rows of choices
        if shape is None or len(shape) not in ((axes, axes + 1) if choices else (axes,)):
            raise TargetError(
                f"output {value.name} cannot be held by a program of target native",
                expected=f"{axes} axes",
                got=shape,
                fix="Export for another target",
            )
        return ProgramOutput(
            name=str(value.name), value=self.builder.as_float(meaning), column=column
        )


# Embeddings, indices and selections.


def _gather(walk: _Translator, node: ir.Node) -> Meaning:
    data, index = node.inputs
    axis = attribute(node, "axis", 0)
    ids, what = walk.of(index), walk.of(data)
    array = constant(data)
    if array is not None and isinstance(ids, Ids) and axis == 0 and array.ndim == 2:
        return _lookup(cast("ir.Value", data), ids)
    if isinstance(what, Size):
        return Size()
    position = constant(index)
    if isinstance(what, Result) and axis in (1, -2) and position is not None:
        if position.size != 1 or int(position.reshape(-1)[0]) != 0:
            raise _Unknown("it takes other tokens than the first")
        return _select(walk, node, what, "first")
    if isinstance(what, Result) and axis == 0 and ids == Ids(MASKED_POSITIONS):
        return _select(walk, node, what, "masked_positions")
    if isinstance(what, AttentionMask):  # one query's row
        first = position is not None and position.size == 1 and not position.any()
        if what.causal or not first or axis != 2:
            raise _Unknown("it takes a row out of a causal mask")
        return what
    raise _Unknown("it is no lookup in a table and takes no token out of a result")


def _lookup(table: ir.Value, ids: Ids) -> Meaning:
    if ids.name == "token_type_ids":
        return EmbeddedRows(token_type=table)
    if ids.name != "input_ids":
        raise _Unknown(f"{ids.name} look up rows of a table")
    if static_dim(table, 1) == 1:
        return EmbeddedRows(word_scale=table)
    return EmbeddedRows(word=table)


def _select(walk: _Translator, node: ir.Node, result: Result, index: GatherIndex) -> Result:
    """Some tokens of a result; a result of one token per text is that already."""
    if result.rows == "texts" and index != "masked_positions":
        return result
    if result.rows != "tokens":
        raise _Unknown(f"it takes tokens out of rows of {result.rows}")
    rows: Rows = "masks" if index == "masked_positions" else "texts"
    name, x = node.outputs[0].name, walk.builder.as_float(result)
    return walk.builder.add(name, Gather, rows, result.width, x=x, index=index)


def _gather_tokens(walk: _Translator, node: ir.Node) -> Meaning:
    """GatherND and GatherElements: the token of an index in every text."""
    if node.op_type == "GatherND" and attribute(node, "batch_dims", 0) != 1:
        raise _Unknown("it does not take a token out of every text")
    if node.op_type == "GatherElements" and attribute(node, "axis", 0) not in (1, -2):
        raise _Unknown("it does not take a token out of every text")
    what, index = walk.all_of(node)
    if not isinstance(index, TokenIndex):
        raise _Unknown("its index is not that of a first or last token")
    if isinstance(what, Result):
        return _select(walk, node, what, index.index)
    if isinstance(what, Visible) and not what.causal and not what.inverted:
        pooled = what.mask != _MASKS[0]
        if pooled == index.index.endswith("_pooled") and not what.ordinal:
            return OneAtIndex()
    if isinstance(what, AttentionMask):
        if not what.causal or index.index == "last":  # the last token sees all
            return AttentionMask(causal=False)
        raise _Unknown("a token other than the last reads through a causal mask")
    raise _Unknown("what it takes a token out of is no result")


def _arg_max(walk: _Translator, node: ir.Node) -> Meaning:
    visible = walk.of(node.inputs[0])
    if not isinstance(visible, Visible) or visible.causal or visible.inverted:
        raise _Unknown("it does not look for a token of a mask")
    if attribute(node, "axis", 0) not in (1, -1):
        raise _Unknown("it does not run over the tokens")
    last = visible.ordinal or bool(attribute(node, "select_last_index", 0))
    if visible.mask == _MASKS[0]:
        return TokenIndex("last" if last else "first")
    return TokenIndex("last_pooled" if last else "first_pooled")


def _slice(walk: _Translator, node: ir.Node) -> Meaning:
    data, start, end, axes, *steps = node.inputs
    what = walk.of(data)
    begin, axis = scalar(start), scalar(axes)
    if isinstance(what, Size):
        return what
    if any(scalar(step) != 1 for step in steps) or begin is None or axis is None:
        raise _Unknown("its bounds are not constant")
    table = constant(data)
    if table is not None and table.ndim == 2:
        if begin != 0 or axis != 0 or not isinstance(walk.of(end), Size):
            raise _Unknown("it does not take the first rows of a table")
        return EmbeddedRows(position=cast("ir.Value", data))
    stop = scalar(end)
    rank = len(getattr(data, "shape", None) or ())
    if isinstance(what, Result) and axis in (-1, rank - 1) and stop == begin + 1:
        return Column(what, int(begin))
    raise _Unknown("it takes neither rows of a table nor one column of a result")


# Shapes, masks and other values that padding needs and ragged rows do not.


def _range(walk: _Translator, node: ir.Node) -> Meaning:
    first, step = scalar(node.inputs[0]), scalar(node.inputs[2])
    if first is None or step != 1 or not isinstance(walk.of(node.inputs[1]), Size):
        raise _Unknown("it does not count tokens")
    return Ordinals(int(first))


def _keep(walk: _Translator, node: ir.Node) -> Meaning:
    """Another form of what is no result: the meaning stays."""
    meaning = walk.of(node.inputs[0])
    if meaning is None or isinstance(meaning, Result | Rounded | Column | Quantized | Dequantized):
        raise _Unknown("it changes the form of a result")
    return meaning


def _cast(walk: _Translator, node: ir.Node) -> Meaning:
    """A cast to bfloat16 and back rounds a result; one of a mask or a size keeps its meaning."""
    meaning, to = walk.of(node.inputs[0]), attribute(node, "to", None)
    if isinstance(meaning, Result) and to == ir.DataType.BFLOAT16:
        return Rounded(meaning)
    if isinstance(meaning, Rounded) and to == ir.DataType.FLOAT:
        return meaning
    return _keep(walk, node)


def _squeeze(walk: _Translator, node: ir.Node) -> Meaning:
    meaning = walk.of(node.inputs[0])
    if isinstance(meaning, Result):
        if meaning.rows != "texts" or static_dim(node.outputs[0], -1) != meaning.width:
            raise _Unknown("it changes the form of a result")
        return meaning
    if isinstance(meaning, Column):
        return meaning
    return _keep(walk, node)


def _reshape(walk: _Translator, node: ir.Node) -> Meaning:
    meaning, output = walk.of(node.inputs[0]), node.outputs[0]
    if not isinstance(meaning, Result):
        return _keep(walk, node)
    if static_dim(output, -1) == meaning.width:  # (B, S, W) to (B * S, W)
        return meaning
    if meaning.width == 1 and meaning.rows == "texts" and is_output(output):  # choices
        return Column(meaning, 0)
    raise _Unknown("it changes the width of a result")


def _less_or_equal(walk: _Translator, node: ir.Node) -> Meaning:
    keys, queries = node.inputs
    if not (
        walk.all_of(node) == [Ordinals(0), Ordinals(0)]
        and static_dim(keys, 0) == 1
        and static_dim(queries, 1) == 1
    ):
        raise _Unknown("it does not compare the positions of keys with those of queries")
    return Pairs()


def _equal(walk: _Translator, node: ir.Node) -> Meaning:
    visible = walk.of(node.inputs[0])
    if not isinstance(visible, Visible) or visible != Visible(visible.mask):
        raise _Unknown("it compares something else than a mask")
    if scalar(node.inputs[1]) != 0:
        raise _Unknown("it does not look for the 0s of a mask")
    return HiddenTokens(visible.mask)


def _where(walk: _Translator, node: ir.Node) -> Meaning:
    hidden, low, result = (walk.of(value) for value in node.inputs)
    if not isinstance(hidden, HiddenTokens) or not isinstance(result, Result):
        raise _Unknown("it does not remove hidden tokens from a result")
    if low is not None or scalar(node.inputs[1]) != float("-inf") or result.rows != "tokens":
        raise _Unknown("it does not write -inf in place of hidden tokens")
    return HiddenTokensRemoved(result, hidden.mask)


def _sub(walk: _Translator, node: ir.Node) -> Meaning:
    visible = walk.of(node.inputs[1])
    if scalar(node.inputs[0]) != 1 or not isinstance(visible, Visible):
        raise _Unknown("it does not invert a mask")
    return replace(visible, inverted=not visible.inverted)


# Arithmetic.


def _add(walk: _Translator, node: ir.Node) -> Meaning:
    if walk.only_sizes(node):
        return Size()
    meanings = walk.all_of(node)
    left, right = meanings
    if isinstance(left, EmbeddedRows) and isinstance(right, EmbeddedRows):
        return _sum_of_rows(left, right)
    for index, meaning in enumerate(meanings):
        other = node.inputs[1 - index]
        if isinstance(meaning, Result) and is_vector(other):
            return _add_vector(walk, node, node.inputs[index], cast("ir.Value", other))
    for index, value in enumerate(node.inputs):
        layer, residual = walk.open_linear(value), meanings[1 - index]
        if layer is None or layer.fields["residual"] is not None:
            continue
        if isinstance(residual, Result) and residual is not layer:
            if (residual.rows, residual.width) != (layer.rows, layer.width):
                raise _Unknown("it adds a result of another shape")
            name = walk.builder.as_float(residual)
            return walk.builder.extend(layer, node.outputs[0].name, residual=name)
    raise _Unknown("it adds neither a bias nor a residual to a linear layer")


def _add_vector(
    walk: _Translator, node: ir.Node, value: ir.Value | None, vector: ir.Value
) -> Meaning:
    """A bias of a linear layer, or shifts before a quantization."""
    layer = walk.open_linear(value)
    if layer is not None:
        fields = layer.fields
        if (fields["bias"], fields["residual"], fields["activation"]) == (None, None, "none"):
            name = walk.builder.tensor(vector)
            return walk.builder.extend(layer, node.outputs[0].name, bias=name)
    return Affine(walk.result(value), add=vector)


def _sum_of_rows(left: EmbeddedRows, right: EmbeddedRows) -> EmbeddedRows:
    fields: dict[str, ir.Value] = {}
    for rows in (left, right):
        for name in ("word", "word_scale", "token_type", "position"):
            table = getattr(rows, name)
            if table is not None and name in fields:
                raise _Unknown(f"it adds rows of two tables of the kind {name}")
            if table is not None:
                fields[name] = table
    return EmbeddedRows(**fields)


def _mul(walk: _Translator, node: ir.Node) -> Meaning:
    if walk.only_sizes(node):
        return Size()
    meanings = walk.all_of(node)
    for index, meaning in enumerate(meanings):
        other, value = meanings[1 - index], node.inputs[1 - index]
        product = _product_of(meaning, other, value)
        if product is not None:
            return product
    raise _Unknown("it is no product that a program has")


def _product_of(
    meaning: Meaning | None, other: Meaning | None, value: ir.Value | None
) -> Meaning | None:
    """A factor's meaning times the other's; ``value`` is the other's, which may be constant."""
    if isinstance(meaning, Visible):
        return _product_of_mask(meaning, other, scalar(value))
    if isinstance(meaning, EmbeddedRows) and isinstance(other, EmbeddedRows):
        parts = (meaning.word_scale, meaning.token_type, meaning.position)
        if parts == (None, None, None) and other == EmbeddedRows(word_scale=other.word_scale):
            return replace(meaning, word_scale=other.word_scale)
    if isinstance(meaning, Affine) and meaning.multiply is None and is_vector(value):
        return replace(meaning, multiply=value)
    return _product_of_result(meaning, other, value) if isinstance(meaning, Result) else None


def _product_of_mask(
    visible: Visible, other: Meaning | None, factor: float | None
) -> Meaning | None:
    """A mask times a number, pairs of tokens or ordinals."""
    if other is None and factor is not None:
        hides = visible.inverted and not visible.ordinal and visible.mask == _MASKS[0]
        return AttentionMask(visible.causal) if hides and factor < _HIDDEN else None
    if isinstance(other, Pairs) and visible == Visible(_MASKS[0]):
        return replace(visible, causal=True)
    if other == Ordinals(1) and visible == Visible(visible.mask):
        return replace(visible, ordinal=True)
    return None


def _product_of_result(
    result: Result, other: Meaning | None, value: ir.Value | None
) -> Meaning | None:
    """A result times a mask, its own sigmoid or a constant per channel."""
    if isinstance(other, OneAtIndex):
        return result
    if isinstance(other, Visible) and result.rows == "tokens" and not other.inverted:
        return None if other.causal else Weighted(result, other)
    if isinstance(other, Gate) and other.result is result:
        return result
    return Affine(result, multiply=value) if value is not None and is_vector(value) else None


def _div(walk: _Translator, node: ir.Node) -> Meaning:
    above, below = walk.all_of(node)
    name = node.outputs[0].name
    if isinstance(above, Result) and isinstance(below, Length) and below.result is above:
        if below.least is None or above.rows != "texts":
            raise _Unknown("it divides by a length that may be 0")
        x = walk.builder.as_float(above)
        return walk.builder.add(
            name, Normalize, "texts", above.width, x=x, epsilon=float(below.least)
        )
    if isinstance(above, Summed) and isinstance(below, Count) and below.bounded:
        weighted = above.weighted
        if weighted.visible != below.visible or (below.root and below.visible.ordinal):
            raise _Unknown("it divides a sum by the size of another mask")
        mode: PoolMode = "mean_sqrt_len" if below.root else "mean"
        return _pool(
            walk,
            node,
            weighted.result,
            "weightedmean" if below.visible.ordinal else mode,
            below.visible.mask,
        )
    raise _Unknown("it is no mean and no normalization")


def _pool(walk: _Translator, node: ir.Node, result: Result, mode: PoolMode, mask: str) -> Result:
    return walk.builder.add(
        node.outputs[0].name,
        Pool,
        "texts",
        result.width,
        x=walk.builder.as_float(result),
        mode=mode,
        mask=None if mask == _MASKS[0] else mask,
    )


def _reduce_sum(walk: _Translator, node: ir.Node) -> Meaning:
    meaning = walk.of(node.inputs[0])
    if scalar(node.inputs[1]) != 1:
        raise _Unknown("it does not sum over the tokens")
    if isinstance(meaning, Weighted):
        return Summed(meaning)
    if isinstance(meaning, Visible) and not meaning.causal and not meaning.inverted:
        return Count(meaning)
    raise _Unknown("it sums something else than a masked result or a mask")


def _reduce_max(walk: _Translator, node: ir.Node) -> Meaning:
    removed = walk.of(node.inputs[0])
    if not isinstance(removed, HiddenTokensRemoved) or scalar(node.inputs[1]) != 1:
        raise _Unknown("it is no largest value of each text's tokens")
    return _pool(walk, node, removed.result, "max", removed.mask)


def _reduce_l2(walk: _Translator, node: ir.Node) -> Meaning:
    result = walk.result(node.inputs[0])
    if scalar(node.inputs[1]) not in (1, -1) or result.rows != "texts":
        raise _Unknown("it is no length of a text's vector")
    return Length(result)


def _clip(walk: _Translator, node: ir.Node) -> Meaning:
    meaning, least = walk.of(node.inputs[0]), scalar(node.inputs[1])
    if any(value is not None for value in node.inputs[2:]) or least is None:
        raise _Unknown("it bounds from above")
    if isinstance(meaning, Length) and meaning.least is None:
        return replace(meaning, least=least)
    if isinstance(meaning, Count) and not meaning.bounded and np.isclose(least, _LEAST_COUNT):
        return replace(meaning, bounded=True)
    raise _Unknown("it bounds neither a length nor the size of a mask")


def _sqrt(walk: _Translator, node: ir.Node) -> Meaning:
    meaning = walk.of(node.inputs[0])
    if not isinstance(meaning, Count) or not meaning.bounded or meaning.root:
        raise _Unknown("it is no root of the size of a mask")
    return replace(meaning, root=True)


def _concat(walk: _Translator, node: ir.Node) -> Meaning:
    if walk.only_sizes(node):
        return Size()
    results = [walk.result(value) for value in node.inputs]
    if any(result.rows != "texts" for result in results) or attribute(node, "axis", 0) not in (
        1,
        -1,
    ):
        raise _Unknown("it does not join vectors of texts")
    if len(results) == 1:
        return results[0]
    return walk.builder.add(
        node.outputs[0].name,
        Concat,
        "texts",
        sum(result.width for result in results),
        x=tuple(map(walk.builder.as_float, results)),
    )


# Layers.


def _layer_normalization(walk: _Translator, node: ir.Node) -> Meaning:
    x, gamma, beta = node.inputs
    if constant(gamma) is None or constant(beta) is None:
        raise _Unknown("its weight or bias is not stored")
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
        raise _Unknown("it normalizes something else than the sum of three tables' rows")
    word, token_type, position = (cast("ir.Value", table) for table in tables)
    scale = meaning.word_scale
    if (constant(word).dtype == np.int8) != (scale is not None):  # type: ignore[union-attr]
        raise _Unknown("a table of int8 has no scales")
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


def _mat_mul(walk: _Translator, node: ir.Node) -> Meaning:
    left, right = node.inputs
    x, weight = walk.all_of(node)
    scale: ir.Value | None = None
    stored, transposed = right, False
    if isinstance(weight, ScaledWeight):
        stored, scale = weight.weight, weight.scale
        if not isinstance(x, Dequantized):
            raise _Unknown("its weight is int8 and its activation is not uint8")
        result, x_name = x.quantized.result, x.quantized.name
    else:
        if isinstance(weight, Transposed):
            stored, transposed = weight.stored, True
        result, x_name = walk.operand(left)
    array = constant(stored)
    if stored is None or array is None or array.ndim != 2:
        raise _Unknown("its weight is not stored")
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


def _activation(name: Activation) -> Callable[[_Translator, ir.Node], Meaning]:
    def read(walk: _Translator, node: ir.Node) -> Meaning:
        used = name
        if node.op_type == "Gelu" and attribute(node, "approximate", "none") == "tanh":
            used = "gelu_tanh"
        x = node.inputs[0]
        gated = _gated(node)
        layer = walk.of(x) if gated else walk.open_linear(x)
        if not isinstance(layer, Result) or layer.kind is not Linear or layer.values:
            raise _Unknown("it does not follow a linear layer")
        if layer.fields["activation"] != "none" or layer.fields["residual"] is not None:
            raise _Unknown("the linear layer before it has an activation or a residual already")
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


def _attention(walk: _Translator, node: ir.Node) -> Meaning:
    attention = read_attention(node)
    if attention is None or isinstance(attention, Refusal):
        raise _Unknown("it is of another domain" if attention is None else attention.reason)
    (query, query_name), (key, key_name), (value, value_name) = map(walk.operand, attention.parts)
    mask = walk.of(attention.mask)
    if not isinstance(mask, AttentionMask):
        raise _Unknown("its mask is not made of the attention mask")
    if (key.rows, value.rows) != ("tokens", "tokens") or query.rows == "masks":
        raise _Unknown("its keys are not those of all tokens")
    if mask.causal and query.rows != "tokens":
        raise _Unknown("one token of each text reads through a causal mask")
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
    )


# Quantization.


def _quantize(walk: _Translator, node: ir.Node) -> Meaning:
    x, scale, zero = node.inputs[0], scalar(node.inputs[1]), constant(node.inputs[2])
    if scale is None or zero is None or zero.size != 1 or zero.dtype != np.uint8:
        raise _Unknown("it does not write uint8 with one scale")
    meaning, name, zero_point = walk.of(x), str(node.outputs[0].name), int(zero.reshape(-1)[0])
    if isinstance(meaning, Affine):
        result = meaning.result
        name = walk.builder.as_uint8(
            result, name, scale, zero_point, add=meaning.add, multiply=meaning.multiply
        )
    else:
        result = walk.result(x)
        name = walk.builder.as_uint8(result, name, scale, zero_point)
    return Quantized(result, name, scale, zero_point)


def _dequantize(walk: _Translator, node: ir.Node) -> Meaning:
    x, scale = node.inputs[0], node.inputs[1]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    quantized, stored = walk.of(x), constant(x)
    if isinstance(quantized, Quantized):
        found = constant(zero)
        same = found is not None and int(found.reshape(-1)[0]) == quantized.zero_point
        if scalar(scale) != quantized.scale or not same:
            raise _Unknown("its scale or zero point is another than that of the quantization")
        return Dequantized(quantized)
    scales = constant(scale)
    if stored is None or scales is None or stored.dtype != np.int8 or stored.ndim != 2:
        raise _Unknown("it reads neither a quantized result nor a stored int8 weight")
    if zero is not None or attribute(node, "axis", 1) != 1 or scales.shape != stored.shape[1:]:
        raise _Unknown("its weight has no scale per output channel, or a zero point")
    return ScaledWeight(cast("ir.Value", x), cast("ir.Value", scale))


def _transpose(_: _Translator, node: ir.Node) -> Meaning:
    stored = constant(node.inputs[0])
    if stored is None or stored.ndim != 2 or list(attribute(node, "perm", [1, 0])) != [1, 0]:
        raise _Unknown("it does not transpose a stored matrix")
    return Transposed(cast("ir.Value", node.inputs[0]))


_READERS: Mapping[str, Callable[[_Translator, ir.Node], Meaning]] = {
    # embeddings and selections
    "ArgMax": _arg_max,
    "Gather": _gather,
    "GatherElements": _gather_tokens,
    "GatherND": _gather_tokens,
    "Slice": _slice,
    # shapes and masks
    "Cast": _cast,
    "Equal": _equal,
    "Expand": _keep,
    "LessOrEqual": _less_or_equal,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": lambda *_: Size(),
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Unsqueeze": _keep,
    "Where": _where,
    # arithmetic
    "Add": _add,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _div,
    "Mul": _mul,
    "ReduceL2": _reduce_l2,
    "ReduceMax": _reduce_max,
    "ReduceSum": _reduce_sum,
    "Sqrt": _sqrt,
    # layers
    "Attention": _attention,
    "Gelu": _activation("gelu"),
    "LayerNormalization": _layer_normalization,
    "MatMul": _mat_mul,
    "Relu": _activation("relu"),
    "Sigmoid": _activation("sigmoid"),
    "Tanh": _activation("tanh"),
    # quantization
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
    "Transpose": _transpose,
}
"""By operator of the standard domain."""
