"""TensorFlow's tensor bundles, byte by byte."""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bert_export.checkpoints.tensor_bundle import TensorBundle, _slice_key, find_bundle
from bert_export.errors import CheckpointError, MissingExtraError
from tests.checkpoints.foreign import (
    MAGIC,
    block,
    bundle_entries,
    entry,
    extent_message,
    field,
    header,
    masked,
    sealed,
    slice_key,
    table,
    varint,
    write_bundle,
)

MATRIX = np.arange(60, dtype=np.float32).reshape(5, 12)
ARRAYS = {
    "a/matrix": MATRIX,
    "a/matrix_of_half": MATRIX.astype(np.float16),
    "a/step": np.array(7, dtype=np.int64),
    "b/double": np.linspace(0, 1, 5),
    "b/vector": np.arange(3, dtype=np.float32),
}


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "model.ckpt", ARRAYS)
    return tmp_path / "model.ckpt"


def _write(prefix: Path, entries: dict[bytes, bytes], data: bytes = bytes(64)) -> None:
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(sorted(entries.items())))
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)


def _refusal(prefix: Path, name: str = "w") -> str:
    with pytest.raises(CheckpointError) as caught:
        TensorBundle(prefix).read(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_tensors_come_back_as_they_were(tmp_path: Path, shards: int) -> None:
    write_bundle(tmp_path / "x", ARRAYS, shards=shards)
    bundle = TensorBundle(tmp_path / "x")
    assert bundle.names == tuple(sorted(ARRAYS))
    assert not bundle.holds_objects
    assert bundle.full_names() == {}
    for name, array in ARRAYS.items():
        tensor = bundle.read(name)
        assert tensor.shape == array.shape
        assert np.array_equal(tensor.numpy(), array)
        assert tensor.numpy().dtype == array.dtype


def test_bfloat16_is_read_as_such(tmp_path: Path) -> None:
    expected = torch.linspace(-2, 2, 10).to(torch.bfloat16)
    raw = expected.view(torch.uint8).numpy().tobytes()
    _write(tmp_path / "x", {b"": header(), b"w": entry(14, (10,), size=20, crc=masked(raw))}, raw)
    assert torch.equal(TensorBundle(tmp_path / "x").read("w"), expected)


def test_offsets_need_no_alignment(tmp_path: Path) -> None:
    raw = MATRIX.tobytes()
    placed = entry(1, MATRIX.shape, offset=3, size=len(raw), crc=masked(raw))
    _write(tmp_path / "x", {b"": header(), b"w": placed}, b"abc" + raw)
    assert np.array_equal(TensorBundle(tmp_path / "x").read("w").numpy(), MATRIX)


def test_the_key_of_a_slice_is_tensorflow_s() -> None:
    # As TensorFlow 2.21 wrote them.
    name = "bert/embeddings/word_embeddings"
    start = b"\0bert/embeddings/word_embeddings\0\x01\x01\x02"
    for extent, code in (
        (((0, 36), (0, 28)), b"\x80\xa4\x80\x9c"),
        (((36, 36), (0, 28)), b"\xa4\xa4\x80\x9c"),
        (((72, 35), (0, 28)), b"\xc0H\xa3\x80\x9c"),
    ):
        key = start + code
        assert _slice_key(name, extent).encode("utf-8", "surrogateescape") == key
        assert slice_key(name, extent) == key


@given(st.lists(st.tuples(st.integers(0, 8000), st.integers(-1, 8000)), min_size=1, max_size=4))
def test_keys_of_slices_sort_as_their_starts(extents: list[tuple[int, int]]) -> None:
    key = _slice_key("n", tuple(extents)).encode("utf-8", "surrogateescape")
    assert key == slice_key("n", extents)
    later = [(start + 1, length) for start, length in extents]
    assert key <= _slice_key("n", tuple(later)).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(("axis", "lengths"), [(0, (2, 2, 1)), (1, (12,)), (1, (1, 10, 1))])
@pytest.mark.parametrize("whole_axes", [True, False])
def test_slices_are_joined(
    tmp_path: Path, axis: int, lengths: tuple[int, ...], whole_axes: bool
) -> None:
    write_bundle(
        tmp_path / "x", ARRAYS, cuts={"a/matrix": (axis, lengths)}, whole_axes=whole_axes, shards=2
    )
    bundle = TensorBundle(tmp_path / "x")
    assert bundle.names == tuple(sorted(ARRAYS))
    assert np.array_equal(bundle.read("a/matrix").numpy(), MATRIX)


def test_slices_of_a_large_table_are_joined(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    write_bundle(tmp_path / "x", {"w": rows}, cuts={"w": (0, (63, 1, 936, 2000))})
    assert np.array_equal(TensorBundle(tmp_path / "x").read("w").numpy(), rows)


def test_names_of_objects_are_read(tmp_path: Path) -> None:
    names = {"a/matrix": "model/matrix:0", "a/step": "step:0", "not/stored": "x"}
    write_bundle(tmp_path / "x", ARRAYS, objects=names)
    bundle = TensorBundle(tmp_path / "x")
    assert bundle.holds_objects
    del names["not/stored"]
    assert bundle.full_names() == names


def test_a_damaged_graph_of_objects_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "x", ARRAYS, objects={"a/matrix": "model/matrix:0"})
    data = tmp_path / "x.data-00000-of-00001"
    raw = data.read_bytes()
    data.write_bytes(raw.replace(b"model/matrix", b"model/matriy"))
    with pytest.raises(CheckpointError, match=r"_CHECKPOINTABLE_OBJECT_GRAPH is damaged.*checks"):
        TensorBundle(tmp_path / "x").full_names()


def test_only_what_is_read_is_checked(prefix: Path) -> None:
    data = prefix.with_name("model.ckpt.data-00000-of-00001")
    entries, _ = bundle_entries(ARRAYS)
    raw = bytearray(data.read_bytes())
    raw[0] ^= 1  # of the matrix, which is first
    data.write_bytes(raw)
    bundle = TensorBundle(prefix)
    assert np.array_equal(bundle.read("b/vector").numpy(), ARRAYS["b/vector"])
    with pytest.raises(CheckpointError, match="tensor a/matrix is damaged: expected bytes of its"):
        bundle.read("a/matrix")
    assert len(entries) == len(ARRAYS) + 1


def test_reading_changes_no_file(prefix: Path) -> None:
    data = prefix.with_name("model.ckpt.data-00000-of-00001")
    before = data.read_bytes()
    tensor = TensorBundle(prefix).read("a/matrix")
    tensor += 1
    assert data.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda index: index[:0], "empty file"),
        (lambda index: index[:30], "no table's footer"),
        (lambda index: index[:-1], "no table's footer"),
        (lambda index: index + b"\0", "no table's footer"),
        (lambda index: b"\1" + index[1:], "not have its checksum"),
        (lambda index: b"\x80\x02cbuiltins\nopen\n" + index, "a block"),
        (lambda index: index[:-48] + b"\xff" * 40 + index[-8:], "more than 64 bits"),
    ],
)
def test_damaged_indexes_are_refused(
    prefix: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    index = prefix.with_name("model.ckpt.index")
    index.write_bytes(damage(index.read_bytes()))
    assert re.search(rf"model\.ckpt\.index (is damaged|cannot).*{reason}", _refusal(prefix))


@pytest.mark.parametrize(("kind", "reason"), [(1, "compressed by snappy"), (9, "compression 9")])
def test_compressed_blocks_are_refused_by_name(prefix: Path, kind: int, reason: str) -> None:
    body = block([(b"", header())])
    index = block([(b"a", varint(0) + varint(len(body)))])
    data = sealed(body, compression=kind)
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(index))
    whole = data + sealed(index) + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    prefix.with_name("model.ckpt.index").write_bytes(whole)
    assert reason in _refusal(prefix)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (entry(1, (1 << 40, 1 << 20), size=16), "bytes for (1099511627776, 1048576), got 16"),
        (entry(1, (4,), offset=(1 << 63) - 16, size=16), "bytes inside a file of 64"),
        (entry(1, (4,), offset=-16, size=16), "16 from -16 on"),
        (entry(1, (4,), size=-16), "16 bytes for (4,), got -16"),
        (entry(1, (-1, 4), size=16), "a shape with the size -1"),
        (entry(1, (4,), shard=7, size=16), "a data file below 1, got number 7"),
        (entry(1, (4, 4), size=16), "64 bytes for (4, 4), got 16"),
        (entry(1, (1,) * 9, size=4), "more than 8 axes"),
        (entry(1, (0, 1 << 40)), "got the shape (0, "),
        (entry(7, (4,), size=16), "TensorFlow's type 7"),
        (entry(250, (4,), size=16), "TensorFlow's type 250"),
        (entry(1, (4,), size=16, crc=1), "bytes of its checksum"),
        (field(2, b"\xff"), "a number that is cut off"),
        (field(2, 3), "a number in the place of a message"),
        (field(1, b"text"), "text in the place of a number"),
        (b"\x0b", "a field of the kind 3"),
        (b"\x3a\x7f", "a field that is cut off"),
        (entry(1, (4,), slices=[b""] * 2000), "more than 1024 slices"),
    ],
)
def test_hostile_entries_are_refused(tmp_path: Path, value: bytes, reason: str) -> None:
    _write(tmp_path / "x", {b"": header(), b"w": value})
    message = _refusal(tmp_path / "x")
    assert message.startswith(f"TensorFlow checkpoint {tmp_path / 'x.index'} tensor w is damaged")
    assert reason in message


