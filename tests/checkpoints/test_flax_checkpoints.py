"""Folders that Flax wrote, whole and damaged."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from bert_export.checkpoints import load_checkpoint
from bert_export.models import load_head
from tests.checkpoints.foreign import (
    chunked,
    flax_arrays,
    nested,
    packed,
    write_index,
    write_msgpack,
)
from tests.checkpoints.test_tensorflow_checkpoints import HEADS, _refusal, _save, assert_answers

NAME = "flax_model.msgpack"
Tree = dict[str, Any]


def _tree(model: Any) -> Tree:
    return nested({name: packed(array) for name, array in flax_arrays(model).items()})


@pytest.fixture
def flax(tmp_path: Path) -> tuple[Path, Any, Tree]:
    """A folder without weights, the original model, and what its file holds."""
    model = _save("BertForTokenClassification", tmp_path)
    return tmp_path, model, _tree(model)


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_weights_of_every_head(tmp_path: Path, head: str) -> None:
    model = _save(head, tmp_path)
    write_msgpack(tmp_path / NAME, _tree(model))
    assert_answers(head, model, tmp_path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tree: {"params": tree},
        lambda tree: {"params": {"params": tree}},
        lambda tree: {"params": tree, "opt_state": {"0": {"mu": tree, "count": 3}}, "step": 3},
        lambda tree: {"params": tree, "batch_stats": {}, "opt_state": None},
    ],
)
def test_weights_stand_below_params(
    flax: tuple[Path, Any, Tree], wrap: Callable[[Tree], Tree]
) -> None:
    folder, model, tree = flax
    write_msgpack(folder / NAME, wrap(tree))
    assert_answers("BertForTokenClassification", model, folder)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_other_widths(tmp_path: Path, dtype: str) -> None:
    model = _save("BertForMaskedLM", tmp_path)
    kind = getattr(torch, dtype)
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.to(kind))
    leaves = {}
    for name, array in flax_arrays(model).items():
        tensor = torch.from_numpy(array).to(kind)
        raw = tensor.reshape(-1).view(torch.uint8).numpy()
        leaves[name] = packed(raw, dtype, array.shape)
    write_msgpack(tmp_path / NAME, nested(leaves))
    assert_answers("BertForMaskedLM", model, tmp_path)


def test_large_arrays_come_in_chunks(tmp_path: Path) -> None:
    model = _save("BertForMaskedLM", tmp_path)
    leaves: Tree = {name: packed(array) for name, array in flax_arrays(model).items()}
    words = "bert.embeddings.word_embeddings.embedding"
    for name, count in ((words, 3), ("cls.predictions.bias", 1)):
        leaves[name] = chunked(flax_arrays(model)[name], count)
    write_msgpack(tmp_path / NAME, nested(leaves))
    assert_answers("BertForMaskedLM", model, tmp_path)


def test_a_decoder_of_its_own(tmp_path: Path) -> None:
    model = _save("BertForMaskedLM", tmp_path, tie_word_embeddings=False)
    leaves = {name: packed(array) for name, array in flax_arrays(model).items()}
    decoder = model.cls.predictions.decoder.weight.detach().numpy()
    leaves["cls.predictions.decoder.kernel"] = packed(np.ascontiguousarray(decoder.T))
    write_msgpack(tmp_path / NAME, nested(leaves))
    assert_answers("BertForMaskedLM", model, tmp_path)


def test_shards(tmp_path: Path) -> None:
    model = _save("BertForPreTraining", tmp_path)
    names = sorted(flax_arrays(model))
    shard_of = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"flax_model-0000{number}-of-00002.msgpack"
        arrays = {name: packed(flax_arrays(model)[name]) for name in part}
        write_msgpack(tmp_path / shard, nested(arrays))
        shard_of |= {name.replace(".", "/"): shard for name in part}
    write_index(tmp_path / f"{NAME}.index.json", shard_of)
    assert_answers("BertForPreTraining", model, tmp_path)


@pytest.mark.parametrize("head", ["BertModel", "BertForPreTraining", "BertForQuestionAnswering"])
def test_safetensors_that_flax_wrote(tmp_path: Path, head: str) -> None:
    model = _save(head, tmp_path)
    save_file(flax_arrays(model), tmp_path / "model.safetensors", metadata={"format": "flax"})
    assert_answers(head, model, tmp_path)


def test_reading_leaves_no_tie_to_the_file(flax: tuple[Path, Any, Tree]) -> None:
    folder, model, tree = flax
    write_msgpack(folder / NAME, tree)
    head = load_head("BertForTokenClassification", load_checkpoint(str(folder)))
    (folder / NAME).write_bytes(bytes(100))
    weight = head.get_parameter("classifier.weight")
    assert torch.equal(weight, model.classifier.weight)


# --- what is refused -----------------------------------------------------------------------------

BIAS = np.zeros(3, np.float32)
RAW = msgspec.msgpack.encode
LEAVES = {
    "of objects": (packed(BIAS, "object"), "got 'object'"),
    "of an expression": (packed(BIAS, "(1000000,1000000)f4"), "got '(1000000,1000000)f4'"),
    "of fields": (packed(BIAS, "f4,O"), "got 'f4,O'"),
    "of whole numbers": (packed(BIAS, "int32"), "got 'int32'"),
    "of a long type": (packed(BIAS, "f" * 100), "shape or type is too long"),
    "too short": (packed(BIAS, shape=(4,)), "16 bytes for the shape (4,), got 12"),
    "negative": (packed(BIAS, shape=(-1,)), "sizes that are not negative, got (-1,)"),
    "huge": (packed(BIAS, shape=(1 << 40, 1 << 40)), "got 12"),
    "huge and empty": (packed(BIAS[:0], shape=(1 << 40, 0)), "got the shape ("),
    "of many axes": (packed(BIAS[:1], shape=(1,) * 100), "shape or type is too long"),
    "of no sizes": (packed(BIAS, shape="3"), "array"),
    "of fractions": (packed(BIAS, shape=(1.5, 2.0)), "array"),
    "without bytes": (msgspec.msgpack.Ext(1, RAW(((3,), "float32", "text"))), "without bytes"),
    "of two parts": (msgspec.msgpack.Ext(1, RAW(((3,), "float32"))), "array"),
    "cut off": (msgspec.msgpack.Ext(1, RAW(((3,), "float32", bytes(12)))[:-4]), "truncated"),
    "with more behind": (msgspec.msgpack.Ext(1, RAW(((3,), "float32", bytes(12))) + b"\0"), "tra"),
    "empty": (msgspec.msgpack.Ext(1, b""), "truncated"),
    "a scalar": (msgspec.msgpack.Ext(3, RAW(((), "float32", bytes(4)))), "got scalar"),
    "of no known kind": (msgspec.msgpack.Ext(42, bytes(12)), "got scalar"),
    "a list": ([1.0, 2.0, 3.0], "got a list"),
    "a number": (1.5, "got float"),
    "a text": ("text", "got str"),
    "nothing": (None, "got nonetype"),
    "no chunk": (
        {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {"1": packed(BIAS)}},
        "without one of them",
    ),
    "no chunks": (
        {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {}},
        "without one of them",
    ),
    "no shape": ({"__msgpack_chunked_array__": True, "chunks": {"0": packed(BIAS)}}, "without one"),
    "huge chunks": (
        {"__msgpack_chunked_array__": True, "shape": {"0": 1 << 40}, "chunks": {"0": packed(BIAS)}},
        "expected 1099511627776 values of one type, got 3 in chunks",
    ),
    "negative chunks": (
        {"__msgpack_chunked_array__": True, "shape": {"0": -3}, "chunks": {"0": packed(BIAS)}},
        "without one of them",
    ),
    "mixed chunks": (
        {"__msgpack_chunked_array__": True, "shape": {"0": 6},
         "chunks": {"0": packed(BIAS), "1": packed(BIAS.astype(np.float16))}},
        "values of one type",
    ),
    "a chunk of chunks": (
        {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {"0": chunked(BIAS, 1)}},
        "expected an array",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAVES)
def test_hostile_arrays_are_refused(flax: tuple[Path, Any, Tree], name: str) -> None:
    folder, _, tree = flax
    leaf, reason = LEAVES[name]
    tree["classifier"]["bias"] = leaf
    write_msgpack(folder / NAME, tree)
    message = _refusal(folder, "BertForTokenClassification")
    assert message.startswith(f"file {folder / NAME} tensor classifier.bias")
    assert reason in message


FILES = {
    "empty": (b"", "cannot mmap an empty file"),
    "a pickle": (b"\x80\x02cbuiltins\nopen\nX\x05\0\0\0PWNED\x86R.", "cannot be read"),
    "a list": (RAW([1, 2, 3]), "tensor root"),
    "a list of 2^32": (b"\xdd\xff\xff\xff\xff", "truncated"),
    "a map of 2^32": (b"\xdf\xff\xff\xff\xff\xa1a", "truncated"),
    "a map of 2^16": (RAW({str(index): 0 for index in range(1 << 16)}), "a map of 65536 entries"),
    "an array of 2^32": (b"\x81\xa4bert\xc9\xff\xff\xff\xff\x01abc", "truncated"),
    "bytes of 2^32": (b"\x81\xa4bert\xc6\xff\xff\xff\xffabc", "truncated"),
    "a deep map": (b"\x81\xa1a" * 200_000 + b"\xc0", "maximum recursion depth exceeded"),
    "a less deep map": (b"\x81\xa1a" * 40 + b"\xc0", "at most 24 maps"),
    "deep collections": (b"\x81\xa6params" * 200 + b"\xc0", "expected an array"),
    "keys of numbers": (RAW({1: {2: 3}}), "cannot be read"),
    "a key twice": (b"\x82\xa1a\xc0\xa1a\xc0", "a key twice"),
    "a key that is no text": (b"\x81\xa1\xff\xc0", "cannot be read"),
    "a key with a line": (RAW({"a\nb\x1b": 3}), "tensor a\\nb\\x1b"),
    "dots in a key": (RAW({"bert.pooler": {}}), "names of one part as keys, got 'bert.pooler'"),
    "a pointer of git": (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "another model": (RAW({"gpt": {"bias": packed(BIAS)}, "classifier": {"kernel": packed(BIAS)}}),
                      "is not of a BERT"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_are_refused(
    flax: tuple[Path, Any, Tree], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = flax
    content, reason = FILES[name]
    (folder / NAME).write_bytes(content)
    monkeypatch.chdir(folder)
    for place in (folder, Path()):
        assert reason in _refusal(place)
    assert not (folder / "PWNED").exists()


def test_what_is_cut_off_or_goes_on_is_refused(flax: tuple[Path, Any, Tree]) -> None:
    folder, _, tree = flax
    whole = RAW(tree)
    for content in (whole[:-1], whole[: len(whole) // 2], whole + bytes(8), whole + whole):
        (folder / NAME).write_bytes(content)
        assert "expected a complete MessagePack file of Flax" in _refusal(folder)


def test_one_tensor_has_one_name(tmp_path: Path) -> None:
    model = _save("BertModel", tmp_path)
    tree = _tree(model)
    write_msgpack(tmp_path / NAME, tree | {"bert": {"pooler": tree["pooler"]}})
    assert re.search(r"tensor bert\.pooler.* expected one tensor of that name", _refusal(tmp_path))


def test_values_that_are_not_finite_are_refused(flax: tuple[Path, Any, Tree]) -> None:
    folder, _, tree = flax
    tree["classifier"]["bias"] = packed(BIAS + np.nan)
    write_msgpack(folder / NAME, tree)
    assert "holds values that are not finite" in _refusal(folder, "BertForTokenClassification")


def test_a_state_s_other_parts_are_not_opened(flax: tuple[Path, Any, Tree]) -> None:
    """Only the weights are read: what an optimizer keeps may be of any kind."""
    folder, model, tree = flax
    state = {"params": tree, "opt_state": {"x": [packed(BIAS, "object")], "y": {"1.2": {}}}}
    write_msgpack(folder / NAME, state)
    assert_answers("BertForTokenClassification", model, folder)
