"""``modules.json`` and what it names: read, refused, and equal to sentence-transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from bert_export.checkpoints import Dense, SentenceModules, load_checkpoint
from bert_export.checkpoints.demo import find_base
from bert_export.errors import CheckpointError, MissingExtraError
from bert_export.models import load_head
from tests.checkpoints.conftest import rewrite, write_modules
from tests.oracle import random_batch, save_tiny

ALL_FLAGS = {
    "pooling_mode_lasttoken": True,
    "pooling_mode_weightedmean_tokens": True,
    "pooling_mode_mean_sqrt_len_tokens": True,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": True,
    "pooling_mode_cls_token": True,
}
ALL_MODES = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")


def _write_dense(folder: Path, width: int = 16, *, out: int = 6, **fields: Any) -> None:
    folder.mkdir()
    config = {"in_features": width, "out_features": out, "bias": True} | fields
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(1)
    tensors = {"linear.weight": torch.randn(out, width, generator=generator)}
    if config["bias"]:
        tensors["linear.bias"] = torch.randn(out, generator=generator)
    save_file(tensors, folder / "model.safetensors")


def _modules(folder: Path) -> SentenceModules:
    modules = load_checkpoint(str(folder)).sentence
    assert modules is not None
    return modules


@pytest.mark.parametrize(
    ("pooling", "modes"),
    [
        ({}, ("mean",)),
        (ALL_FLAGS, ALL_MODES),
        ({"pooling_mode_cls_token": True}, ("cls",)),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode": ["mean_sqrt_len_tokens", "cls"]}, ("mean_sqrt_len", "cls")),
        ({"pooling_mode": "max", "pooling_mode_cls_token": True}, ("max",)),
    ],
)
def test_pooling_modes_keep_their_order(
    sentence: Path, pooling: dict[str, Any], modes: tuple[str, ...]
) -> None:
    write_modules(sentence, pooling)
    assert _modules(sentence).pooling == modes


def test_everything_beside_the_weights_is_read(sentence: Path) -> None:
    write_modules(
        sentence,
        {"pooling_mode": "mean", "include_prompt": False},
        ("Dense", "2_Dense"),
        ("Dropout", "3_Dropout"),
        ("Normalize", "4_Normalize"),
    )
    _write_dense(sentence / "2_Dense", activation_function="torch.nn.modules.linear.Identity")
    (sentence / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (sentence / "config_sentence_transformers.json").write_text(
        json.dumps(prompts | {"similarity_fn_name": "dot"})
    )
    modules = _modules(sentence)
    assert (modules.include_prompt, modules.normalize, modules.max_seq_length) == (False, True, 20)
    assert (modules.prompts, modules.default_prompt_name) == ({"query": "query: "}, "query")
    assert modules.similarity_fn_name == "dot"
    dense: Dense = modules.dense[0]
    assert (dense.in_features, dense.out_features, dense.activation) == (16, 6, "identity")
    assert set(modules.tensors) == {"dense.0.weight", "dense.0.bias"}
    head = load_head("BertForSentenceEmbedding", load_checkpoint(str(sentence)))
    assert head.inputs == ("input_ids", "attention_mask", "token_type_ids", "pooling_mask")
    assert head.outputs == ("sentence_embedding",)


def test_dense_tensors_count_in_the_hash(sentence: Path) -> None:
    plain = load_checkpoint(str(sentence)).hash_tensors()
    write_modules(sentence, {}, ("Dense", "2_Dense"))
    _write_dense(sentence / "2_Dense")
    assert load_checkpoint(str(sentence)).hash_tensors() != plain


def test_nested_transformer_folder_is_read(sentence: Path) -> None:
    flat = load_checkpoint(str(sentence)).hash_tensors()
    inner = sentence / "0_Transformer"
    inner.mkdir()
    for path in [*sentence.glob("*.json"), *sentence.glob("*.txt"), *sentence.glob("*.safe*")]:
        shutil.move(path, inner / path.name)
    (inner / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": true}')
    write_modules(sentence, {}, transformer="0_Transformer")
    checkpoint = load_checkpoint(str(sentence))
    assert checkpoint.hash_tensors() == flat
    assert checkpoint.sentence is not None
    assert checkpoint.sentence.max_seq_length == 9


@pytest.mark.parametrize("place", ["", "0_Transformer"])
def test_cross_encoder_is_an_ordinary_checkpoint(tmp_path: Path, place: str) -> None:
    save_tiny("BertForSequenceClassification", tmp_path / place, num_labels=1)
    plain = load_checkpoint(str(tmp_path / place))
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    rows = [{"idx": 0, "name": "0", "path": place, "type": kind}]
    (tmp_path / "modules.json").write_text(json.dumps(rows))
    checkpoint = load_checkpoint(str(tmp_path))
    assert checkpoint.sentence is None
    assert checkpoint.source == str(tmp_path)
    assert checkpoint.tokenizer == plain.tokenizer
    assert checkpoint.hash_tensors() == plain.hash_tensors()
    assert load_head("BertForSequenceClassification", checkpoint).outputs == ("logits",)


@pytest.mark.parametrize(
    "kind", ["roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"]
)
def test_settings_are_read_under_their_old_names(sentence: Path, kind: str) -> None:
    (sentence / f"sentence_{kind}_config.json").write_text('{"max_seq_length": 9}')
    assert _modules(sentence).max_seq_length == 9
    (sentence / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    assert _modules(sentence).max_seq_length == 8


def test_empty_arguments_change_nothing(sentence: Path) -> None:
    settings = {"tokenizer_args": {}, "processor_kwargs": {}, "processing_kwargs": None}
    (sentence / "sentence_bert_config.json").write_text(json.dumps(settings))
    assert _modules(sentence) == SentenceModules(normalize=True)


def test_lower_casing_of_the_module_reaches_the_tokenizer(sentence: Path) -> None:
    rewrite(sentence / "tokenizer_config.json", do_lower_case=False)
    assert not load_checkpoint(str(sentence)).tokenizer.do_lower_case
    (sentence / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    tokenizer = load_checkpoint(str(sentence)).tokenizer
    assert tokenizer.do_lower_case
    assert Tokenizer.from_str(tokenizer.json).encode("CAT").tokens[1] == "cat"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((("LayerNorm", "2_L"),), r"module sentence_transformers\.models\.LayerNorm is not suppor"),
        ((("Normalize", "2_N"), ("Dense", "3_D")), "expected Transformer, Pooling, Dense"),
        ((("Pooling", "1_Pooling"),), "modules in an unsupported order"),
        ((("Dense", "../2_D"),), "a path inside the folder"),
    ],
)
def test_other_modules_are_refused(
    sentence: Path, extra: tuple[tuple[str, str], ...], message: str
) -> None:
    write_modules(sentence, {}, *extra)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(sentence))


@pytest.mark.parametrize("content", ["[]", "{}", "[3]", '[{"type": "my.Module"}]', "["])
def test_malformed_modules_are_refused(sentence: Path, content: str) -> None:
    (sentence / "modules.json").write_text(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(str(sentence))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "expected of cls, max, mean,"),
        ("1_Pooling/config.json", {"pooling_mode": []}, "unsupported pooling_mode"),
        ("1_Pooling/config.json", {"pooling_mode": [[]]}, "unsupported pooling_mode"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_median": True},
            "field pooling_mode_median is not",
        ),
        (
            "1_Pooling/config.json",
            {"pooling_mode_median": False},
            "expected true or false, of pool",
        ),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": 1}, "pooling_mode_cls_token is not"),
        ("1_Pooling/config.json", {"include_prompt": 3}, "include_prompt is malformed"),
        ("2_Dense/config.json", {"in_features": "x"}, "in_features is malformed"),
        ("2_Dense/config.json", {"activation_function": "os.system"}, "expected torch.nn's GELU"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "sentence's vector"),
        ("2_Dense/config.json", {"module_input_name": []}, "sentence's vector"),
        ("2_Dense/config.json", {"bias": False}, "expected linear.weight, got linear.bias, lin"),
        ("sentence_bert_config.json", {"max_seq_length": True}, "max_seq_length is malformed"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length is malformed"),
        ("sentence_bert_config.json", {"tokenizer_args": {"a": 1}}, "field tokenizer_args is not"),
        ("sentence_bert_config.json", {"processor_kwargs": {"a": 1}}, "processor_kwargs is not"),
        (
            "sentence_bert_config.json",
            {"processing_kwargs": {"text": {}}},
            "processing_kwargs is n",
        ),
        ("sentence_albert_config.json", {"tokenizer_args": {"a": 1}}, "sentence_albert_config"),
        ("config_sentence_transformers.json", {"prompts": {"a": 1}}, "object of name: text"),
        ("config_sentence_transformers.json", {"prompts": []}, "prompts is malformed"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"a": "A: "}, "default_prompt_name": "b"},
            "default_prompt_name 'b' is unknown: expected one of its prompts: 'a', got 'b'",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "b"},
            "expected one of its prompts: none, got 'b'",
        ),
    ],
)
def test_malformed_module_configs_are_refused(
    sentence: Path, name: str, fields: dict[str, Any], message: str
) -> None:
    write_modules(sentence, {}, ("Dense", "2_Dense"))
    _write_dense(sentence / "2_Dense")
    path = sentence / name
    stored = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(stored | fields))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(sentence))


def test_dense_of_another_width_is_refused(sentence: Path) -> None:
    write_modules(sentence, {}, ("Dense", "2_Dense"))
    _write_dense(sentence / "2_Dense", width=8)
    with pytest.raises(CheckpointError, match="takes vectors of another width"):
        load_head("BertForSentenceEmbedding", load_checkpoint(str(sentence)))


def test_dense_with_values_that_are_not_finite_is_refused(sentence: Path) -> None:
    write_modules(sentence, {}, ("Dense", "2_Dense"))
    _write_dense(sentence / "2_Dense")
    tensors = {"linear.weight": torch.full((6, 16), float("nan")), "linear.bias": torch.zeros(6)}
    save_file(tensors, sentence / "2_Dense" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor dense\.0\.weight holds values that are not"):
        load_head("BertForSentenceEmbedding", load_checkpoint(str(sentence)))


PARITY: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    *(({"pooling_mode": mode}, []) for mode in (*ALL_MODES[:3], "mean_sqrt_len_tokens")),
    ({"pooling_mode": "weightedmean"}, []),
    ({"pooling_mode": "lasttoken"}, []),
    (ALL_FLAGS, [("Normalize", "2_Normalize")]),
    ({"pooling_mode": ["lasttoken", "cls"]}, [("Dense", "2_Dense"), ("Normalize", "3_Normalize")]),
]


@pytest.mark.parametrize(("pooling", "extra"), PARITY, ids=str)
def test_embeddings_equal_sentence_transformers(
    sentence: Path, pooling: dict[str, Any], extra: list[tuple[str, str]]
) -> None:
    library = pytest.importorskip("sentence_transformers")
    write_modules(sentence, pooling, *extra)
    if extra and extra[0][0] == "Dense":
        _write_dense(
            sentence / "2_Dense", 32, activation_function="torch.nn.modules.activation.Tanh"
        )
    (sentence / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    original = library.SentenceTransformer(
        str(sentence), device="cpu", model_kwargs={"attn_implementation": "eager"}
    )
    checkpoint = load_checkpoint(str(sentence))
    head = load_head("BertForSentenceEmbedding", checkpoint)
    ids, mask, types = random_batch(checkpoint.config["vocab_size"], (9, 4, 1))
    features = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    with torch.no_grad():
        expected = original(dict(features))["sentence_embedding"]
        torch.testing.assert_close(head(ids, mask, types), expected, rtol=0, atol=1e-5)


def test_prompt_is_left_out_of_the_pooling(sentence: Path) -> None:
    write_modules(sentence, {"pooling_mode": ["mean", "cls"], "include_prompt": False})
    checkpoint = load_checkpoint(str(sentence))
    head = load_head("BertForSentenceEmbedding", checkpoint)
    ids, mask, types = random_batch(checkpoint.config["vocab_size"], (9, 5))
    counted = mask.clone()
    counted[:, :3] = 0
    with torch.no_grad():
        states = load_head("BertModel", checkpoint).bert(ids, mask, types)
        rows = [torch.cat((states[i, 3:n].mean(0), states[i, 3])) for i, n in enumerate((9, 5))]
        expected = torch.nn.functional.normalize(torch.stack(rows), dim=1)
        torch.testing.assert_close(head(ids, mask, types, counted), expected, rtol=0, atol=1e-5)


def test_minilm_embeddings_equal_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers")
    try:
        folder = find_base("minilm")
    except MissingExtraError as error:
        pytest.skip(str(error))
    texts = ["The harbour froze twice that winter.", "Yes.", "Ünïcode 中文 😀 " * 9]
    original = library.SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"}
    )
    checkpoint = load_checkpoint("demo:minilm")
    head = load_head("BertForSentenceEmbedding", checkpoint)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer.json)
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(texts)
    columns = [[getattr(row, key) for row in rows] for key in ("ids", "attention_mask", "type_ids")]
    with torch.no_grad():
        answered = head(*(torch.tensor(column) for column in columns))
    expected = original.encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(answered, expected, rtol=0, atol=1e-5)