ZEROS = masked(bytes(16))


@pytest.mark.parametrize(
    ("extents", "reason"),
    [
        ([((0, 4), (0, 4)), ((0, 4), (0, 4))], "overlap or leave a gap"),
        ([((0, 2), (0, 4)), ((3, 1), (0, 4))], "overlap or leave a gap"),
        ([((0, 1), (0, 4)), ((1, 1), (0, 4))], "slices that end at 2 of 4"),
        ([((0, 1), (0, 1))], "slices along several axes"),
        ([((0, 0), (0, 4)), ((0, 4), (0, 4))], "overlap or leave a gap"),
        ([((0, 4),)], "argument"),
        ([((-4, 8), (0, 4))], "overlap or leave a gap"),
        ([((0, 1 << 40), (0, 4))], "slices that end at 1099511627776 of 4"),
        ([((0, 4), (0, 4))], "an entry, got none"),
    ],
)
def test_slices_that_do_not_fill_a_tensor_are_refused(
    tmp_path: Path, extents: list[tuple[tuple[int, int], ...]], reason: str
) -> None:
    value = entry(1, (4, 4), slices=[extent_message(extent) for extent in extents])
    _write(tmp_path / "x", {b"": header(), b"w": value})
    message = _refusal(tmp_path / "x")
    assert "tensor w is damaged" in message
    assert reason in message


