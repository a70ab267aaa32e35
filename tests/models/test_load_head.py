"""Putting a checkpoint's tensors into a head: what is shared, cast, refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_export.checkpoints import Checkpoint, TokenizerFiles, load_checkpoint
from bert_export.errors import BertExportError, CheckpointError, ConfigError, TaskError
from bert_export.models import HEADS, BertConfig, load_head
from bert_export.models.bert import activate
from bert_export.models.config import ACTIVATIONS
from bert_export.models.heads import BertForMaskedLM
from tests.oracle import random_batch, save_tiny

WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("masked_lm")
    save_tiny("BertForMaskedLM", folder)
    return load_checkpoint(str(folder))


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("pretraining")
    save_tiny("BertForPreTraining", folder, tie_word_embeddings=False)
    return load_checkpoint(str(folder))


def _with(checkpoint: Checkpoint, **tensors: torch.Tensor | None) -> Checkpoint:
    """The checkpoint with tensors put in, or taken out where ``None``; dots are ``__``."""
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    merged = {**checkpoint.tensors, **named}
    return replace(
        checkpoint, tensors={name: tensor for name, tensor in merged.items() if tensor is not None}
    )


def _configured(checkpoint: Checkpoint, **fields: Any) -> Checkpoint:
    return replace(checkpoint, config={**checkpoint.config, **fields})


def test_head_is_frozen_float32_in_evaluation_mode(masked_lm: Checkpoint) -> None:
    head = load_head("BertForMaskedLM", masked_lm)
    assert not head.training
    assert not any(parameter.requires_grad for parameter in head.parameters())
    assert {parameter.dtype for parameter in head.parameters()} == {torch.float32}
    assert not any(parameter.is_meta for parameter in head.parameters())


def test_weights_are_shared_with_the_checkpoint(masked_lm: Checkpoint) -> None:
    head = load_head("BertForMaskedLM", masked_lm)
    table = head.bert.embeddings.word_embeddings.weight
    assert table.data_ptr() == masked_lm.tensors[WORDS].data_ptr()
    assert isinstance(head, BertForMaskedLM)
    assert head.cls.predictions.decoder.weight is table


def test_parameter_names_are_those_of_the_checkpoint(masked_lm: Checkpoint) -> None:
    names = set(load_head("BertModel", masked_lm).state_dict())
    assert names == {name for name in masked_lm.tensors if name.startswith("bert.")}


def test_untied_decoder_keeps_its_own_weight(pretraining: Checkpoint) -> None:
    decoder = load_head("BertForPreTraining", pretraining).state_dict()
    assert torch.equal(
        decoder["cls.predictions.decoder.weight"],
        pretraining.tensors["cls.predictions.decoder.weight"],
    )


def test_tied_decoder_ignores_a_stored_weight(pretraining: Checkpoint) -> None:
    state = load_head(
        "BertForMaskedLM", _configured(pretraining, tie_word_embeddings=True)
    ).state_dict()
    assert torch.equal(state["cls.predictions.decoder.weight"], pretraining.tensors[WORDS])


def test_untied_decoder_without_weight_is_refused(pretraining: Checkpoint) -> None:
    lacking = _with(pretraining, cls__predictions__decoder__weight=None)
    with pytest.raises(TaskError, match=r"tensor cls\.predictions\.decoder\.weight of shape"):
        load_head("BertForMaskedLM", lacking)


def test_decoder_bias_is_found_under_either_name(masked_lm: Checkpoint) -> None:
    bias = masked_lm.tensors["cls.predictions.bias"]
    renamed = _with(masked_lm, cls__predictions__bias=None, cls__predictions__decoder__bias=bias)
    batch = random_batch(masked_lm.config["vocab_size"])
    heads = [load_head("BertForMaskedLM", checkpoint) for checkpoint in (renamed, masked_lm)]
    assert torch.equal(*(head(*batch) for head in heads))


def test_pooler_is_optional_only_for_the_bare_encoder(masked_lm: Checkpoint) -> None:
    assert load_head("BertModel", masked_lm).outputs == ("last_hidden_state",)
    assert HEADS["BertModel"].outputs == ("last_hidden_state", "pooler_output")
    with pytest.raises(TaskError, match=r"bert\.pooler\.dense\.weight"):
        load_head("BertForNextSentencePrediction", masked_lm)


def test_other_heads_of_the_checkpoint_are_left_alone(pretraining: Checkpoint) -> None:
    for name in ("BertModel", "BertForMaskedLM", "BertForNextSentencePrediction"):
        assert load_head(name, pretraining).outputs == HEADS[name].outputs


def test_missing_head_is_a_task_error(masked_lm: Checkpoint) -> None:
    with pytest.raises(TaskError) as raised:
        load_head("BertForSequenceClassification", _pooled(masked_lm))
    assert str(raised.value) == (
        f"checkpoint {masked_lm.source} (model.safetensors) has no head for "
        "BertForSequenceClassification: "
        "expected tensor classifier.weight of shape (2, 16), got none of that name. "
        "Choose a task that the checkpoint was trained for."
    )


def _pooled(checkpoint: Checkpoint) -> Checkpoint:
    return _with(
        checkpoint,
        bert__pooler__dense__weight=torch.zeros(16, 16),
        bert__pooler__dense__bias=torch.zeros(16),
    )


def test_head_of_another_classifier_is_refused(tmp_path: Path) -> None:
    save_tiny("BertForTokenClassification", tmp_path)
    checkpoint = _pooled(load_checkpoint(str(tmp_path)))
    with pytest.raises(TaskError, match="got BertForTokenClassification"):
        load_head("BertForSequenceClassification", checkpoint)
    flax = _configured(checkpoint, architectures=["FlaxBertForSequenceClassification"])
    assert load_head("BertForSequenceClassification", flax).outputs == ("logits",)


def test_missing_encoder_tensor_is_a_checkpoint_error(masked_lm: Checkpoint) -> None:
    name = "bert.encoder.layer.1.output.dense.bias"
    with pytest.raises(CheckpointError, match=name):
        load_head("BertModel", _with(masked_lm, **{name: None}))


def test_wrong_shape_is_a_checkpoint_error(tmp_path: Path) -> None:
    save_tiny("BertForTokenClassification", tmp_path, num_labels=3)
    checkpoint = _configured(load_checkpoint(str(tmp_path)), id2label={"0": "A", "1": "B"})
    with pytest.raises(CheckpointError, match=r"classifier\.weight has the wrong shape: ex") as e:
        load_head("BertForTokenClassification", checkpoint)
    assert "expected (2, 16), got (3, 16)" in str(e.value)


@pytest.mark.parametrize("layers", [1, 3])
def test_other_depth_is_a_checkpoint_error(masked_lm: Checkpoint, layers: int) -> None:
    with pytest.raises(CheckpointError, match=f"expected {layers} layers"):
        load_head("BertModel", _configured(masked_lm, num_hidden_layers=layers))


def test_left_over_distance_tensor_is_a_checkpoint_error(tmp_path: Path) -> None:
    save_tiny("BertModel", tmp_path, position_embedding_type="relative_key")
    checkpoint = load_checkpoint(str(tmp_path))
    assert "bert.embeddings.position_embeddings.weight" in checkpoint.tensors
    load_head("BertModel", checkpoint)
    with pytest.raises(CheckpointError, match="distance_embedding"):
        load_head("BertModel", _configured(checkpoint, position_embedding_type="absolute"))


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantized_weights_are_refused(masked_lm: Checkpoint, dtype: torch.dtype) -> None:
    quantized = masked_lm.tensors[WORDS].to(dtype)
    with pytest.raises(CheckpointError, match="unsupported dtype: expected float32, float16 or"):
        load_head("BertModel", _with(masked_lm, **{WORDS: quantized}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(
    masked_lm: Checkpoint, value: float, dtype: torch.dtype
) -> None:
    table = masked_lm.tensors[WORDS].to(dtype, copy=True)
    table[3, 5] = value
    message = f"tensor {WORDS} holds values that are not finite: .* got 1 of {table.numel()} that"
    with pytest.raises(CheckpointError, match=message):
        load_head("BertModel", _with(masked_lm, **{WORDS: table}))


def test_values_that_float32_cannot_hold_are_refused(masked_lm: Checkpoint) -> None:
    table = masked_lm.tensors[WORDS].to(torch.float64)
    table[3, 5] = 1e300
    with pytest.raises(CheckpointError, match="expected numbers of float32, got 1 of"):
        load_head("BertModel", _with(masked_lm, **{WORDS: table}))


def test_values_of_other_heads_are_not_looked_at(pretraining: Checkpoint) -> None:
    name = "cls.seq_relationship.weight"
    broken = _with(pretraining, **{name: torch.full((2, 16), float("nan"))})
    assert load_head("BertForMaskedLM", broken).outputs == ("logits",)
    with pytest.raises(CheckpointError, match=f"tensor {name} holds values that are not finite"):
        load_head("BertForNextSentencePrediction", broken)


def test_bidirectional_checkpoint_is_no_language_model(masked_lm: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="Set is_decoder to true"):
        load_head("BertLMHeadModel", masked_lm)


def test_checkpoint_without_modules_embeds_no_sentence(masked_lm: Checkpoint) -> None:
    with pytest.raises(TaskError, match=r"expected modules\.json"):
        load_head("BertForSentenceEmbedding", masked_lm)


def test_unknown_head_is_a_task_error(masked_lm: Checkpoint) -> None:
    with pytest.raises(TaskError, match="'BertForPoetry' is unknown: expected one of BertModel"):
        load_head("BertForPoetry", masked_lm)


def test_every_activation_is_implemented() -> None:
    x = torch.linspace(-2, 2, 5)
    for name in ACTIVATIONS:
        assert activate(name, x).shape == x.shape


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
FIELDS = (
    *("add_cross_attention", "architectures", "hidden_act", "hidden_size", "id2label"),
    *("is_decoder", "layer_norm_eps", "max_position_embeddings", "model_type", "num_labels"),
    *("num_attention_heads", "num_hidden_layers", "pad_token_id", "position_embedding_type"),
    *("problem_type", "pruned_heads", "tie_word_embeddings", "type_vocab_size", "vocab_size"),
)
EMPTY = Checkpoint(
    source="x",
    config={},
    tensors={},
    tokenizer=TokenizerFiles(
        json="",
        max_length=None,
        do_lower_case=True,
        **{f"{name}_token": name for name in ("cls", "sep", "pad", "mask", "unk")},
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(raw=st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json_is_a_config_or_an_error_of_ours(raw: dict[str, Any]) -> None:
    try:
        config = BertConfig.from_dict(raw)
    except ConfigError:
        return
    assert config.head_size * config.num_attention_heads == config.hidden_size
    assert config.num_labels == len(config.labels) > 0
    with pytest.raises(BertExportError):
        load_head("BertModel", replace(EMPTY, config=raw))
