"""Weights that Flax classes of ``transformers`` save: ``flax_model.msgpack``, whole or in shards.

The file is one MessagePack map of maps. Its leaves are arrays: extension 1, which holds another
MessagePack value of shape, dtype and bytes. An array of more than a gigabyte is a map of chunks.
Training scripts keep the weights under ``params``, alone or beside the optimizer's state.

Maps are opened one by one and arrays are copied one by one, so that an optimizer's state costs
nothing and a hostile file no more than its size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from bert_export.checkpoints.names import NameTable
from bert_export.checkpoints.own_files import map_file, release
from bert_export.errors import CheckpointError, plain, shown

__all__ = ["ENDINGS", "NAMES", "own_name", "read_msgpack"]

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

ENDINGS = (".kernel", ".scale", ".embedding")
"""Of names that no other framework has."""

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

# Bounds that no file of a BERT comes near, so that a small file stays small in memory.
_MOST_ENTRIES = 1 << 12  # of one map
_MOST_TENSORS = 1 << 16
_DEEPEST = 24  # maps inside one another
_LONGEST_SHAPE = 100  # bytes
_LONGEST_DTYPE = 20  # bytes
_MOST_AXES = 8

# First bytes of maps and of byte strings, and how many bytes of length follow each.
_MAPS = {0xDE: 2, 0xDF: 4}
_SMALL_MAPS = range(0x80, 0x90)
_BINARIES = {0xC4: 1, 0xC5: 2, 0xC6: 4}


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

    Args:
        path: ``flax_model.msgpack``, or one of its shards.

    Returns:
        Copies by dotted names, ``bert.`` before the encoder's; in Flax's shapes, where a dense
        layer's matrix is (inputs, outputs), and in the stored type, one of float16, bfloat16,
        float32 and float64.

    Raises:
        CheckpointError: The file is truncated, no such map, or an array is not what it declares.
    """
    try:
        data = map_file(path)
        msgspec.msgpack.decode(data, type=msgspec.Raw)  # complete, and nothing behind it
        tree = _map(msgspec.Raw(data))
        while tree is not None and _PARAMS in tree:  # a training state, a module's collections
            inner = _map(tree[_PARAMS])
            if inner is None:
                break
            tree = inner
        if tree is None:
            raise _refused(path, "", "a map of tensors", "another value")
        tensors: dict[str, Tensor] = {}
        for place, tensor in _leaves(path, tree, ()):
            name = own_name(place)
            if name in tensors:
                raise _refused(path, name, "one tensor of that name", "another")
            if len(tensors) == _MOST_TENSORS:
                raise _refused(path, name, f"at most {_MOST_TENSORS} tensors", "more")
            tensors[name] = tensor
            release(data)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise CheckpointError(
            f"file {path} cannot be read",
            expected="a complete MessagePack file of Flax",
            got=getattr(error, "strerror", None) or error,
            fix="Download or copy it again",
        ) from error
    return tensors


def _map(stored: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """The entries of a map, not decoded; ``None`` where it is none.

    Raises:
        ValueError: It has more entries than any real one, the same key twice, or a key that is no
            text.
    """
    raw = memoryview(stored)
    first = raw[0]
    if first in _SMALL_MAPS:
        count = first & 15
    elif first in _MAPS:
        count = int.from_bytes(raw[1 : 1 + _MAPS[first]], "big")
    else:
        return None
    if count > _MOST_ENTRIES:
        raise ValueError(f"a map of {count} entries")
    entries = msgspec.msgpack.decode(stored, type=dict[str, msgspec.Raw])
    if len(entries) != count:
        raise ValueError("a map that has a key twice")
    return entries


def _extension(code: int, data: memoryview) -> _Array | _Scalar:
    """What an extension holds; the bytes of an array stand last in it."""
    if code != _ARRAY:
        return _Scalar()
    parts = msgspec.msgpack.decode(data, type=tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw])
    shape, dtype, values = (memoryview(part) for part in parts)
    length_bytes = _BINARIES.get(values[0])
    if length_bytes is None:
        raise ValueError("an array without bytes")
    if len(shape) > _LONGEST_SHAPE or len(dtype) > _LONGEST_DTYPE:
        raise ValueError("an array whose shape or type is too long")
    return _Array(
        msgspec.msgpack.decode(shape, type=tuple[int, ...]),
        msgspec.msgpack.decode(dtype, type=str),
        data[len(data) - len(values) + 1 + length_bytes :],
    )