def test_slices_may_not_share_bytes(tmp_path: Path) -> None:
    """A small file with a table of slices that all lie at one place would fill the memory."""
    extents = [((row, 1), (0, 4)) for row in range(64)]
    part = entry(1, (1, 4), size=16, crc=ZEROS)
    entries = {slice_key("w", extent): part for extent in extents}
    entries[b""] = header()
    entries[b"w"] = entry(1, (64, 4), slices=[extent_message(extent) for extent in extents])
    _write(tmp_path / "x", entries)
    assert "bytes of its own, got some that other tensors have" in _refusal(tmp_path / "x")


def test_tensors_may_not_share_bytes(tmp_path: Path) -> None:
    entries = {b"w%d" % index: entry(1, (4, 4), size=64, crc=masked(bytes(64))) for index in (1, 2)}
    _write(tmp_path / "x", {b"": header(), **entries})
    bundle = TensorBundle(tmp_path / "x")
    bundle.read("w1")
    with pytest.raises(CheckpointError, match="tensor w2 is damaged: expected bytes of its own"):
        bundle.read("w2")


def test_an_index_stays_as_small_as_its_file(tmp_path: Path) -> None:
    """Shared prefixes would make long keys out of few bytes, and blocks could be named twice."""
    prefix = tmp_path / "x"
    _write(prefix, {b"": header(), b"k" * 1025: b""})
    assert "a key of more than 1024 bytes" in _refusal(prefix)
    many = {b"%07d" % index: b"" for index in range((1 << 16) + 1)}
    _write(prefix, {b"": header(), **many})
    assert "more than 65536 tensors" in _refusal(prefix)
    index = prefix.with_name("x.index")
    index.write_bytes(table([(b"", header()), (b"b", b""), (b"a", b"")]))
    assert "keys that do not ascend" in _refusal(prefix)
    index.write_bytes(table([(b"", header()), (b"a", b""), (b"a", b"")]))
    assert "keys that do not ascend" in _refusal(prefix)


