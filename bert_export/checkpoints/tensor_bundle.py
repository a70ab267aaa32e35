"""TensorFlow's tensor bundles: an index of named tensors, and the files that hold their bytes.

A bundle ``NAME`` is the table ``NAME.index`` and the files ``NAME.data-00000-of-00001`` and on. The
index is a sorted table in blocks, each with a checksum. Its values are protocol buffers: a header
under the empty key, then an entry per tensor with its type, shape, file, place and checksum. A
tensor that was stored in slices has an entry per slice under a key that encodes the slice.

TensorFlow 1's ``bert_model.ckpt``, TensorFlow 2's object checkpoints and the ``variables`` of a
SavedModel are all such bundles. Nothing is read but what is asked for, and that is checked.

Source: tensorflow/core/util/tensor_bundle, tensorflow/core/protobuf/tensor_bundle.proto and
tensorflow/core/lib/strings/ordered_code (the formats alone).
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bert_export.checkpoints.own_files import (
    is_file,
    map_file,
    refuse_outside,
    release,
)
from bert_export.errors import CheckpointError, MissingExtraError, plain
from bert_export.regular_files import read_regular

__all__ = ["INDEX", "TensorBundle", "find_bundle"]

INDEX = ".index"
"""Ending of the file that lists a bundle's tensors."""

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48  # bytes: two handles, padding, the magic number
_TRAILER = 5  # bytes behind a block: its compression and its checksum
_MASK_DELTA = 0xA282EAD8
_STRING = 7
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_CRC_CHUNK = 1 << 24

# Far more than a BERT with the state of its optimizer has, so that a small index stays small.
_MOST_ENTRIES = 1 << 16
_LONGEST_KEY = 1 << 10  # bytes
_MOST_AXES = 8
_MOST_SLICES = 1 << 10

_Extent = tuple[tuple[int, int], ...]  # start and length by axis

# Types of weights by their number in TensorFlow; all others are no weights.
_DTYPES: Mapping[int, torch.dtype] = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    9: torch.int64,
    14: torch.bfloat16,
    19: torch.float16,
}


_LATEST = "checkpoint"
_MOST_LATEST = 1 << 24
_PATH = re.compile(r'^model_checkpoint_path:\s*"([^"]*)"', re.MULTILINE)
_OLD_FORMAT = re.compile(r".*\.ckpt(-[0-9]+)?")


def find_bundle(folder: Path) -> Path:
    """The bundle that a folder is about: the only one, or the one that ``checkpoint`` names.

    That file holds paths of the machine that trained; only their last part counts, and it must be
    in this folder.

    Returns:
        Path of the bundle's files up to ``.index``.

    Raises:
        CheckpointError: There is none, or several of which none is named.
    """
    there = sorted(path.name.removesuffix(INDEX) for path in folder.glob(f"*{INDEX}"))
    named = _latest(folder)
    if named in there:
        return folder / named
    if len(there) == 1:
        return folder / there[0]
    if not there:
        old = [path.name for path in sorted(folder.iterdir()) if _OLD_FORMAT.fullmatch(path.name)]
        raise CheckpointError(
            f"checkpoint {folder} has no TensorFlow weights",
            expected=f"a file such as bert_model.ckpt{INDEX}",
            got=f"{old[0]} in the format before {INDEX} files" if old else "none",
            fix="Save it again with tf.compat.v1.train.Saver" if old else "Copy all of its files",
        )
    raise CheckpointError(
        f"checkpoint {folder} holds several checkpoints",
        expected=f"one, or a file {_LATEST} that names one of them",
        got=", ".join(there[:12]),
        fix="Move the others away",
    )


def _latest(folder: Path) -> str | None:
    path = folder / _LATEST
    if not is_file(path):
        return None
    try:
        text = read_regular(path, most=_MOST_LATEST).decode("utf-8", errors="replace")
    except OSError:  # the file is optional
        return None
    match = _PATH.search(text)
    return None if match is None else re.split(r"[/\\]", match[1])[-1]


class _MalformedError(ValueError):
    """A part of the file is not what the format says; the caller names the file."""


