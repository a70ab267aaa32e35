"""Folders as ``transformers`` writes them, whole and damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from bert_export.checkpoints import hash_tensors, load_checkpoint
from bert_export.checkpoints.files import read_json, read_tensor_file, read_weights
from bert_export.checkpoints.huggingface import RENAMES, canonical_name, canonical_tensors
from bert_export.errors import BertExportError, CheckpointError, ConfigError, TokenizerError
from bert_export.models import load_head
from tests.checkpoints.conftest import rewrite
from tests.oracle import save_tiny

WORDS = "bert.embeddings.word_embeddings.weight"


def _foreign_name(name: str) -> str:
    """The name in the oldest checkpoints: without prefix, gamma and beta for weight and bias."""
    name = name.removeprefix("bert.")
    name = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name)
    return re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name)


def _equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def _as_pickle(folder: Path, **options: bool) -> dict[str, Tensor]:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin", **options)
    return state


def test_names_make_the_round_trip(pretraining: Path) -> None:
    names = list(load_checkpoint(str(pretraining)).tensors)
    foreign = [_foreign_name(name) for name in names]
    assert [canonical_name(name) for name in foreign] == names
    assert [canonical_name(name) for name in names] == names
    wrapped = [f"model.module._orig_mod.{name}" for name in foreign]
    assert [canonical_name(name) for name in wrapped] == names
    told = foreign + wrapped
    used = {pattern for pattern, _ in RENAMES for name in told if re.search(pattern, name)}
    assert used == {pattern for pattern, _ in RENAMES}


def test_old_names_and_buffers_are_read(pretraining: Path) -> None:
    expected = load_checkpoint(str(pretraining)).tensors
    state = load_file(pretraining / "model.safetensors")
    old = {_foreign_name(name): tensor for name, tensor in state.items()}
    old["embeddings.position_ids"] = torch.arange(32).unsqueeze(0)
    old["embeddings.token_type_ids"] = torch.zeros(1, 32, dtype=torch.int64)
    old |= {"loss_fct.weight": torch.ones(2), "criterion.pos_weight": torch.ones(2)}
    save_file(old, pretraining / "model.safetensors")
    assert _equal(load_checkpoint(str(pretraining)).tensors, expected)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights_equal_safetensors(pretraining: Path, zipped: bool) -> None:
    digest = load_checkpoint(str(pretraining)).hash_tensors()
    _as_pickle(pretraining, _use_new_zipfile_serialization=zipped)
    assert load_checkpoint(str(pretraining)).hash_tensors() == digest


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_weights_may_stand_in_a_training_state(pretraining: Path, key: str) -> None:
    digest = load_checkpoint(str(pretraining)).hash_tensors()
    state = {f"model.{name}": tensor for name, tensor in _as_pickle(pretraining).items()}
    training = {"epoch": 3, key: state, "optimizer": {"state": {0: torch.zeros(1)}}}
    torch.save(training, pretraining / "pytorch_model.bin")
    assert load_checkpoint(str(pretraining)).hash_tensors() == digest
    torch.save({"epoch": 3, key: {"a": 1}}, pretraining / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"holds no weights: .*, got dict with epoch, {key}"):
        load_checkpoint(str(pretraining))


@pytest.mark.parametrize("safe", [True, False])
def test_shards_equal_one_file(tmp_path: Path, safe: bool) -> None:
    model = save_tiny("BertForPreTraining", tmp_path)
    digest = load_checkpoint(str(tmp_path)).hash_tensors()
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="8KB", safe_serialization=safe)
    assert len(list(tmp_path.glob("*-of-*"))) > 1
    assert len(load_checkpoint(str(tmp_path)).tensors) >= len(set(model.state_dict())) - 2
    tensors = load_checkpoint(str(tmp_path)).tensors
    tied = {name for name in tensors if "predictions.decoder" in name}
    untied = {name: tensor for name, tensor in tensors.items() if name not in tied}
    assert hash_tensors(untied) == digest


def test_an_old_index_may_name_a_buffer_that_no_shard_has(tmp_path: Path) -> None:
    model = save_tiny("BertModel", tmp_path)
    digest = load_checkpoint(str(tmp_path)).hash_tensors()
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    some_shard = next(iter(index["weight_map"].values()))
    index["weight_map"]["embeddings.position_ids"] = some_shard
    path.write_text(json.dumps(index))
    assert load_checkpoint(str(tmp_path)).hash_tensors() == digest
    index["weight_map"]["embeddings.position_embeddings.bias"] = some_shard
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"lacks the tensor .*position_embeddings\.bias"):
        load_checkpoint(str(tmp_path))


def test_safetensors_come_before_pickles(pretraining: Path) -> None:
    (pretraining / "pytorch_model.bin").write_bytes(b"not read")
    assert WORDS in load_checkpoint(str(pretraining)).tensors


def test_weights_are_views_of_the_file(pretraining: Path) -> None:
    tensors = read_weights(pretraining)
    assert all(tensor.device.type == "cpu" for tensor in tensors.values())
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors.values()}) <= len(tensors)


def test_legacy_checkpoint_equals_the_original(shared_data: Path) -> None:
    folder = shared_data / "checkpoints" / "hf_bert_xsmall_dummy"
    checkpoint = load_checkpoint(str(folder))
    head = load_head("BertModel", checkpoint)
    original = transformers.BertModel(transformers.BertConfig.from_pretrained(folder)).eval()
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    original.load_state_dict(state, strict=False)
    ids = torch.arange(5, 25).unsqueeze(0)
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    with torch.no_grad():
        expected = original(ids, mask, types).last_hidden_state
        torch.testing.assert_close(head(ids, mask, types)[0], expected, rtol=0, atol=1e-5)


def test_architectures_lose_the_framework(pretraining: Path) -> None:
    rewrite(pretraining / "config.json", architectures=["TFBertModel", "FlaxBertForMaskedLM", 3])
    checkpoint = load_checkpoint(str(pretraining))
    assert checkpoint.architectures == ("BertModel", "BertForMaskedLM")
    rewrite(pretraining / "config.json", architectures=None)
    assert load_checkpoint(str(pretraining)).architectures == ()


def test_hash_sees_names_dtypes_shapes_and_bytes() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].to(torch.float16), "b": base["b"]},
        {"a": base["a"].reshape(3, 2), "b": base["b"]},
        {"a": base["a"], "b": torch.tensor([1.0, 1.0, 1.0, 1.1])},
    ]
    digests = [hash_tensors(tensors) for tensors in (base, *others)]
    assert len(set(digests)) == len(digests)
    assert hash_tensors(dict(reversed(base.items()))) == digests[0]
    assert hash_tensors({"a": torch.zeros(3, 2).T, "b": base["b"]}) == digests[0]
    assert hash_tensors({"scalar": torch.tensor(1.0), "none": torch.zeros(0)})


@pytest.mark.parametrize("name", ["crf.transitions", "bert.adapter.weight", "lm_head.weight"])
def test_unexpected_tensor_is_named(pretraining: Path, name: str) -> None:
    state = load_file(pretraining / "model.safetensors") | {name: torch.zeros(2, 2)}
    save_file(state, pretraining / "model.safetensors")
    with pytest.raises(CheckpointError, match=re.escape(f"tensor {name} is not of a BERT")):
        load_checkpoint(str(pretraining))


def test_two_tensors_of_one_name_are_refused() -> None:
    tensors = {"pooler.dense.bias": torch.zeros(1), "bert.pooler.dense.bias": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"bert\.pooler\.dense\.bias is stored twice"):
        canonical_tensors(tensors, "x")


def test_other_architecture_is_refused(pretraining: Path) -> None:
    rewrite(pretraining / "config.json", model_type="roberta")
    with pytest.raises(ConfigError, match="expected model_type 'bert', got 'roberta'"):
        load_checkpoint(str(pretraining))


@pytest.mark.parametrize("architectures", [["XLMRobertaModel"], ["TFRobertaModel", "X"]])
def test_another_model_s_classes_are_refused_where_no_type_is_stated(
    pretraining: Path, architectures: list[str]
) -> None:
    config = json.loads((pretraining / "config.json").read_text())
    del config["model_type"]
    (pretraining / "config.json").write_text(json.dumps(config | {"architectures": architectures}))
    with pytest.raises(ConfigError, match=f"does not say that it is a BERT: .*{architectures[0]}"):
        load_checkpoint(str(pretraining))
    own = ["X", "FlaxBertForPreTraining"]
    for stated in ({"architectures": own}, {"architectures": None}, {}):
        (pretraining / "config.json").write_text(json.dumps(config | stated))
        load_checkpoint(str(pretraining))


@pytest.mark.parametrize("has_weights", [True, False])
def test_an_adapter_is_refused(pretraining: Path, has_weights: bool) -> None:
    (pretraining / "adapter_config.json").write_text("{}")
    if not has_weights:
        (pretraining / "config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"holds an adapter of PEFT: .* Merge it: model\.merge"
    ):
        load_checkpoint(str(pretraining))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("model.weights.h5", "weights of KerasHub"),
        ("bert_classifier.h5", "such as keras-bert"),
        ("saved_model.pb", "such as TensorFlow Hub's"),
        ("model.fp16.safetensors", "a variant of the weights"),
        ("model.gguf", "a GGUF file"),
        ("last.ckpt", "a file of Lightning"),
    ],
)
@pytest.mark.parametrize("has_config", [True, False])
def test_other_formats_are_refused_by_name(
    pretraining: Path, name: str, what: str, has_config: bool
) -> None:
    (pretraining / "model.safetensors").rename(pretraining / name)
    if not has_config:
        (pretraining / "config.json").unlink()
    with pytest.raises(CheckpointError, match=f"in another format: .* got {name}, .*{what}"):
        load_checkpoint(str(pretraining))


@pytest.mark.parametrize("size", [0, 5, 100, 3000])
def test_truncated_safetensors_are_one_clear_error(pretraining: Path, size: int) -> None:
    path = pretraining / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read: expected a com"):
        load_checkpoint(str(pretraining))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("size", [0, 10, 2000])
def test_truncated_pickle_is_one_clear_error(pretraining: Path, size: int, zipped: bool) -> None:
    _as_pickle(pretraining, _use_new_zipfile_serialization=zipped)
    path = pretraining / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read") as raised:
        load_checkpoint(str(pretraining))
    assert "\n" not in str(raised.value)


def test_pickle_that_runs_code_is_refused(pretraining: Path) -> None:
    (pretraining / "model.safetensors").unlink()
    torch.save({"weight": Path("x")}, pretraining / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read") as raised:
        load_checkpoint(str(pretraining))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, {1: torch.zeros(1)}])
def test_pickle_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds no weights: expected a mapping"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("change", "form"),
    [(Tensor.to_sparse, "sparse_coo"), (lambda tensor: tensor.to("meta"), "no values")],
    ids=["sparse", "meta"],
)
def test_pickled_tensor_that_is_not_dense_is_refused(
    pretraining: Path, change: Callable[[Tensor], Tensor], form: str
) -> None:
    state = _as_pickle(pretraining)
    state[WORDS] = change(state[WORDS])
    torch.save(state, pretraining / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=rf"tensor {WORDS} is stored in .*, got {form}\."):
        read_weights(pretraining)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    model = save_tiny("BertModel", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    shard = sorted(tmp_path.glob("*-of-*"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"lacks the shard {shard.name}"):
        load_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "expected a weight_map"),
        ({"a": 3}, "tensor a is in no file of its folder"),
        ({"a": "../model.safetensors"}, "tensor a is in no file of its folder"),
        ({"a": "part.safetensors"}, "lacks the tensor a"),
    ],
)
def test_malformed_index_is_refused(tmp_path: Path, weight_map: object, message: str) -> None:
    save_file({"b": torch.zeros(1)}, tmp_path / "part.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '"x"', "\udcff", "[" * 100_000])
def test_malformed_config_is_refused(pretraining: Path, content: str) -> None:
    (pretraining / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json is malformed"):
        load_checkpoint(str(pretraining))


def test_missing_files_are_named(pretraining: Path) -> None:
    for name, error, message in (
        ("vocab.txt", TokenizerError, "expected tokenizer.json or vocab.txt, got neither"),
        ("model.safetensors", CheckpointError, "has no weights: expected one of model.safetensors"),
        ("config.json", CheckpointError, "of no known format: expected a folder with modules.json"),
    ):
        (pretraining / name).unlink()
        (pretraining / "tokenizer.json").unlink(missing_ok=True)
        with pytest.raises(error, match=re.escape(message)):
            load_checkpoint(str(pretraining))


def test_weights_of_other_frameworks_are_listed(tmp_path: Path) -> None:
    (tmp_path / "rust_model.ot").touch()
    with pytest.raises(CheckpointError, match=r"got rust_model\.ot"):
        read_weights(tmp_path)


def test_fewer_vectors_than_tokens_is_refused(pretraining: Path) -> None:
    rewrite(pretraining / "config.json", vocab_size=50)
    with pytest.raises(TokenizerError, match="expected ids below 50, the config's vocab_size"):
        load_checkpoint(str(pretraining))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./nowhere", r"\./nowhere does not exist: expected a folder, a hub id"),
        ("/no/such/place", "does not exist"),
        ("a/b/c", "does not exist"),
    ],
)
def test_missing_folder_is_one_clear_error(model: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("a" * 5000, r"checkpoint 'a{60}'\.\.\. is no path: expected a folder, got .*too long"),
        ("~nosuchuser/x", "checkpoint '~nosuchuser/x' is no path: expected a folder"),
        ("a\x00b", r"checkpoint 'a\\x00b' does not exist: expected a folder"),
    ],
    ids=["long", "user", "zero byte"],
)
def test_text_that_is_no_path_is_one_clear_error(model: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as raised:
        load_checkpoint(model)
    assert "\n" not in str(raised.value)


def test_path_is_taken_as_its_text_is(pretraining: Path) -> None:
    checkpoint = load_checkpoint(pretraining)
    assert checkpoint.source == str(pretraining)
    assert checkpoint.hash_tensors() == load_checkpoint(str(pretraining)).hash_tensors()


def test_file_in_place_of_a_folder_is_refused(pretraining: Path) -> None:
    path = pretraining / "model.safetensors"
    with pytest.raises(CheckpointError, match="is a file: expected the folder that"):
        load_checkpoint(str(path))


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got an empty folder"):
        load_checkpoint(str(tmp_path))


def _complaint(action: Callable[[], object]) -> str:
    """What our error says, "" where there is none; any other error fails the test."""
    try:
        action()
    except BertExportError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scratch")
    save_tiny("BertModel", folder)
    return folder


FILES = ("config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors", "modules.json")


@given(name=st.sampled_from((*FILES, "tokenizer.json")), content=st.binary(max_size=200))
def test_random_bytes_raise_only_our_errors(scratch: Path, name: str, content: bytes) -> None:
    folder = scratch.parent / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(scratch, folder)
    if name == "vocab.txt":
        (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    assert "\n" not in _complaint(lambda: load_head("BertModel", load_checkpoint(str(folder))))


@given(data=st.data())
def test_flipped_bytes_raise_only_our_errors(scratch: Path, data: st.DataObject) -> None:
    stored = bytearray((scratch / "model.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        stored[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    path = scratch.parent / "flipped.safetensors"
    path.write_bytes(stored)
    assert "\n" not in _complaint(lambda: canonical_tensors(read_tensor_file(path), "x"))


@given(content=st.binary(max_size=120), ending=st.sampled_from(("bin", "safetensors")))
def test_random_tensor_files_raise_only_our_errors(
    scratch: Path, content: bytes, ending: str
) -> None:
    path = scratch.parent / f"random.{ending}"
    path.write_bytes(content)
    assert "\n" not in _complaint(lambda: read_tensor_file(path))


@pytest.mark.parametrize(
    "content", [b'{"a": "\\udfff"}', b'{"\\ud800x": 1}', b'{"a": "\xed\xa0\x80"}']
)
def test_json_with_half_a_surrogate_pair_is_malformed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json is malformed: expected JSON, got "):
        read_json(tmp_path / "config.json")


def test_json_may_escape_what_is_beyond_16_bits(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}')
    assert read_json(tmp_path / "config.json") == {"a": "\U0001f600"}


def test_unreadable_json_names_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: got a folder"):
        read_json(tmp_path)