def _leaves(
    path: Path, tree: Mapping[str, msgspec.Raw], above: tuple[str, ...]
) -> Iterator[tuple[str, Tensor]]:
    """Every array below a map, by its dotted name."""
    if len(above) > _DEEPEST:
        raise _refused(path, ".".join(above[:4]), f"at most {_DEEPEST} maps", "more")
    for key, stored in tree.items():
        if "." in key:
            raise _refused(path, ".".join(above), "names of one part as keys", shown(key))
        name = ".".join((*above, key))
        try:
            value = _map(stored)
            if value is None:
                yield name, _tensor(path, name, _array(stored))
            elif _CHUNKS in value:
                yield name, _join(path, name, value)
            else:
                yield from _leaves(path, value, (*above, key))
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise _refused(path, name, "an array", error) from error


def _array(stored: msgspec.Raw) -> object:
    """The array that a value is, or another value.

    Raises:
        ValueError: It is a list.
    """
    if memoryview(stored)[0] in range(0x90, 0xA0) or memoryview(stored)[0] in (0xDC, 0xDD):
        raise ValueError("a list")  # whatever it holds
    return msgspec.msgpack.decode(stored, ext_hook=_extension)


def _tensor(path: Path, name: str, stored: object) -> Tensor:
    """A copy of an array of the file."""
    array = _checked(path, name, stored)
    return _copy(array.shape, array.dtype, [array.values])


def _checked(path: Path, name: str, stored: object) -> _Array:
    """An array of numbers that holds as many bytes as it declares."""
    if not isinstance(stored, _Array):
        raise _refused(path, name, "an array", type(stored).__name__.strip("_").lower())
    dtype = _DTYPES.get(stored.dtype)
    if dtype is None:
        raise _refused(path, name, " or ".join(_DTYPES), shown(stored.dtype))
    if any(size < 0 for size in stored.shape):
        raise _refused(path, name, "sizes that are not negative", stored.shape)
    expected = math.prod(stored.shape) * dtype.itemsize
    if not expected:
        raise _refused(path, name, "an array with values", f"the shape {stored.shape}")
    if expected != len(stored.values):
        raise _refused(
            path, name, f"{expected} bytes for the shape {stored.shape}", len(stored.values)
        )
    return stored


def _join(path: Path, name: str, stored: Mapping[str, msgspec.Raw]) -> Tensor:
    """A copy of an array that was stored in chunks of its flat values."""
    sizes = [
        msgspec.msgpack.decode(size, type=int) for size in _numbered(stored.get("shape")) or ()
    ]
    chunks = _numbered(stored.get("chunks"))
    if not chunks or not sizes or len(sizes) > _MOST_AXES or min(sizes) < 0:
        raise _refused(path, name, "a shape and its chunks", "a chunked array without one of them")
    parts = [_checked(path, f"{name}.{index}", _array(chunk)) for index, chunk in enumerate(chunks)]
    held = sum(math.prod(part.shape) for part in parts)
    if held != math.prod(sizes) or len({part.dtype for part in parts}) > 1:
        raise _refused(path, name, f"{math.prod(sizes)} values of one type", f"{held} in chunks")
    return _copy(tuple(sizes), parts[0].dtype, [part.values for part in parts])


def _copy(shape: tuple[int, ...], dtype: str, parts: list[memoryview]) -> Tensor:
    """A tensor of bytes that lie in parts; in a file they are rarely aligned."""
    buffer, at = bytearray(sum(map(len, parts))), 0
    for part in parts:
        buffer[at : at + len(part)] = part
        at += len(part)
    return torch.frombuffer(buffer, dtype=_DTYPES[dtype]).reshape(shape)


def _numbered(stored: msgspec.Raw | None) -> list[msgspec.Raw] | None:
    """A list that is stored as a map from "0", "1" and on; ``None`` where it is no such map."""
    values = None if stored is None else _map(stored)
    if values is None or values.keys() != {str(at) for at in range(len(values))}:
        return None
    return [values[str(at)] for at in range(len(values))]


def _refused(path: Path, name: str, expected: object, got: object) -> CheckpointError:
    return CheckpointError(
        f"file {path} tensor {plain(name) or 'root'} cannot be read",
        expected=expected,
        got=got,
        fix="Save the model with model.save_pretrained",
    )
