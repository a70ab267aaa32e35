"""Writers of TensorFlow's and Flax's weight files, for tests: neither framework is installed.

They write what the original PyTorch model holds, under names that are spelled here and not taken
from the readers' tables.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bfloat16": 14, "float16": 19}
STRING = 7
OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"
MAGIC = 0xDB4775248B80FB57


# --- names ---------------------------------------------------------------------------------------


def _untied(model: torch.nn.Module) -> Arrays:
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    return {
        name: array
        for name, array in state.items()
        if not name.startswith("cls.predictions.decoder") and not name.endswith("_ids")
    }


def _is_matrix(name: str) -> bool:
    """Whether a weight is of a dense layer; these frameworks keep it as (inputs, outputs)."""
    return name.endswith(".weight") and "LayerNorm" not in name and "embeddings" not in name


def tensorflow_v1_arrays(model: torch.nn.Module) -> Arrays:
    """Google's names; the heads' matrices are as PyTorch's, all others transposed."""
    arrays = {}
    for name, array in _untied(model).items():
        full = name if name.startswith(("bert.", "cls.", "classifier.", "qa_")) else f"bert.{name}"
        theirs = re.sub(r"layer\.(\d+)", r"layer_\1", full).replace(".", "/")
        theirs = theirs.replace("LayerNorm/weight", "LayerNorm/gamma")
        theirs = theirs.replace("LayerNorm/bias", "LayerNorm/beta")
        theirs = re.sub(r"(_embeddings)/weight$", r"\1", theirs)
        theirs = theirs.replace("cls/predictions/bias", "cls/predictions/output_bias")
        for head, place in (
            ("cls/seq_relationship", "cls/seq_relationship/"),
            ("classifier", ""),
            ("qa_outputs", "cls/squad/"),
        ):
            theirs = theirs.replace(f"{head}/weight", f"{place}output_weights")
            theirs = theirs.replace(f"{head}/bias", f"{place}output_bias")
        if theirs.endswith("/weight"):
            theirs, array = f"{theirs.removesuffix('weight')}kernel", array.T
        arrays[theirs] = np.ascontiguousarray(array)
    return arrays


def tensorflow_h5_arrays(model: torch.nn.Module, scope: str = "tf_bert_model") -> Arrays:
    """Paths of datasets, with the layer's group and the scope of the model before each name."""
    arrays = {}
    for name, array in _untied(model).items():
        full = name if name.startswith(("bert.", "cls.", "classifier.", "qa_")) else f"bert.{name}"
        theirs = full.replace(".", "/")
        theirs = re.sub(r"layer/(\d+)", r"layer_._\1", theirs)
        theirs = theirs.replace("LayerNorm/weight", "LayerNorm/gamma")
        theirs = theirs.replace("LayerNorm/bias", "LayerNorm/beta")
        theirs = re.sub(r"(position|token_type)_embeddings/weight$", r"\1_embeddings/embeddings",
                        theirs)  # fmt: skip
        theirs = theirs.replace("cls/predictions", "mlm___cls/predictions")
        theirs = theirs.replace("cls/seq_relationship", "nsp___cls/seq_relationship")
        if _is_matrix(name):
            theirs, array = f"{theirs.removesuffix('weight')}kernel", array.T
        layer = theirs.split("/")[0]
        arrays[f"{layer}/{scope}/{theirs}:0"] = np.ascontiguousarray(array)
    return arrays


def flax_arrays(model: torch.nn.Module) -> Arrays:
    """Dotted names; those of an encoder alone have no ``bert`` before them."""
    arrays = {}
    for name, array in _untied(model).items():
        theirs = name.replace("LayerNorm.weight", "LayerNorm.scale")
        theirs = re.sub(r"_embeddings\.weight$", "_embeddings.embedding", theirs)
        if _is_matrix(name):
            theirs, array = f"{theirs.removesuffix('weight')}kernel", array.T
        arrays[theirs] = np.ascontiguousarray(array)
    return arrays


