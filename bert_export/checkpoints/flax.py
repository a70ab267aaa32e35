"""Weights that Flax classes of ``transformers`` save: ``flax_model.msgpack``, whole or in shards.

The file is one MessagePack map of maps. Its leaves are arrays: extension 1, which holds another
MessagePack value of shape, dtype and bytes. An array of more than a gigabyte is a map of chunks.
Training scripts keep the weights under ``params``, alone or beside the optimizer's state.

Arrays stay views of the mapped file, so that an optimizer's state costs nothing.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from bert_export.checkpoints.names import NameTable
from bert_export.errors import CheckpointError

__all__ = ["NAMES", "own_name", "read_msgpack"]

NAMES = NameTable("""
bert.embeddings = bert.embeddings
    word_embeddings.weight        word_embeddings.embedding
    position_embeddings.weight    position_embeddings.embedding
    token_type_embeddings.weight  token_type_embeddings.embedding
    LayerNorm.weight              LayerNorm.scale
    LayerNorm.bias                LayerNorm.bias
bert.encoder.layer.{layer} = bert.encoder.layer.{layer}
    attention.self.query.weight        attention.self.query.kernel  T
    attention.self.query.bias          attention.self.query.bias
    attention.self.key.weight          attention.self.key.kernel  T
    attention.self.key.bias            attention.self.key.bias
    attention.self.value.weight        attention.self.value.kernel  T
    attention.self.value.bias          attention.self.value.bias
    attention.output.dense.weight      attention.output.dense.kernel  T
    attention.output.dense.bias        attention.output.dense.bias
    attention.output.LayerNorm.weight  attention.output.LayerNorm.scale
    attention.output.LayerNorm.bias    attention.output.LayerNorm.bias
    intermediate.dense.weight          intermediate.dense.kernel  T
    intermediate.dense.bias            intermediate.dense.bias
    output.dense.weight                output.dense.kernel  T
    output.dense.bias                  output.dense.bias
    output.LayerNorm.weight            output.LayerNorm.scale
    output.LayerNorm.bias              output.LayerNorm.bias
bert.pooler.dense = bert.pooler.dense
    weight  kernel  T
    bias    bias
cls.predictions = cls.predictions
    transform.dense.weight      transform.dense.kernel  T
    transform.dense.bias        transform.dense.bias
    transform.LayerNorm.weight  transform.LayerNorm.scale
    transform.LayerNorm.bias    transform.LayerNorm.bias
    decoder.weight              decoder.kernel  T
    bias                        bias
heads
    cls.seq_relationship.weight  cls.seq_relationship.kernel  T
    cls.seq_relationship.bias    cls.seq_relationship.bias
    classifier.weight            classifier.kernel  T
    classifier.bias              classifier.bias
    qa_outputs.weight            qa_outputs.kernel  T
    qa_outputs.bias              qa_outputs.bias
""")
"""Tensors of the nine ``FlaxBert`` classes, the parts of a name joined by dots."""

_ARRAY = 1  # the extension of an array; scalars (3) and complex numbers (2) are no weights
_CHUNKS = "__msgpack_chunked_array__"
_DTYPES: Mapping[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
_PARAMS = "params"
_BARE = re.compile(r"(embeddings|encoder|pooler)\.")
_HEADERS = {0xC4: 1, 0xC5: 2, 0xC6: 4}  # bytes of the length that follows each kind of bytes


@dataclass(frozen=True, slots=True)
class _Array:
    """An array of the file.

    Args:
        shape: As declared.
        dtype: Its name, as declared.
        values: Its bytes, a view of the mapped file.
    """

    shape: tuple[int, ...]
    dtype: str
    values: memoryview


class _Scalar:
    """An extension that is no array."""


def own_name(path: str) -> str:
    """A weight's name as :data:`NAMES` has it: joined by dots, ``bert.`` before the encoder's."""
    name = path.replace("/", ".")
    return f"bert.{name}" if _BARE.match(name) else name


def read_msgpack(path: Path) -> dict[str, Tensor]:
    """Read a file of weights.

    Returns:
        Tensors by dotted names, ``bert.`` before the encoder's.

    Raises:
        CheckpointError: The file is truncated, no such map, or an array is not what it declares.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        tree = msgspec.msgpack.decode(data, ext_hook=_extension)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise CheckpointError(
            f"file {path} cannot be read",
            expected="a complete MessagePack file of Flax",
            got=getattr(error, "strerror", None) or error,
            fix="Download or copy it again",
        ) from error
    if not isinstance(tree, dict):
        raise _refused(path, "", "a map of tensors", type(tree).__name__)
    while isinstance(tree.get(_PARAMS), dict):  # a training state, or the collections of a module
        tree = tree[_PARAMS]
    tensors: dict[str, Tensor] = {}
    for place, leaf in _leaves(path, tree, ()):
        name = own_name(place)
        if name in tensors:
            raise _refused(path, name, "one tensor of that name", "another")
        tensors[name] = leaf
    return tensors


