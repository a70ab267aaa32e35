"""A program run in numpy, one operation after the other, by the words of its specification."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from bert_export.bundle.program import (
    Attention,
    Concat,
    Embed,
    Gather,
    Linear,
    Norm,
    Normalize,
    Pool,
    Program,
    ProgramValue,
    Quantize,
    read_program,
)
from bert_export.bundle.program_check import check_program

__all__ = ["Interpreter", "Kept"]

Array = NDArray[Any]
_F = np.float32

_ACTIVATIONS = {
    "none": lambda x: x,
    "gelu": lambda x: torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy(),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x.astype(np.float64))),
    "silu": lambda x: x / (1 + np.exp(-x.astype(np.float64))),
}


class Kept:
    """Keys and values of a batch that grows; the protocol of the compiled module's cache.

    Args:
        program: Whose attentions keep them.
    """

    def __init__(self, program: Program) -> None:
        self._widths: list[int] = []
        for operation in program.operations:
            if isinstance(operation, Attention) and operation.cache is not None:
                assert operation.cache == len(self._widths)
                self._widths.append(program.values[operation.key].width)
        self.texts: list[list[Array]] = []  # by text and place: keys, values, keys, ...

    def begin(self, texts: int) -> None:
        """Be of so many texts."""
        if not self.texts:
            self.texts = [
                [np.zeros((0, width), _F) for width in self._widths for _ in range(2)]
                for _ in range(texts)
            ]
        if len(self.texts) != texts:
            raise ValueError("cache is of other texts")

    def lengths(self) -> Array:
        """Tokens of each text."""
        return np.array([len(text[0]) for text in self.texts], np.int64)

    def select(self, texts: Array) -> None:
        """Keep some texts."""
        self.texts = [list(self.texts[text]) for text in texts]

    def fill(self, lengths: Array, arrays: Sequence[Array]) -> None:
        """Take keys and values of all texts' tokens, (tokens, width) each."""
        parts = [np.split(array, np.cumsum(lengths)[:-1]) for array in arrays]
        self.texts = [list(text) for text in zip(*parts, strict=True)]

    def read(self) -> list[Array]:
        """What :meth:`fill` takes."""
        return [np.concatenate(parts) for parts in zip(*self.texts, strict=True)]