class _UnsupportedError(ValueError):
    """The file is of a form that is not read; the caller names the file."""


_MALFORMED = (ValueError, IndexError, struct.error)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where and how a tensor is stored.

    Args:
        dtype: TensorFlow's number of its type.
        shape: Its sizes.
        shard: Number of the data file.
        offset, size: Of its bytes in there.
        checksum: Masked crc32c of its bytes.
        slices: Start and length by axis of each slice that it is stored in; empty where it is
            stored whole. A length of -1 is the whole axis.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    slices: tuple[_Extent, ...]


class TensorBundle:
    """An opened bundle.

    Args:
        prefix: Path of the bundle's files up to ``.index``.

    Raises:
        CheckpointError: The index is missing, truncated, damaged, or of another format.
        MissingExtraError: The library for checksums is not installed.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.index = prefix.with_name(prefix.name + INDEX)
        _import_crc()
        refuse_outside(self.index)
        try:
            self._shards, self._values = _read_index(map_file(self.index)[:])
        except _UnsupportedError as error:
            raise CheckpointError(
                f"TensorFlow checkpoint {self.index} is stored in an unsupported form",
                expected="numbers of the little byte order, in blocks without compression",
                got=error,
                fix="Save it again with tf.train.Checkpoint or tf.compat.v1.train.Saver",
            ) from error
        except _MALFORMED as error:
            raise CheckpointError(
                f"TensorFlow checkpoint {self.index} is damaged",
                expected="a whole index of a tensor bundle",
                got=error,
                fix="Download or copy it again",
            ) from error
        self._maps: dict[int, mmap.mmap] = {}
        self._bytes_read = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors; slices, which stand under keys of their own, are not among them."""
        return tuple(name for name in self._values if not name.startswith("\0"))

    @property
    def holds_objects(self) -> bool:
        """Whether keys are places in a graph of objects, which the bundle holds too."""
        return _OBJECT_GRAPH in self._values

    def read(self, name: str) -> Tensor:
        """A tensor, in its stored type; a view of the mapped file where it is stored whole.

        Memory behind tensors that were read before is let go, and read again where it is used.

        Args:
            name: One of :attr:`names`.

        Raises:
            CheckpointError: It is not there, is no tensor of numbers, lies outside its file, or
                does not have its checksum.
        """
        for mapped in self._maps.values():
            release(mapped)
        entry = self._entry(name, name)
        return self._join(name, entry) if entry.slices else self._read_whole(name, entry)

    def full_names(self) -> dict[str, str]:
        """Names that variables had in the program, by the keys of an object checkpoint.

        Empty where the bundle is of no objects.

        Raises:
            CheckpointError: The graph of objects is damaged.
        """
        if not self.holds_objects:
            return {}
        entry = self._entry(_OBJECT_GRAPH, _OBJECT_GRAPH)
        try:
            stored = self._bytes(_OBJECT_GRAPH, entry, dtype=_STRING)
            graph = _single_string(stored, entry.checksum)
            return {key: full for key, full in _object_names(graph) if key in self._values}
        except _MALFORMED as error:
            raise self._damaged(_OBJECT_GRAPH, expected="a graph of objects", got=error) from error

    def _entry(self, key: str, name: str) -> _Entry:
        value = self._values.get(key)
        if value is None:
            raise self._damaged(name, expected="an entry", got="none")
        try:
            return _read_entry(value)
        except _MALFORMED as error:
            raise self._damaged(name, expected="an entry", got=error) from error

    def _join(self, name: str, entry: _Entry) -> Tensor:
        """A tensor that is stored in slices along one axis, which fill it without a gap."""
        try:
            axis, extents = _slices_in_order(entry)
            keys = [_slice_key(name, extent) for extent, _ in extents]
        except _MALFORMED as error:
            raise self._damaged(name, expected=f"slices of {entry.shape}", got=error) from error
        parts = []
        for key, (_, length) in zip(keys, extents, strict=True):
            part = self._entry(key, name)
            shape = (*entry.shape[:axis], length, *entry.shape[axis + 1 :])
            if part.slices or (part.shape, part.dtype) != (shape, entry.dtype):
                raise self._damaged(
                    name,
                    expected=f"a slice of shape {shape} and type {entry.dtype}",
                    got=f"shape {part.shape} and type {part.dtype}",
                )
            parts.append(self._read_whole(name, part))
        return torch.cat(parts, dim=axis)

    def _read_whole(self, name: str, entry: _Entry) -> Tensor:
        dtype = _DTYPES.get(entry.dtype)
        if dtype is None:
            raise self._damaged(
                name, expected="a tensor of numbers", got=f"TensorFlow's type {entry.dtype}"
            )
        expected = math.prod(entry.shape) * dtype.itemsize
        if not expected:
            raise self._damaged(
                name, expected="a tensor with values", got=f"the shape {entry.shape}"
            )
        if expected != entry.size:
            raise self._damaged(
                name, expected=f"{expected} bytes for {entry.shape}", got=entry.size
            )
        stored = self._bytes(name, entry, dtype=entry.dtype)
        if _masked_crc(stored) != entry.checksum:
            raise self._damaged(name, expected="bytes of its checksum", got="others")
        if entry.offset % dtype.itemsize:
            stored = memoryview(bytearray(stored))
        return torch.frombuffer(stored, dtype=dtype).reshape(entry.shape)

    def _bytes(self, name: str, entry: _Entry, *, dtype: int) -> memoryview:
        """The stored bytes of an entry."""
        if entry.dtype != dtype:
            raise self._damaged(
                name, expected=f"TensorFlow's type {dtype}", got=f"type {entry.dtype}"
            )
        data = memoryview(self._map(name, entry.shard))
        if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > len(data):
            raise self._damaged(
                name,
                expected=f"bytes inside a file of {len(data)}",
                got=f"{entry.size} from {entry.offset} on",
            )
        # Tensors that share bytes would take more memory than there are bytes.
        self._bytes_read += entry.size
        stored = sum(len(mapped) for mapped in self._maps.values())
        if self._bytes_read > stored:
            raise self._damaged(
                name, expected="bytes of its own", got="some that other tensors have"
            )
        return data[entry.offset : entry.offset + entry.size]

    def _map(self, name: str, shard: int) -> mmap.mmap:
        if shard in self._maps:
            return self._maps[shard]
        if not 0 <= shard < self._shards:
            raise self._damaged(
                name, expected=f"a data file below {self._shards}", got=f"number {shard}"
            )
        path = self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self._shards:05d}")
        refuse_outside(path)
        if not is_file(path):
            raise CheckpointError(
                f"TensorFlow checkpoint {self.index} lacks the data of {plain(name)}",
                expected=f"the file {path.name}",
                got="no such file",
                fix="Download or copy it again",
            )
        try:
            self._maps[shard] = map_file(path)
        except ValueError as error:
            raise self._damaged(name, expected=f"bytes in {path.name}", got=error) from error
        return self._maps[shard]

    def _damaged(self, name: str, *, expected: object, got: object) -> CheckpointError:
        return CheckpointError(
            f"TensorFlow checkpoint {self.index} tensor {plain(name)} is damaged",
            expected=expected,
            got=got,
            fix="Download or copy it again",
        )


