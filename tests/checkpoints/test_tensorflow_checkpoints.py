"""Folders that TensorFlow 1, TensorFlow 2 and Keras wrote, whole and damaged."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from bert_export.checkpoints import load_checkpoint
from bert_export.errors import BertExportError, CheckpointError, MissingExtraError, TaskError
from bert_export.models import load_head
from tests.checkpoints.conftest import rewrite
from tests.checkpoints.foreign import (
    tensorflow_h5_arrays,
    tensorflow_v1_arrays,
    write_bundle,
    write_h5,
    write_index,
)
from tests.oracle import random_batch, save_tiny

HEADS = (
    "BertModel",
    "BertForPreTraining",
    "BertLMHeadModel",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForMultipleChoice",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
)
GOOGLE = tuple(head for head in HEADS if head not in ("BertLMHeadModel", "BertForMultipleChoice"))


def _save(head: str, folder: Path, **config: Any) -> Any:
    """A tiny model of the original; its weights' file is removed."""
    extra = {"is_decoder": True} if head == "BertLMHeadModel" else {}
    labels = 2 if head == "BertForQuestionAnswering" else 3
    model = save_tiny(head, folder, num_labels=labels, **(extra | config))
    (folder / "model.safetensors").unlink()
    return model


def _google(folder: Path) -> None:
    """Leave what Google's scripts write: no names of labels, no settings of the tokenizer."""
    config = json.loads((folder / "config.json").read_text())
    kept = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "hidden_act", "max_position_embeddings", "type_vocab_size",
    )  # fmt: skip
    (folder / "bert_config.json").write_text(json.dumps({key: config[key] for key in kept}))
    for name in ("config.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


def assert_answers(head: str, model: Any, folder: Path) -> None:
    """The head that is read answers as the original model does."""
    ours = load_head(head, load_checkpoint(str(folder)))
    ids, mask, types = random_batch(model.config.vocab_size)
    if head == "BertForMultipleChoice":
        ids, mask, types = (tensor.unsqueeze(0) for tensor in (ids, mask, types))
    with torch.no_grad():
        expected = model(ids, attention_mask=mask, token_type_ids=types)
        answers = ours(ids, mask, types)
    answers = answers if isinstance(answers, tuple) else (answers,)
    assert len(ours.outputs) == len(answers)
    for name, answer in zip(ours.outputs, answers, strict=True):
        torch.testing.assert_close(answer, expected[name], rtol=0, atol=1e-5)


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_keras_weights_of_every_head(tmp_path: Path, head: str) -> None:
    model = _save(head, tmp_path)
    write_h5(tmp_path / "tf_model.h5", tensorflow_h5_arrays(model))
    assert_answers(head, model, tmp_path)


@pytest.mark.parametrize("head", GOOGLE)
def test_google_weights_of_every_head(tmp_path: Path, head: str) -> None:
    model = _save(head, tmp_path)
    _google(tmp_path)
    arrays = tensorflow_v1_arrays(model)
    slots = {f"{name}/adam_m": array for name, array in arrays.items()}
    slots |= {f"{name}/AdamWeightDecayOptimizer_1": array for name, array in arrays.items()}
    steps = {"global_step": np.array(3), "beta1_power": np.float32(0.9), "x/loss_scale": np.ones(1)}
    write_bundle(tmp_path / "model.ckpt-3", arrays | slots | steps, shards=2)
    checkpoint = load_checkpoint(str(tmp_path))
    assert not any("adam" in name.lower() for name in checkpoint.tensors)
    if head not in ("BertForSequenceClassification", "BertForTokenClassification"):
        expected = "BertForPreTraining" if head == "BertForNextSentencePrediction" else head
        assert checkpoint.architectures == (expected,)
    assert_answers(head, model, tmp_path)


@pytest.mark.parametrize("task", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_google_s_classifiers_are_what_the_task_says(tmp_path: Path, task: str) -> None:
    model = _save(task, tmp_path)
    _google(tmp_path)
    write_bundle(tmp_path / "model.ckpt", tensorflow_v1_arrays(model))
    checkpoint = load_checkpoint(str(tmp_path))
    assert checkpoint.architectures == ()
    assert checkpoint.config["num_labels"] == 3
    assert_answers(task, model, tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_keras_weights_of_other_widths(tmp_path: Path, dtype: str) -> None:
    model = _save("BertForMaskedLM", tmp_path)
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.to(getattr(torch, dtype)))
    arrays = {name: array.astype(dtype) for name, array in tensorflow_h5_arrays(model).items()}
    write_h5(tmp_path / "tf_model.h5", arrays)
    assert_answers("BertForMaskedLM", model, tmp_path)


@pytest.mark.parametrize("scope", ["tf_bert_for_masked_lm_3", "my_model"])
def test_the_scope_may_be_any(tmp_path: Path, scope: str) -> None:
    model = _save("BertForMaskedLM", tmp_path)
    write_h5(tmp_path / "tf_model.h5", tensorflow_h5_arrays(model, scope))
    assert_answers("BertForMaskedLM", model, tmp_path)


def test_embeddings_that_are_stored_twice_count_once(tmp_path: Path) -> None:
    model = _save("BertForMaskedLM", tmp_path)
    arrays = tensorflow_h5_arrays(model)
    copies = {
        re.sub(r"^bert/(\w+)/", r"mlm___cls/\1/", name): array
        for name, array in arrays.items()
        if "embeddings" in name
    }
    assert len(copies) == 5
    write_h5(tmp_path / "tf_model.h5", arrays | copies)
    assert_answers("BertForMaskedLM", model, tmp_path)
    name = next(name for name in copies if "position" in name)
    write_h5(tmp_path / "tf_model.h5", arrays | copies | {name: copies[name] + 1})
    assert "expected one value, got another than its copy has" in _refusal(tmp_path)


@pytest.mark.parametrize("scope", ["", "tf_bert_for_pre_training/"])
def test_keras_shards(tmp_path: Path, scope: str) -> None:
    """Shards have names without group and scope, and their index has the scope."""
    model = _save("BertForPreTraining", tmp_path)
    shards: dict[str, dict[str, Any]] = {}
    shard_of = {}
    for index, (path, array) in enumerate(sorted(tensorflow_h5_arrays(model).items())):
        name = path.split("/", 2)[2]
        shard = f"tf_model-0000{index % 2 + 1}-of-00002.h5"
        shards.setdefault(shard, {})[name] = array
        shard_of[scope + name] = shard
    for shard, arrays in shards.items():
        write_h5(tmp_path / shard, arrays)
    write_index(tmp_path / "tf_model.h5.index.json", shard_of)
    assert_answers("BertForPreTraining", model, tmp_path)


def test_safetensors_that_tensorflow_wrote(tmp_path: Path) -> None:
    model = _save("BertForTokenClassification", tmp_path)
    arrays = {path.split("/", 2)[2]: array for path, array in tensorflow_h5_arrays(model).items()}
    save_file(arrays, tmp_path / "model.safetensors", metadata={"format": "tf"})
    assert_answers("BertForTokenClassification", model, tmp_path)


@pytest.mark.parametrize("prefix", ["ckpt-7", "variables/variables",
                                    "saved_model/1/variables/variables"])  # fmt: skip
def test_objects_are_found_by_their_full_names(tmp_path: Path, prefix: str) -> None:
    model = _save("BertForSequenceClassification", tmp_path)
    arrays, names = {}, {}
    for index, (path, array) in enumerate(tensorflow_h5_arrays(model).items()):
        key = f"variables/{index}/.ATTRIBUTES/VARIABLE_VALUE"
        slot = f"{key}/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"
        full = path.split("/", 1)[1].removesuffix(":0")
        arrays |= {key: array, slot: array}
        names |= {key: full, slot: f"{full}/m"}
    arrays["step/.ATTRIBUTES/VARIABLE_VALUE"] = np.array(7)
    names["step/.ATTRIBUTES/VARIABLE_VALUE"] = "step"
    write_bundle(tmp_path / prefix, arrays, objects=names)
    assert_answers("BertForSequenceClassification", model, tmp_path)

    # What else is in the model's scope is of the model, and what is beside it is not.
    arrays["new"], names["new"] = np.ones((2, 2), np.float32), "tf_bert_model/adapter/kernel"
    write_bundle(tmp_path / prefix, arrays, objects=names)
    assert "adapter/kernel is not of a BERT encoder" in _refusal(tmp_path)


def test_partitioned_tables(tmp_path: Path) -> None:
    model = _save("BertModel", tmp_path)
    _google(tmp_path)
    arrays = tensorflow_v1_arrays(model)
    rows = len(arrays["bert/embeddings/word_embeddings"])
    cuts = {"bert/embeddings/word_embeddings": (0, (10, 1, rows - 11))}
    write_bundle(tmp_path / "bert_model.ckpt", arrays, cuts=cuts)
    assert_answers("BertModel", model, tmp_path)


def test_of_several_checkpoints_the_latest_is_read(tmp_path: Path) -> None:
    model = _save("BertModel", tmp_path)
    _google(tmp_path)
    arrays = tensorflow_v1_arrays(model)
    for step in (10, 20):
        write_bundle(tmp_path / f"model.ckpt-{step}", {k: a * step for k, a in arrays.items()})
    message = _refusal(tmp_path)
    assert "holds several checkpoints" in message
    assert "model.ckpt-10, model.ckpt-20" in message
    (tmp_path / "model.ckpt-10.index").rename(tmp_path / "model.ckpt-30.index")
    (tmp_path / "model.ckpt-10.data-00000-of-00001").rename(
        tmp_path / "model.ckpt-30.data-00000-of-00001"
    )
    write_bundle(tmp_path / "model.ckpt-10", arrays)
    for path in ("model.ckpt-10", "/gone/model.ckpt-10", "C:\\gone\\model.ckpt-10"):
        (tmp_path / "checkpoint").write_text(
            f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "model.ckpt-30"\n'
        )
        assert_answers("BertModel", model, tmp_path)


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "../outside", "x\0y", "model.ckpt-30", ""]
)
def test_the_latest_must_lie_in_the_folder(tmp_path: Path, path: str) -> None:
    model = _save("BertModel", tmp_path / "inside")
    _google(tmp_path / "inside")
    arrays = tensorflow_v1_arrays(model)
    for name in ("inside/model.ckpt-10", "inside/model.ckpt-20", "outside"):
        write_bundle(tmp_path / name, arrays)
    (tmp_path / "inside" / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')
    assert "holds several checkpoints" in _refusal(tmp_path / "inside")


def test_weights_of_pytorch_come_first(tmp_path: Path) -> None:
    model = save_tiny("BertModel", tmp_path)
    (tmp_path / "tf_model.h5").write_bytes(b"not read")
    (tmp_path / "flax_model.msgpack").write_bytes(b"not read")
    (tmp_path / "bert_model.ckpt.index").write_bytes(b"not read")
    assert_answers("BertModel", model, tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "bert_config.json")
    assert_answers("BertModel", model, tmp_path)


@pytest.mark.parametrize("names", [("config.json",), ("config.json", "bert_config.json")])
def test_a_config_of_transformers_serves_google_s_weights(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    model = _save("BertForQuestionAnswering", tmp_path)
    raw = (tmp_path / "config.json").read_text()
    for name in names:
        (tmp_path / name).write_text(raw)
    write_bundle(tmp_path / "model.ckpt-5", tensorflow_v1_arrays(model))
    assert_answers("BertForQuestionAnswering", model, tmp_path)


# --- what is refused -----------------------------------------------------------------------------


def _refusal(folder: Path, head: str = "BertModel") -> str:
    with pytest.raises(BertExportError) as caught:
        load_head(head, load_checkpoint(str(folder)))
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.fixture
def keras(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder without weights, and the arrays of its ``tf_model.h5``."""
    return tmp_path, tensorflow_h5_arrays(_save("BertForTokenClassification", tmp_path))


KERNEL = "classifier/tf_bert_model/classifier/kernel:0"
Change = Callable[[h5py.File], object]


def _replaced(make: Callable[[h5py.File], object]) -> Change:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        make(file)

    return change


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((16, 3), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "secret", (16, 3))
    file.create_virtual_dataset(KERNEL, layout)


def _set(name: str, value: object) -> Change:
    return lambda file: file.__setitem__(name, value)


HOSTILE: Mapping[str, tuple[Change, str]] = {
    "external link": (
        _replaced(_set(KERNEL, h5py.ExternalLink("other.h5", "/secret"))), "a link (ExternalLink)",
    ),
    "soft link": (_set("again", h5py.SoftLink("/bert")), "a link (SoftLink)"),
    "soft link to itself": (_set("loop", h5py.SoftLink("/loop")), "a link (SoftLink)"),
    "external storage": (
        _replaced(
            lambda file: file.create_dataset(
                KERNEL, (16, 3), np.float32, external=[("vocab.txt", 0, 192)]
            )
        ),
        "bytes of other files",
    ),
    "virtual dataset": (_replaced(_virtual), "a view of other files"),
    "nothing stored": (
        _replaced(
            lambda file: file.create_dataset(KERNEL, (16, 3), np.float32, chunks=(16, 3))
        ),
        "expected 192 bytes, got 0 stored",
    ),
    "more than the file": (
        _replaced(
            lambda file: file.create_dataset(KERNEL, (1 << 40, 3), np.float32, chunks=(1024, 3))
        ),
        "shape (1099511627776, 3)",
    ),
    "no rows": (_replaced(lambda file: file.create_dataset(KERNEL, (0, 3), "f4")), "shape (0, 3)"),
    "a scalar": (_replaced(_set(KERNEL, np.float32(1))), "shape ()"),
    "an empty space": (_replaced(_set(KERNEL, h5py.Empty("f4"))), "shape None"),
    "too many axes": (_replaced(_set(KERNEL, np.ones((1,) * 9, "f4"))), "a vector or a matrix"),
    "compressed": (
        _replaced(
            lambda file: file.create_dataset(
                KERNEL, data=np.zeros((16, 3), "f4"), compression="gzip"
            )
        ),
        "one behind a filter",
    ),
    "texts": (
        _replaced(
            lambda file: file.create_dataset(KERNEL, data=["a"] * 3, dtype=h5py.string_dtype())
        ),
        "got object",
    ),
    "whole numbers": (_replaced(_set(KERNEL, np.ones((16, 3), np.int32))), "got int32"),
    "the other byte order": (_replaced(_set(KERNEL, np.ones((16, 3), ">f4"))), "got >f4"),
    "a type": (_set("type", np.dtype("f4")), "expected an array, got Datatype"),
    "a circle": (
        lambda file: file.create_group("cycle").__setitem__("again", file["cycle"]),
        "a second name of another",
    ),
    "a second name": (_set("x/classifier/kernel:0", None), "a second name of another"),
    "a tensor of another model": (_set("crf/transitions:0", np.ones((2, 2), "f4")), "not of a BE"),
    "another layer": (
        _set("bert/x/bert/encoder/layer_._7/output/dense/bias:0", np.ones(16, "f4")),
        "has another depth",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_keras_files_are_refused(
    keras: tuple[Path, dict[str, Any]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, arrays = keras
    write_h5(folder / "tf_model.h5", arrays)
    write_h5(folder / "other.h5", {"secret": np.ones((16, 3), np.float32)})
    change, reason = HOSTILE[name]
    with h5py.File(folder / "tf_model.h5", "r+") as file:
        if name == "a second name":
            file["x/classifier/kernel:0"] = file[KERNEL]
        else:
            change(file)
    monkeypatch.chdir(folder)
    for place in (folder, Path()):
        assert reason in _refusal(place, "BertForTokenClassification")


def test_a_walk_is_never_longer_than_the_file(tmp_path: Path) -> None:
    """Groups that contain themselves ten times would be walked 10 to the 24th times."""
    model = _save("BertModel", tmp_path)
    write_h5(tmp_path / "tf_model.h5", tensorflow_h5_arrays(model))
    with h5py.File(tmp_path / "tf_model.h5", "r+") as file:
        inner = file.create_group("a")
        for letter in "bcdefghijk":
            inner[letter] = inner
    assert "a second name of another" in _refusal(tmp_path)
    with h5py.File(tmp_path / "tf_model.h5", "r+") as file:
        del file["a"]
        file.create_group("/".join("x" * 60))
    assert "expected at most 24 groups, got more" in _refusal(tmp_path)


def test_the_optimizer_of_keras_is_left(keras: tuple[Path, dict[str, Any]]) -> None:
    folder, arrays = keras
    write_h5(folder / "tf_model.h5", arrays | {"optimizer_weights/Adam/m:0": np.arange(5)})
    assert load_head("BertForTokenClassification", load_checkpoint(str(folder)))


def test_missing_tensors_are_named(keras: tuple[Path, dict[str, Any]]) -> None:
    folder, arrays = keras
    del arrays[KERNEL]
    write_h5(folder / "tf_model.h5", arrays)
    with pytest.raises(TaskError, match=r"expected tensor classifier\.weight"):
        load_head("BertForTokenClassification", load_checkpoint(str(folder)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "expected a complete HDF5 file"),
        (
            b"\x80\x02cbuiltins\nopen\nX\x05\0\0\0PWNEDX\x01\0\0\0w\x86R.",
            "expected a complete HDF5",
        ),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    ],
)
def test_what_is_no_hdf5_is_refused(
    keras: tuple[Path, dict[str, Any]], content: bytes, reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, _ = keras
    monkeypatch.chdir(folder)
    (folder / "tf_model.h5").write_bytes(content)
    assert reason in _refusal(folder)
    assert not (folder / "PWNED").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_keras_files_are_refused(
    keras: tuple[Path, dict[str, Any]], share: float
) -> None:
    folder, arrays = keras
    write_h5(folder / "tf_model.h5", arrays)
    raw = (folder / "tf_model.h5").read_bytes()
    (folder / "tf_model.h5").write_bytes(raw[: math.floor(len(raw) * share)])
    assert "expected a complete HDF5 file" in _refusal(folder)


@pytest.mark.parametrize(
    "shard",
    ["../tf_model.h5", "/etc/passwd", "..", "", "sub/x.h5", "x" * 300 + ".h5", "x\0.h5",
     "\ud800.h5", "x.bin", "vocab.txt", 3, None, ["x.h5"]],
)  # fmt: skip
def test_an_index_names_files_of_its_folder_alone(
    keras: tuple[Path, dict[str, Any]], shard: Any
) -> None:
    folder, arrays = keras
    write_h5(folder.parent / "tf_model.h5", arrays)
    write_index(folder / "tf_model.h5.index.json", {"bert/pooler/dense/bias:0": shard})
    assert re.search(
        r"is in no file of its folder|lacks the shard|is malformed: expected JSON", _refusal(folder)
    )


def test_a_shard_is_no_link_out_of_the_folder(keras: tuple[Path, dict[str, Any]]) -> None:
    folder, arrays = keras
    inside = folder / "inside"
    inside.mkdir()
    for name in ("config.json", "vocab.txt"):
        shutil.copy(folder / name, inside)
    write_h5(folder / "tf_model-1.h5", arrays)
    (inside / "tf_model-1.h5").symlink_to(folder / "tf_model-1.h5")
    write_index(inside / "tf_model.h5.index.json", dict.fromkeys(arrays, "tf_model-1.h5"))
    assert "is a link that leaves its folder" in _refusal(inside)


@pytest.mark.parametrize("key", ["model/layer_with_weights-0/w", "encoder/w"])
def test_other_models_of_tensorflow_2_are_refused(tmp_path: Path, key: str) -> None:
    _save("BertModel", tmp_path)
    name = f"{key}/.ATTRIBUTES/VARIABLE_VALUE"
    write_bundle(tmp_path / "ckpt-1", {name: np.ones(2, np.float32)}, objects={name: "w"})
    message = _refusal(tmp_path)
    assert "ckpt-1 holds no BERT of transformers" in message
    assert ("model garden" in message) == ("layer_with" in key)


def test_the_format_before_bundles_is_refused_by_name(tmp_path: Path) -> None:
    _save("BertModel", tmp_path)
    _google(tmp_path)
    assert "has no TensorFlow weights" in _refusal(tmp_path)
    (tmp_path / "bert_model.ckpt").write_bytes(b"x")
    assert "bert_model.ckpt in the format before .index files" in _refusal(tmp_path)


def test_google_s_folder_needs_its_config(tmp_path: Path) -> None:
    model = _save("BertModel", tmp_path)
    (tmp_path / "config.json").unlink()
    write_bundle(tmp_path / "bert_model.ckpt", tensorflow_v1_arrays(model))
    assert "is of no known format" in _refusal(tmp_path)


@pytest.mark.parametrize(("layers", "name"), [(1, "bert_config.json"), (3, "config.json")])
def test_another_depth_than_the_config_s_is_refused(tmp_path: Path, layers: int, name: str) -> None:
    model = _save("BertModel", tmp_path)
    (tmp_path / "config.json").rename(tmp_path / name)
    rewrite(tmp_path / name, num_hidden_layers=layers)
    write_bundle(tmp_path / "bert_model.ckpt", tensorflow_v1_arrays(model))
    assert f"has another depth than its config: expected {layers} layers" in _refusal(tmp_path)


def test_a_foreign_tensor_is_named(tmp_path: Path) -> None:
    model = _save("BertModel", tmp_path)
    _google(tmp_path)
    arrays = tensorflow_v1_arrays(model) | {"crf_loss/transitions": np.ones((2, 2), np.float32)}
    write_bundle(tmp_path / "bert_model.ckpt", arrays)
    message = _refusal(tmp_path)
    assert f"TensorFlow checkpoint {tmp_path} tensor crf_loss/transitions is not of" in message


def test_h5py_is_asked_for(
    keras: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, arrays = keras
    write_h5(folder / "tf_model.h5", arrays)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"bert-export\[tensorflow-checkpoints\]"):
        load_checkpoint(str(folder))


def test_a_folder_without_weights_names_what_could_be_there(tmp_path: Path) -> None:
    _save("BertModel", tmp_path)
    with pytest.raises(CheckpointError, match=r"has no weights: .*tf_model\.h5.*flax_model"):
        load_checkpoint(str(tmp_path))