def _extension(code: int, data: memoryview) -> _Array | _Scalar:
    """What an extension holds; the bytes of an array stand last in it."""
    if code != _ARRAY:
        return _Scalar()
    shape, dtype, stored = msgspec.msgpack.decode(
        data, type=tuple[tuple[int, ...], str, msgspec.Raw]
    )
    raw = memoryview(stored)
    length_bytes = _HEADERS.get(raw[0])
    if length_bytes is None:
        raise ValueError("an array without bytes")
    return _Array(shape, dtype, data[len(data) - len(raw) + 1 + length_bytes :])


def _leaves(
    path: Path, tree: Mapping[Any, Any], above: tuple[str, ...]
) -> Iterator[tuple[str, Tensor]]:
    for key, value in tree.items():
        if not isinstance(key, str) or "." in key:
            raise _refused(path, ".".join(above), "names of one part as keys", repr(key)[:80])
        name = ".".join((*above, key))
        if isinstance(value, dict) and _CHUNKS in value:
            yield name, _join(path, name, value)
        elif isinstance(value, dict):
            yield from _leaves(path, value, (*above, key))
        else:
            yield name, _tensor(path, name, value)


def _tensor(path: Path, name: str, stored: object) -> Tensor:
    """An array of the file, its values not copied."""
    if not isinstance(stored, _Array):
        raise _refused(path, name, "an array", type(stored).__name__.strip("_").lower())
    dtype = _DTYPES.get(stored.dtype)
    if dtype is None:
        raise _refused(path, name, " or ".join(_DTYPES), repr(stored.dtype)[:80])
    if any(size < 0 for size in stored.shape):
        raise _refused(path, name, "sizes that are not negative", stored.shape)
    expected = math.prod(stored.shape) * dtype.itemsize
    if not expected or expected != len(stored.values):
        raise _refused(
            path, name, f"{expected} bytes for the shape {stored.shape}", len(stored.values)
        )
    start = np.frombuffer(stored.values, dtype=np.uint8)
    aligned = start.ctypes.data % dtype.itemsize == 0
    values = stored.values if aligned else bytearray(stored.values)
    return torch.frombuffer(values, dtype=dtype).reshape(stored.shape)


def _join(path: Path, name: str, stored: Mapping[str, Any]) -> Tensor:
    """An array that was stored in chunks of its flat values."""
    sizes, chunks = _numbered(stored.get("shape")), _numbered(stored.get("chunks"))
    if not chunks or sizes is None or not all(type(size) is int and size >= 0 for size in sizes):
        raise _refused(path, name, "a shape and its chunks", "a chunked array without one of them")
    parts = [_tensor(path, f"{name}.{index}", chunk) for index, chunk in enumerate(chunks)]
    held = sum(part.numel() for part in parts)
    if held != math.prod(sizes) or len({part.dtype for part in parts}) > 1:
        raise _refused(path, name, f"{math.prod(sizes)} values of one type", f"{held} in chunks")
    return torch.cat([part.reshape(-1) for part in parts]).reshape(sizes)


def _numbered(values: object) -> list[Any] | None:
    """A list that is stored as a map from "0", "1" and on; ``None`` where it is no such map."""
    if not isinstance(values, dict) or values.keys() != {str(at) for at in range(len(values))}:
        return None
    return [values[str(at)] for at in range(len(values))]


def _refused(path: Path, name: str, expected: object, got: object) -> CheckpointError:
    return CheckpointError(
        f"file {path} tensor {name or 'root'} cannot be read",
        expected=expected,
        got=got,
        fix="Save the model with model.save_pretrained",
    )