def _import_crc() -> None:
    try:
        import google_crc32c  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("TensorFlow checkpoint", extra="tensorflow-checkpoints") from error


def _masked_crc(data: memoryview) -> int:
    """The checksum as TensorFlow stores it: crc32c, rotated by 15 bits, plus a constant."""
    import google_crc32c

    crc = 0
    for start in range(0, len(data), _CRC_CHUNK):
        crc = google_crc32c.extend(crc, bytes(data[start : start + _CRC_CHUNK]))
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _read_index(data: bytes) -> tuple[int, dict[str, bytes]]:
    """Number of data files, and the values by key.

    Blocks follow each other and keys ascend, as in every table; nothing is read twice.
    """
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise _MalformedError("no table's footer at its end")
    footer, at = data[-_FOOTER:-8], 0
    for _ in range(2):  # where the table of metadata is
        _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, at = _varint(footer, at)
    values: dict[str, bytes] = {}
    shards, end, last = None, 0, None
    for _, handle in _block(data, offset, size):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        if start < end:
            raise _MalformedError("blocks that overlap")
        end = start + length
        for key, value in _block(data, start, length):
            if last is not None and key <= last:
                raise _MalformedError("keys that do not ascend")
            last = key
            if not key:
                shards = _read_header(value)
                continue
            # Keys of slices hold bytes that are no text; they come back as they went in.
            values[key.decode("utf-8", "surrogateescape")] = value
            if len(values) > _MOST_ENTRIES:
                raise _MalformedError(f"more than {_MOST_ENTRIES} tensors")
    if shards is None:
        raise _MalformedError("no header")
    return shards, values


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block of the table."""
    end = offset + size + _TRAILER
    if end > len(data):
        raise _MalformedError(f"a block from {offset} to {end} in a file of {len(data)} bytes")
    if data[offset + size] == 1:
        raise _UnsupportedError("a block compressed by snappy")
    if data[offset + size] != 0:
        raise _MalformedError(f"a block of compression {data[offset + size]}")
    checked = memoryview(data)[offset : offset + size + 1]
    if _masked_crc(checked) != struct.unpack("<I", data[end - 4 : end])[0]:
        raise _MalformedError("a block that does not have its checksum")
    block = data[offset : offset + size]
    restarts = struct.unpack("<I", block[-4:])[0] if size >= 4 else 0
    stop = size - 4 - 4 * restarts
    if stop < 0:
        raise _MalformedError("a block without its restarts")
    at, key = 0, b""
    while at < stop:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + unshared + length > stop:
            raise _MalformedError("an entry that leaves its block")
        if shared + unshared > _LONGEST_KEY:
            raise _MalformedError(f"a key of more than {_LONGEST_KEY} bytes")
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in 7-bit groups, the lowest first, and where the next one begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _MalformedError("a number that is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise _MalformedError("a number of more than 64 bits")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protocol buffer's fields."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            number, at = _varint(data, at)
            yield tag >> 3, number
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _MalformedError(f"a field of the kind {kind}")
        if at + length > len(data):
            raise _MalformedError("a field that is cut off")
        value = data[at : at + length]
        at += length
        yield tag >> 3, value if kind == 2 else int.from_bytes(value, "little")


def _read_header(value: bytes) -> int:
    fields = dict(_fields(value))
    if fields.get(2, 0) != 0:
        raise _UnsupportedError("numbers of the other byte order")
    return _number(fields.get(1, 0))


def _read_entry(value: bytes) -> _Entry:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    slices: list[_Extent] = []
    for field, content in _fields(value):
        if field == 2:
            shape = _read_shape(_content(content))
        elif field == 7:
            slices.append(tuple(_read_extents(_content(content))))
            if len(slices) > _MOST_SLICES:
                raise _MalformedError(f"more than {_MOST_SLICES} slices")
        elif field in (1, 3, 4, 5, 6):
            numbers[field] = _number(content)
    return _Entry(
        dtype=numbers.get(1, 0),
        shape=shape,
        shard=numbers.get(3, 0),
        offset=_signed(numbers.get(4, 0)),
        size=_signed(numbers.get(5, 0)),
        checksum=numbers.get(6, 0),
        slices=tuple(slices),
    )


def _read_shape(value: bytes) -> tuple[int, ...]:
    sizes: list[int] = []
    for field, content in _fields(value):
        if field == 2:
            size = _signed(_number(dict(_fields(_content(content))).get(1, 0)))
            if size < 0:
                raise _MalformedError(f"a shape with the size {size}")
            if len(sizes) == _MOST_AXES:
                raise _MalformedError(f"a shape of more than {_MOST_AXES} axes")
            sizes.append(size)
    return tuple(sizes)


def _read_extents(value: bytes) -> Iterator[tuple[int, int]]:
    """Start and length by axis; a length that is not stored is the whole axis."""
    for count, (field, content) in enumerate(_fields(value)):
        if count == _MOST_AXES:
            raise _MalformedError(f"a slice of more than {_MOST_AXES} axes")
        if field == 1:
            extent = dict(_fields(_content(content)))
            yield _signed(_number(extent.get(1, 0))), _signed(_number(extent.get(2, (1 << 64) - 1)))


def _slices_in_order(entry: _Entry) -> tuple[int, list[tuple[_Extent, int]]]:
    """The one axis that slices cut, and each slice with its length, from the start to the end."""
    spans = [
        tuple(
            (start, size if length < 0 else length)
            for (start, length), size in zip(extent, entry.shape, strict=True)
        )
        for extent in entry.slices
    ]
    whole = tuple((0, size) for size in entry.shape)
    cut = {axis for span in spans for axis in range(len(whole)) if span[axis] != whole[axis]}
    if len(cut) > 1:
        raise _MalformedError("slices along several axes")
    axis, filled, ordered = min(cut, default=0), 0, []
    for (start, length), extent in sorted(
        (span[axis], extent) for span, extent in zip(spans, entry.slices, strict=True)
    ):
        if start != filled or length <= 0:
            raise _MalformedError("slices that overlap or leave a gap")
        filled += length
        ordered.append((extent, length))
    if filled != entry.shape[axis]:
        raise _MalformedError(f"slices that end at {filled} of {entry.shape[axis]}")
    return axis, ordered


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise _MalformedError("text in the place of a number")
    return value


def _content(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _MalformedError("a number in the place of a message")
    return value


def _signed(value: int) -> int:
    """A 64-bit number as a signed one."""
    return value - (1 << 64) if value >> 63 else value


def _slice_key(name: str, extent: _Extent) -> str:
    """The key under which a slice is stored: numbers and text in an order-preserving code."""
    escapes = {0x00: b"\x00\xff", 0xFF: b"\xff\x00"}
    letters = name.encode("utf-8", "surrogateescape")
    text = b"".join(escapes.get(letter, bytes([letter])) for letter in letters)
    key = b"\x00" + text + b"\x00\x01" + _ordered(len(extent))
    for start, length in extent:
        key += _ordered_signed(start) + _ordered_signed(length)
    return key.decode("utf-8", "surrogateescape")


def _ordered(number: int) -> bytes:
    """A number that is not negative: its count of bytes, and they."""
    digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(digits)]) + digits


def _ordered_signed(number: int) -> bytes:
    """A signed number: leading ones tell its count of bytes."""
    count = next(
        (count for count in range(1, 9) if -(1 << 7 * count - 1) <= number < 1 << 7 * count - 1), 0
    )
    if not count:
        raise _MalformedError(f"a slice at {number}")
    header = ((0xFF00 >> count) & 0xFF) << 8 * (count - 1)
    pattern = number & ((1 << 8 * count) - 1)
    return (pattern ^ header).to_bytes(count, "big")


def _single_string(stored: memoryview, checksum: int) -> bytes:
    """The text of a string tensor of one element: its length, a checksum of that, its bytes.

    The tensor's checksum is of the length as a fixed-size number, its checksum, and the bytes.
    """
    data = bytes(stored)
    length, at = _varint(data, 0)
    text = data[at + 4 :]
    if len(text) != length:
        raise _MalformedError("a text that is cut off")
    fixed = length.to_bytes(4 if length < 1 << 32 else 8, "little")
    if _masked_crc(memoryview(fixed + data[at:])) != checksum:
        raise _MalformedError("a text that does not have its checksum")
    return text


def _object_names(graph: bytes) -> Iterator[tuple[str, str]]:
    """Checkpoint key and full name of every variable of a graph of objects."""
    for field, node in _fields(graph):
        if field != 1:
            continue
        for part, attribute in _fields(_content(node)):
            if part == 2:
                names = dict(_fields(_content(attribute)))
                key, full = _content(names.get(3, b"")), _content(names.get(2, b""))
                yield key.decode(), full.decode()
