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
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bert_export.errors import CheckpointError, MissingExtraError

__all__ = ["INDEX", "BundleEntry", "TensorBundle"]

INDEX = ".index"
"""Ending of the file that lists a bundle's tensors."""

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48  # bytes: two handles, padding, the magic number
_TRAILER = 5  # bytes behind a block: its compression and its checksum
_MASK_DELTA = 0xA282EAD8
_STRING = 7
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_CRC_CHUNK = 1 << 24

# Types of weights by their number in TensorFlow; all others are no weights.
_DTYPES: Mapping[int, torch.dtype] = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    9: torch.int64,
    14: torch.bfloat16,
    19: torch.float16,
}


class _MalformedError(ValueError):
    """A part of the file is not what the format says; the caller names the file."""


@dataclass(frozen=True, slots=True)
class BundleEntry:
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
    slices: tuple[tuple[tuple[int, int], ...], ...]


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
        try:
            data = self.index.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"TensorFlow checkpoint {self.index} cannot be read", got=error.strerror
            ) from error
        try:
            self._shards, self.entries = _read_index(data)
        except (_MalformedError, IndexError, struct.error, UnicodeDecodeError) as error:
            raise CheckpointError(
                f"TensorFlow checkpoint {self.index} is damaged",
                expected="a whole index of a tensor bundle",
                got=error,
                fix="Download or copy it again",
            ) from error
        self._maps: dict[int, mmap.mmap] = {}

    def read(self, name: str) -> Tensor:
        """A tensor, in its stored type; a view of the mapped file where it is stored whole.

        Args:
            name: As the index has it.

        Raises:
            CheckpointError: It is not there, is no tensor of numbers, lies outside its file, or
                does not have its checksum.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise self._damaged(name, expected="an entry", got="none")
        if not entry.slices:
            return self._read_whole(name, entry)
        parts = [(extent, self._slice(name, extent)) for extent in entry.slices]
        dtype = _DTYPES.get(entry.dtype)
        stored = sum(part.numel() for _, part in parts)
        if dtype is None or stored != math.prod(entry.shape):
            raise self._damaged(
                name, expected=f"slices that fill {entry.shape}", got=f"{stored} numbers"
            )
        whole = torch.empty(entry.shape, dtype=dtype)
        for extent, part in parts:
            at = tuple(
                slice(None) if length < 0 else slice(start, start + length)
                for start, length in extent
            )
            if whole[at].shape != part.shape or part.dtype != dtype:
                raise self._damaged(
                    name,
                    expected=f"a slice of shape {tuple(whole[at].shape)}",
                    got=tuple(part.shape),
                )
            whole[at] = part
        return whole

    def full_names(self) -> dict[str, str]:
        """Names that variables had in the program, by the keys of an object checkpoint.

        Empty where the bundle is of no objects.

        Raises:
            CheckpointError: The graph of objects is damaged.
        """
        entry = self.entries.get(_OBJECT_GRAPH)
        if entry is None:
            return {}
        stored = self._bytes(_OBJECT_GRAPH, entry, dtype=_STRING, check_crc=False)
        try:
            return dict(_object_names(_single_string(stored)))
        except (_MalformedError, IndexError, struct.error, UnicodeDecodeError) as error:
            raise self._damaged(_OBJECT_GRAPH, expected="a graph of objects", got=error) from error

    def _slice(self, name: str, extent: tuple[tuple[int, int], ...]) -> Tensor:
        key = _slice_key(name, extent)
        entry = self.entries.get(key)
        if entry is None or entry.slices:
            raise self._damaged(name, expected=f"the slice {extent}", got="none")
        return self._read_whole(key, entry, shown=name)

    def _read_whole(self, name: str, entry: BundleEntry, shown: str | None = None) -> Tensor:
        shown = name if shown is None else shown
        dtype = _DTYPES.get(entry.dtype)
        if dtype is None:
            raise self._damaged(
                shown, expected="a tensor of numbers", got=f"TensorFlow's type {entry.dtype}"
            )
        expected = math.prod(entry.shape) * dtype.itemsize
        if expected != entry.size:
            raise self._damaged(
                shown, expected=f"{expected} bytes for {entry.shape}", got=entry.size
            )
        stored = self._bytes(shown, entry, dtype=entry.dtype, check_crc=True)
        if entry.size == 0:
            return torch.empty(entry.shape, dtype=dtype)
        if entry.offset % dtype.itemsize:
            stored = memoryview(bytearray(stored))
        return torch.frombuffer(stored, dtype=dtype).reshape(entry.shape)

    def _bytes(self, name: str, entry: BundleEntry, *, dtype: int, check_crc: bool) -> memoryview:
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
        stored = data[entry.offset : entry.offset + entry.size]
        if check_crc and _masked_crc(stored) != entry.checksum:
            raise self._damaged(name, expected="bytes of its checksum", got="others")
        return stored

    def _map(self, name: str, shard: int) -> mmap.mmap:
        """A data file, mapped so that writing would not reach it."""
        if shard in self._maps:
            return self._maps[shard]
        if not 0 <= shard < self._shards:
            raise self._damaged(
                name, expected=f"a data file below {self._shards}", got=f"number {shard}"
            )
        path = self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self._shards:05d}")
        try:
            with path.open("rb") as file:
                self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise CheckpointError(
                f"TensorFlow checkpoint {path} cannot be read",
                expected=f"the data of {name}",
                got=getattr(error, "strerror", None) or error,
                fix="Download or copy it again",
            ) from error
        return self._maps[shard]

    def _damaged(self, name: str, *, expected: object, got: object) -> CheckpointError:
        return CheckpointError(
            f"TensorFlow checkpoint {self.index} tensor {name.strip(chr(0))} is damaged",
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


def _read_index(data: bytes) -> tuple[int, dict[str, BundleEntry]]:
    """Number of data files, and the entries by name."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise _MalformedError("no table's footer at its end")
    footer, at = data[-_FOOTER:-8], 0
    for _ in range(2):  # where the table of metadata is
        _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, at = _varint(footer, at)
    shards, entries = None, {}
    for _, handle in _block(data, offset, size):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        for key, value in _block(data, start, length):
            if not key:
                shards = _read_header(value)
            else:
                # Keys of slices hold bytes that are no text; they come back as they went in.
                entries[key.decode("utf-8", "surrogateescape")] = _read_entry(value)
    if shards is None:
        raise _MalformedError("no header")
    return shards, entries


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block of the table."""
    end = offset + size + _TRAILER
    if end > len(data):
        raise _MalformedError(f"a block from {offset} to {end} in a file of {len(data)} bytes")
    if data[offset + size] == 1:
        raise _MalformedError("a block compressed by snappy")
    if data[offset + size] != 0:
        raise _MalformedError(f"a block of compression {data[offset + size]}")
    checked = memoryview(data)[offset : offset + size + 1]
    if _masked_crc(checked) != struct.unpack("<I", data[end - 4 : end])[0]:
        raise _MalformedError("a block that does not have its checksum")
    block = data[offset : offset + size]
    if size < 4:
        raise _MalformedError("a block without restarts")
    stop = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < stop:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + unshared + length > stop:
            raise _MalformedError("an entry that leaves its block")
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
        raise _MalformedError("numbers of the other byte order")
    return _number(fields.get(1, 0))


def _read_entry(value: bytes) -> BundleEntry:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    slices = []
    for field, content in _fields(value):
        if field == 2:
            shape = _read_shape(_content(content))
        elif field == 7:
            slices.append(tuple(_read_extents(_content(content))))
        elif field in (1, 3, 4, 5, 6):
            numbers[field] = _number(content)
    return BundleEntry(
        dtype=numbers.get(1, 0),
        shape=shape,
        shard=numbers.get(3, 0),
        offset=_signed(numbers.get(4, 0)),
        size=_signed(numbers.get(5, 0)),
        checksum=numbers.get(6, 0),
        slices=tuple(slices),
    )


def _read_shape(value: bytes) -> tuple[int, ...]:
    sizes = []
    for field, content in _fields(value):
        if field == 2:
            size = _signed(_number(dict(_fields(_content(content))).get(1, 0)))
            if size < 0:
                raise _MalformedError(f"a shape with the size {size}")
            sizes.append(size)
    return tuple(sizes)


def _read_extents(value: bytes) -> Iterator[tuple[int, int]]:
    """Start and length by axis; a length that is not stored is the whole axis."""
    for field, content in _fields(value):
        if field == 1:
            extent = dict(_fields(_content(content)))
            yield _signed(_number(extent.get(1, 0))), _signed(_number(extent.get(2, (1 << 64) - 1)))


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


def _slice_key(name: str, extent: Sequence[tuple[int, int]]) -> str:
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


def _single_string(stored: memoryview) -> bytes:
    """The text of a string tensor of one element: its length, a checksum of that, its bytes."""
    data = bytes(stored)
    length, at = _varint(data, 0)
    text = data[at + 4 : at + 4 + length]
    if len(text) != length:
        raise _MalformedError("a text that is cut off")
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
