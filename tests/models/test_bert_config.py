"""``config.json``: which fields are honoured, which values refused."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from bert_export.errors import ConfigError
from bert_export.models.config import BertConfig, entailment_id


def test_defaults_are_the_originals() -> None:
    original, ours = transformers.BertConfig(), BertConfig.from_dict({})
    shared = set(vars(ours)) - {"encoder", "labels"}
    assert {name: getattr(ours, name) for name in shared} == {
        name: getattr(original, name) for name in shared
    }
    assert ours.labels == tuple(original.id2label.values())
    assert ours == BertConfig()


def test_labels_come_in_id_order() -> None:
    config = BertConfig.from_dict({"id2label": {"10": "k", **{str(i): f"l{i}" for i in range(10)}}})
    assert config.labels == (*(f"l{i}" for i in range(10)), "k")


@pytest.mark.parametrize(
    ("raw", "labels"),
    [
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"num_labels": 1}, ("LABEL_0",)),
        ({"num_labels": None}, ("LABEL_0", "LABEL_1")),
        ({"label2id": {"yes": 0}}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 3, "id2label": {"0": "a"}}, ("a",)),
    ],
)
def test_absent_labels_are_numbered(raw: dict[str, Any], labels: tuple[str, ...]) -> None:
    assert BertConfig.from_dict(raw).labels == labels


def test_names_of_labels_may_be_numbers() -> None:
    names = {"0": 0, "1": 1.5, "2": "two", "3": True}
    assert BertConfig.from_dict({"id2label": names}).labels == ("0", "1.5", "two", "True")


GENERIC = {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"contradiction": 0, "entailment": 1, "entailed": 2}, 1),
        ({"ENTAILMENT": 2}, 2),
        ({"LABEL_0": 0}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_id_of_the_entailment_is_of_label2id(ids: object, expected: int | None) -> None:
    assert entailment_id({"id2label": GENERIC, "label2id": ids}) == expected
    # The original takes label2id for nothing where there is no id2label.
    assert entailment_id({"label2id": ids}) is None


@pytest.mark.parametrize("ids", [["entailment"], {"entailment": 3}, {"entailment": "0"},
                                 {"entailment": True}, {"entailment": -1}])  # fmt: skip
def test_other_ids_of_the_entailment_are_refused(ids: object) -> None:
    with pytest.raises(ConfigError, match="label2id"):
        entailment_id({"id2label": GENERIC, "label2id": ids})


def test_fields_without_effect_are_ignored() -> None:
    raw = {"hidden_dropout_prob": 0.9, "chunk_size_feed_forward": 4, "use_cache": 3, "new": []}
    assert BertConfig.from_dict(raw) == BertConfig()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"model_type": "roberta"}, "expected 'bert', got 'roberta'"),
        ({"hidden_act": "gelu_10"}, "hidden_act has an unsupported value: expected one of gelu,"),
        ({"hidden_act": None}, "hidden_act has an unsupported value"),
        ({"position_embedding_type": "rotary"}, "got 'rotary'"),
        (
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "quantization_config is not supported: .* got .bitsandbytes.",
        ),
        (
            {"add_cross_attention": True},
            r"decoder is there without the encoder .* \(add_cross_attention\): expected an",
        ),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is not supported"),
        ({"problem_type": "ranking"}, "problem_type has an unsupported value"),
        ({"hidden_size": 10, "num_attention_heads": 3}, "does not divide hidden_size: expected a"),
        ({"hidden_size": "768"}, "hidden_size is not a size: expected an integer from 1"),
        ({"hidden_size": True}, "hidden_size is not a size"),
        ({"hidden_size": 0}, "got 0"),
        ({"type_vocab_size": 0}, "type_vocab_size is not a size"),
        ({"vocab_size": 1 << 40}, "vocab_size is not a size"),
        ({"num_hidden_layers": -1}, "expected an integer from 0"),
        ({"pad_token_id": "0"}, "pad_token_id is not a size"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps is not a small positive number"),
        ({"layer_norm_eps": float("nan")}, "got nan"),
        ({"layer_norm_eps": -1e-5}, "expected 0 <= x < 1"),
        ({"is_decoder": "yes"}, "is_decoder is not a flag: expected true or false, got 'yes'"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings is not a flag"),
        ({"id2label": ["a"]}, "id2label is malformed"),
        ({"id2label": {"0": None}}, "id2label is malformed"),
        ({"id2label": {"zero": "a"}}, "id2label has a key that is no id"),
        ({"id2label": {"1": "a"}}, r"without gaps, got \[1\]"),
        ({"id2label": {"0": "a", "00": "b"}}, "does not number its labels"),
        ({"id2label": {}}, "does not number its labels"),
    ],
)
def test_other_values_are_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BertConfig.from_dict(raw)


def test_layers_without_pruned_heads_are_allowed() -> None:
    assert BertConfig.from_dict({"pruned_heads": {"0": [], "3": []}}) == BertConfig()
    with pytest.raises(ConfigError, match="pruned_heads is not supported"):
        BertConfig.from_dict({"pruned_heads": {"0": [], "3": [1]}})


def test_missing_padding_token_is_allowed() -> None:
    assert BertConfig.from_dict({"pad_token_id": None}).pad_token_id is None