class Interpreter:
    """An opened program; see ``bert_export/targets/native/README.md`` for what is computed.

    Args:
        path: Of the program; its weights lie beside it.
    """

    def __init__(self, path: Path) -> None:
        self.program: Program = read_program(path)
        weights = path.with_name(self.program.weights)
        check_program(self.program, weights)
        self._tensors = {
            name: np.fromfile(
                weights,
                np.dtype(tensor.dtype).newbyteorder("<"),
                math.prod(tensor.shape),
                offset=tensor.offset,
            ).reshape(tensor.shape)
            for name, tensor in self.program.tensors.items()
        }
        self._values: dict[str, Array] = {}

    def run(
        self,
        input_ids: Array,
        token_type_ids: Array,
        lengths: Array,
        further: Mapping[str, Array] | None = None,
        cache: Kept | None = None,
    ) -> dict[str, Array]:
        """Results (rows, width) or (rows,) of ragged rows."""
        further = dict(further or {})
        starts = np.cumsum(lengths) - lengths
        self._cache = cache
        past = np.zeros_like(lengths)
        if cache is not None:
            cache.begin(len(lengths))
            past = cache.lengths()
        ordinal = np.concatenate(
            [np.arange(length) + begun for length, begun in zip(lengths, past, strict=True)]
        )
        self._inputs = {
            "input_ids": input_ids,
            "token_type_ids": token_type_ids,
            "position_ids": further.pop("position_ids", ordinal),
            **further,
        }
        self._texts = [
            slice(begin, begin + size) for begin, size in zip(starts, lengths, strict=True)
        ]
        self._values = {}
        for operation in self.program.operations:
            method = getattr(self, f"_{type(operation).__name__.lower()}")
            result = method(operation)
            for name in operation.outputs:
                self._values[name] = _written(result, self.program.values[name])
        return {
            output.name: self._values[output.value]
            if output.column is None
            else self._values[output.value][:, output.column]
            for output in self.program.outputs
        }

    def open_cache(self) -> Kept:
        """An empty cache."""
        return Kept(self.program)

    def value(self, name: str) -> Array:
        """A value of the last run, as it is stored."""
        return self._values[name]

    def _tensor(self, name: str | None) -> Array | None:
        return None if name is None else self._tensors[name]

    def _embed(self, operation: Embed) -> Array:
        ids = self._inputs
        word = self._tensors[operation.word][ids["input_ids"]].astype(_F)
        if operation.word_scale is not None:
            word *= self._tensors[operation.word_scale][ids["input_ids"], None]
        total = word + self._tensors[operation.token_type][ids["token_type_ids"]]
        return self._normed(
            total + self._tensors[operation.position][ids["position_ids"]], operation
        )

    def _norm(self, operation: Norm) -> Array:
        return self._normed(self._values[operation.x], operation)

    def _normed(self, x: Array, operation: Embed | Norm) -> Array:
        mean = x.mean(axis=1, keepdims=True, dtype=np.float64).astype(_F)
        variance = np.square(x - mean).mean(axis=1, keepdims=True, dtype=np.float64).astype(_F)
        inverse = _F(1) / np.sqrt(variance + _F(operation.epsilon))
        return (x - mean) * inverse * self._tensors[operation.gamma] + self._tensors[operation.beta]

    def _linear(self, operation: Linear) -> Array:
        x, record = self._values[operation.x], self.program.values[operation.x]
        weight = self._tensors[operation.weight]
        weight = weight.T if operation.transposed else weight
        bias = self._tensor(operation.bias)
        if record.dtype == "uint8":
            assert record.scale is not None
            assert record.zero_point is not None
            # Exact in float64: integers below 2^53.
            total = (x.astype(np.float64) - record.zero_point) @ weight.astype(np.float64)
            factor = _F(record.scale) * self._tensors[str(operation.weight_scale)]
            y = total.astype(_F).astype(np.float64) * factor
            y = (y + (0 if bias is None else bias)).astype(_F)  # fma: rounded once
        else:
            rounded = record.dtype == "bfloat16"
            operand = _bfloat16(weight.astype(_F)) if rounded else weight
            y = (x.astype(_F) @ operand).astype(_F)
            y = y if bias is None else y + bias
        y = np.asarray(_ACTIVATIONS[operation.activation](y), dtype=_F)
        return y if operation.residual is None else y + self._values[operation.residual]

    def _attention(self, operation: Attention) -> Array:
        query, key, value = (
            self._values[name].astype(_F)
            for name in (operation.query, operation.key, operation.value)
        )
        rounded = self.program.values[operation.query].dtype == "bfloat16"
        one_each = self.program.values[operation.query].rows == "texts"
        width = query.shape[1] // operation.heads
        result = np.empty_like(query)
        for text, tokens in enumerate(self._texts):
            own = slice(text, text + 1) if one_each else tokens
            keys, values, past = key[tokens], value[tokens], 0
            if operation.cache is not None and self._cache is not None:
                kept, place = self._cache.texts[text], 2 * operation.cache
                past = len(kept[place])
                keys = kept[place] = np.concatenate([kept[place], keys])
                values = kept[place + 1] = np.concatenate([kept[place + 1], values])
            for begin in range(0, query.shape[1], width):
                head = slice(begin, begin + width)
                scores = query[own, head] @ keys[:, head].T
                if operation.causal:
                    scores[np.triu(np.ones(scores.shape, bool), past + 1)] = -np.inf
                scores -= scores.max(axis=1, keepdims=True)
                weights = np.exp(scores * _F(operation.scale))
                used = _bfloat16(weights) if rounded else weights
                result[own, head] = (used @ values[:, head]) / weights.sum(axis=1, keepdims=True)
        return result

    def _gather(self, operation: Gather) -> Array:
        if operation.index == "masked_positions":
            return self._values[operation.x][self._inputs["masked_positions"]]
        index = []
        for tokens in self._texts:
            size = tokens.stop - tokens.start
            pooled = operation.index.endswith("_pooled")
            mask = self._inputs["pooling_mask"][tokens] if pooled else np.ones(size)
            seen = np.flatnonzero(mask)
            index.append(
                tokens.start + (seen[0] if operation.index.startswith("first") else seen[-1])
            )
        return self._values[operation.x][index]

    def _pool(self, operation: Pool) -> Array:
        x = self._values[operation.x]
        mask = (
            np.ones(len(x), _F)
            if operation.mask is None
            else self._inputs[operation.mask].astype(_F)
        )
        if operation.mode == "max":
            return np.stack([x[own][mask[own] == 1].max(axis=0) for own in self._texts])
        if operation.mode == "weightedmean":
            mask = mask * (self._inputs["position_ids"] + 1).astype(_F)
        totals = np.stack([(x[own] * mask[own, None]).sum(axis=0) for own in self._texts])
        counts = np.array([[max(mask[own].sum(), _F(1e-9))] for own in self._texts], dtype=_F)
        return totals / (np.sqrt(counts) if operation.mode == "mean_sqrt_len" else counts)

    def _concat(self, operation: Concat) -> Array:
        return np.concatenate([self._values[name] for name in operation.x], axis=1)

    def _normalize(self, operation: Normalize) -> Array:
        x = self._values[operation.x]
        return x / np.maximum(
            np.sqrt(np.square(x).sum(axis=1, keepdims=True)), _F(operation.epsilon)
        )

    def _quantize(self, operation: Quantize) -> Array:
        x = self._values[operation.x]
        add, multiply = self._tensor(operation.add), self._tensor(operation.multiply)
        x = x if add is None else x + add
        return x if multiply is None else x * multiply


def _written(result: Array, value: ProgramValue) -> Array:
    """A result in a value's number format; copies stay as they are."""
    if result.dtype == np.uint8 or value.dtype == "float32":
        return result
    if value.dtype == "bfloat16":
        return _bfloat16(result)
    assert value.scale is not None
    assert value.zero_point is not None
    scaled = result * (_F(1) / _F(value.scale))
    bounded = np.clip(scaled, -value.zero_point, 255 - value.zero_point)
    return (np.rint(bounded).astype(np.int32) + value.zero_point).astype(np.uint8)


def _bfloat16(x: Array) -> Array:
    """Float32 numbers that bfloat16 can hold."""
    return x.astype(ml_dtypes.bfloat16).astype(_F)