# --- tensor bundles ------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    digits = b""
    while number > 127:
        digits += bytes([number & 127 | 128])
        number >>= 7
    return digits + bytes([number])


def masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(
    dtype: int,
    shape: Sequence[int],
    *,
    shard: int = 0,
    offset: int = 0,
    size: int = 0,
    crc: int = 0,
    slices: Sequence[bytes] = (),
) -> bytes:
    """A bundle's entry; fields of zero are left out, as TensorFlow leaves them out."""
    dims = b"".join(field(2, field(1, dim) if dim else b"") for dim in shape)
    body = field(1, dtype) + field(2, dims)
    body += b"".join(field(key, n) for key, n in ((3, shard), (4, offset), (5, size)) if n)
    body += varint(6 << 3 | 5) + struct.pack("<I", crc) if crc else b""
    return body + b"".join(field(7, extent) for extent in slices)


def header(shards: int = 1, endianness: int = 0) -> bytes:
    return field(1, shards) + (field(2, endianness) if endianness else b"") + field(3, b"\x08\x01")


def block(entries: Sequence[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    """A block of a table: keys share what they can with the one before, but at each restart."""
    body, restarts, last = b"", [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % interval == 0:
            restarts.append(len(body))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value))
        body += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return body + b"".join(struct.pack("<I", at) for at in (*restarts, len(restarts)))


def sealed(body: bytes, compression: int = 0) -> bytes:
    """A block with its trailer."""
    body += bytes([compression])
    return body + struct.pack("<I", masked(body))


def table(
    entries: Sequence[tuple[bytes, bytes]],
    *,
    per_block: int = 7,
    damage: Callable[[bytes], bytes] = lambda body: body,
) -> bytes:
    """An index file.

    Args:
        entries: Keys in ascending order, and values.
        per_block: Entries of a block.
        damage: What happens to a block before its checksum is made.
    """
    data, handles = b"", []
    for start in range(0, len(entries), per_block):
        chunk = entries[start : start + per_block]
        body = damage(block(chunk))
        handles.append((chunk[-1][0], varint(len(data)) + varint(len(body))))
        data += sealed(body)
    metaindex, index = block([]), damage(block(handles, interval=1))
    handles_of_footer = varint(len(data)) + varint(len(metaindex))
    data += sealed(metaindex)
    handles_of_footer += varint(len(data)) + varint(len(index))
    data += sealed(index)
    return data + handles_of_footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def slice_key(name: str, extents: Sequence[tuple[int, int]]) -> bytes:
    """The key of a slice whose starts and lengths take one to three bytes."""

    def signed(number: int) -> bytes:
        if -64 <= number < 64:
            return bytes([0x80 ^ (number & 0xFF)])
        if -8192 <= number < 8192:
            return struct.pack(">H", 0xC000 ^ (number & 0xFFFF))
        assert -(1 << 20) <= number < 1 << 20
        return struct.pack(">I", 0xE00000 ^ (number & 0xFFFFFF))[1:]

    key = b"\0" + name.encode() + b"\0\x01" + bytes([1, len(extents)])
    return key + b"".join(signed(start) + signed(length) for start, length in extents)


def extent_message(extents: Sequence[tuple[int, int]]) -> bytes:
    """A slice as an entry declares it; an axis of length -1 is whole."""
    return b"".join(
        field(1, (field(1, start) if start else b"") + (b"" if length < 0 else field(2, length)))
        for start, length in extents
    )


def string_tensor(text: bytes) -> tuple[bytes, int]:
    """The bytes of a string tensor of one element, and the checksum that its entry has."""
    fixed = struct.pack("<I", len(text))
    lengths = struct.pack("<I", masked(fixed))
    return varint(len(text)) + lengths + text, masked(fixed + lengths + text)


def object_graph(names: Mapping[str, str]) -> bytes:
    """A graph of objects with one variable each: its key in the checkpoint, and its full name."""
    nodes = (
        field(2, field(1, b"VARIABLE_VALUE") + field(2, full.encode()) + field(3, key.encode()))
        for key, full in names.items()
    )
    return b"".join(field(1, node) for node in nodes)


def object_entry(graph: bytes, *, offset: int) -> tuple[bytes, bytes]:
    """The entry of a graph of objects, and its bytes in the data file from ``offset`` on."""
    raw, crc = string_tensor(graph)
    return entry(STRING, (), offset=offset, size=len(raw), crc=crc), raw


def bundle_entries(
    arrays: Mapping[str, NDArray[Any]],
    *,
    shards: int = 1,
    cuts: Mapping[str, tuple[int, Sequence[int]]] | None = None,
    whole_axes: bool = False,
    objects: Mapping[str, str] | None = None,
) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Entries of an index in their order, and the bytes of each data file.

    Args:
        arrays: By name.
        shards: Data files, filled in turn.
        cuts: Axis and lengths of the slices of tensors that are partitioned.
        whole_axes: Whether the axes that are not cut are declared as whole, without a length.
        objects: Full names by key, for a graph of objects.
    """
    files = [bytearray() for _ in range(shards)]
    entries: dict[bytes, bytes] = {b"": header(shards)}

    def store(key: bytes, array: NDArray[Any]) -> None:
        shard = len(entries) % shards
        raw = array.tobytes()
        entries[key] = entry(
            DTYPES[array.dtype.name], array.shape, shard=shard, offset=len(files[shard]),
            size=len(raw), crc=masked(raw),
        )  # fmt: skip
        files[shard].extend(raw)

    for name, array in arrays.items():
        if name not in (cuts or {}):
            store(name.encode(), array)
            continue
        axis, lengths = (cuts or {})[name]
        extents, start = [], 0
        for length in lengths:
            extent = [(0, -1 if whole_axes else size) for size in array.shape]
            extent[axis] = (start, length)
            part = np.ascontiguousarray(array.take(range(start, start + length), axis))
            store(slice_key(name, extent), part)
            extents.append(extent_message(extent))
            start += length
        entries[name.encode()] = entry(DTYPES[array.dtype.name], array.shape, slices=extents[::-1])
    if objects is not None:
        entries[OBJECT_GRAPH], raw = object_entry(object_graph(objects), offset=len(files[0]))
        files[0].extend(raw)
    return sorted(entries.items()), [bytes(file) for file in files]


def write_bundle(prefix: Path, arrays: Mapping[str, NDArray[Any]], **options: Any) -> None:
    """Write ``NAME.index`` and its data files; options are those of :func:`bundle_entries`."""
    entries, files = bundle_entries(arrays, **options)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(entries))
    for shard, data in enumerate(files):
        name = f"{prefix.name}.data-{shard:05d}-of-{len(files):05d}"
        prefix.with_name(name).write_bytes(data)


# --- HDF5 and MessagePack ------------------------------------------------------------------------


def write_h5(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def packed(array: NDArray[Any], dtype: str | None = None, shape: Any = None) -> msgspec.msgpack.Ext:
    """An array as Flax stores it; dtype and shape may be claimed to be others."""
    body = (array.shape if shape is None else shape, dtype or array.dtype.name, array.tobytes())
    return msgspec.msgpack.Ext(1, msgspec.msgpack.encode(body))


def chunked(array: NDArray[Any], chunks: int) -> dict[str, Any]:
    """An array as Flax stores it from a gigabyte on."""
    parts = np.array_split(array.reshape(-1), chunks)
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(axis): size for axis, size in enumerate(array.shape)},
        "chunks": {str(index): packed(part) for index, part in enumerate(parts)},
    }


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Maps of maps out of dotted names."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *above, last = name.split(".")
        node = tree
        for part in above:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


def write_msgpack(path: Path, tree: Any) -> None:
    path.write_bytes(msgspec.msgpack.encode(tree))


def write_index(path: Path, shard_of: Mapping[str, str]) -> None:
    """The index of a checkpoint in shards."""
    path.write_text(json.dumps({"metadata": {}, "weight_map": dict(shard_of)}))