def test_the_same_block_is_not_read_twice(tmp_path: Path) -> None:
    body = block([(b"", header())])
    handle = varint(0) + varint(len(body))
    index = block([(b"a", handle), (b"b", handle)], interval=1)
    data = sealed(body) + sealed(index)
    footer = varint(0) + varint(0) + varint(len(sealed(body))) + varint(len(index))
    whole = data + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    (tmp_path / "x.index").write_bytes(whole)
    assert "blocks that overlap" in _refusal(tmp_path / "x")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (header(endianness=1), "the other byte order"),
        (header(shards=100000), "data-00000-of-100000, got no such file"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path: Path, value: bytes, reason: str) -> None:
    _write(tmp_path / "x", {b"": value, b"w": entry(1, (4,), size=16)})
    assert reason in _refusal(tmp_path / "x")


def test_a_header_must_be_there(tmp_path: Path) -> None:
    _write(tmp_path / "x", {b"w": entry(1, (4,), size=16)})
    assert "no header" in _refusal(tmp_path / "x")


def test_names_cannot_break_the_line(tmp_path: Path) -> None:
    name = "a\nb\x1b[31m" + "x" * 500
    _write(tmp_path / "x", {b"": header(), name.encode(): entry(250, (1,), size=4)})
    message = _refusal(tmp_path / "x", name)
    assert "\x1b" not in message
    assert len(message) < 600


def test_data_files_do_not_lead_out_of_the_folder(tmp_path: Path, prefix: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.ckpt.index").write_bytes(prefix.with_name("model.ckpt.index").read_bytes())
    data = folder / "model.ckpt.data-00000-of-00001"
    data.symlink_to(prefix.with_name(data.name))
    with pytest.raises(CheckpointError, match="is a link that leaves its folder"):
        TensorBundle(folder / "model.ckpt").read("a/matrix")
    data.unlink()
    data.symlink_to(data)
    with pytest.raises(CheckpointError, match="cannot be read"):
        TensorBundle(folder / "model.ckpt").read("a/matrix")
    data.unlink()
    (folder / "elsewhere").write_bytes(prefix.with_name(data.name).read_bytes())
    data.symlink_to("elsewhere")
    assert TensorBundle(folder / "model.ckpt").read("a/matrix").shape == MATRIX.shape


def test_the_hub_s_cache_keeps_its_files_beside_the_folder(tmp_path: Path, prefix: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001"):
        blob = tmp_path / "models--a--b" / "blobs" / f"hash-of-{name}"
        blob.write_bytes(prefix.with_name(name).read_bytes())
        (snapshot / name).symlink_to(Path("../../blobs") / blob.name)
    assert TensorBundle(snapshot / "model.ckpt").read("a/matrix").shape == MATRIX.shape


def test_pipes_are_not_waited_for(tmp_path: Path, prefix: Path) -> None:
    data = prefix.with_name("model.ckpt.data-00000-of-00001")
    data.unlink()
    os.mkfifo(data)
    with pytest.raises(CheckpointError, match="lacks the data of a/matrix"):
        TensorBundle(prefix).read("a/matrix")
    os.mkfifo(tmp_path / "checkpoint")
    assert find_bundle(tmp_path) == prefix
    prefix.with_name("model.ckpt.index").unlink()
    os.mkfifo(prefix.with_name("model.ckpt.index"))
    with pytest.raises(CheckpointError, match="cannot be read"):
        TensorBundle(prefix)


def test_a_pointer_of_git_is_named(prefix: Path) -> None:
    data = prefix.with_name("model.ckpt.data-00000-of-00001")
    data.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n")
    assert "is a Git LFS pointer" in _refusal(prefix, "a/matrix")


def test_the_library_for_checksums_is_asked_for(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(MissingExtraError, match=r"bert-export\[tensorflow-checkpoints\]"):
        TensorBundle(prefix)
