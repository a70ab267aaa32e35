"""Facts that a checkpoint lacks come from the user, or are assumed and said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from bert_export.bundle import CheckpointOptions
from bert_export.checkpoints import Checkpoint, load_checkpoint, settle
from bert_export.errors import ConfigError, TokenizerError
from bert_export.models import BertConfig
from tests.oracle import save_tiny

NOTHING = CheckpointOptions()
LOWER = ("the", "cat", "sat", "ecole")
CASED = ("The", "Cat", "sat", "École")


@pytest.fixture
def silent(tmp_path: Path) -> Checkpoint:
    """A classifier whose files say neither labels nor case."""
    save_tiny("BertForSequenceClassification", tmp_path, num_labels=3)
    return _read(tmp_path, id2label=None, label2id=None, num_labels=3)


def _read(folder: Path, vocabulary: tuple[str, ...] = LOWER, **config: Any) -> Checkpoint:
    """The folder with a vocabulary alone, and with fields of its config changed or taken away."""
    path = folder / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8")) | config
    path.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]")
    (folder / "vocab.txt").write_text("\n".join((*special, *vocabulary)) + "\n", encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    return load_checkpoint(folder)


def _tokens(checkpoint: Checkpoint, text: str) -> list[str]:
    tokens: list[str] = Tokenizer.from_str(checkpoint.tokenizer.json).encode(text).tokens[1:-1]
    return tokens


def test_labels_take_the_place_of_absent_ones(silent: Checkpoint) -> None:
    _, (assumed,) = settle(silent, NOTHING)
    assert assumed.of_labels
    assert "LABEL_0" in assumed.text
    named, assumptions = settle(silent, CheckpointOptions(labels=("no", "entailment", "may be")))
    assert assumptions == ()
    assert BertConfig.from_dict(named.config).labels == ("no", "entailment", "may be")
    assert named.config["label2id"]["entailment"] == 1


def test_labels_take_the_place_of_generic_ones(silent: Checkpoint) -> None:
    generic = {str(index): f"LABEL_{index}" for index in range(3)}
    checkpoint = replace(silent, config=silent.config | {"id2label": generic})
    assert settle(checkpoint, NOTHING) == (checkpoint, ())
    named, _ = settle(checkpoint, CheckpointOptions(labels=("a", "b", "c")))
    assert BertConfig.from_dict(named.config).labels == ("a", "b", "c")


def test_a_head_without_labels_assumes_none(tmp_path: Path) -> None:
    save_tiny("BertModel", tmp_path)
    assert settle(_read(tmp_path, id2label=None), NOTHING)[1] == ()


@pytest.mark.parametrize(
    ("stated", "given"),
    [
        ({"0": "a", "1": "b", "2": "c"}, ("a", "b", "d")),
        ({"0": "a", "1": "b", "2": "c"}, ("a", "b")),
        (None, ("a", "b")),
        ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, ("a", "b", "c", "d")),
    ],
)
def test_other_labels_are_refused(
    silent: Checkpoint, stated: dict[str, str] | None, given: tuple[str, ...]
) -> None:
    checkpoint = replace(silent, config=silent.config | {"id2label": stated})
    with pytest.raises(ConfigError, match="contradicts --labels: expected"):
        settle(checkpoint, CheckpointOptions(labels=given))


@pytest.mark.parametrize(
    ("stated", "form", "expected"),
    [
        ("gelu", "erf", "gelu"),
        ("gelu", "tanh", "gelu_new"),
        ("gelu_new", "tanh", "gelu_new"),
        ("gelu_python", "erf", "gelu_python"),
        ("gelu", None, "gelu"),
    ],
)
def test_the_form_of_gelu(silent: Checkpoint, stated: str, form: Any, expected: str) -> None:
    checkpoint = replace(silent, config=silent.config | {"hidden_act": stated})
    settled, _ = settle(checkpoint, CheckpointOptions(gelu=form))
    assert settled.config["hidden_act"] == expected


@pytest.mark.parametrize(
    ("stated", "form"),
    [("gelu_new", "erf"), ("gelu_python", "tanh"), ("relu", "tanh"), ("relu", "erf"), (3, "erf")],
)
def test_another_activation_is_refused(silent: Checkpoint, stated: object, form: Any) -> None:
    checkpoint = replace(silent, config=silent.config | {"hidden_act": stated})
    with pytest.raises(ConfigError, match="contradicts --gelu"):
        settle(checkpoint, CheckpointOptions(gelu=form))


def test_googles_gelu_is_assumed_aloud(silent: Checkpoint) -> None:
    google = replace(silent, is_of_google=True)
    texts = [assumed.text for assumed in settle(google, NOTHING)[1]]
    assert any("by erf" in text and "--gelu tanh" in text for text in texts)
    for settled in (CheckpointOptions(gelu="erf"), CheckpointOptions(gelu="tanh")):
        assert not any("erf" in assumed.text for assumed in settle(google, settled)[1])
    other = replace(google, config=google.config | {"hidden_act": "relu"})
    assert not any("erf" in assumed.text for assumed in settle(other, NOTHING)[1])


@pytest.mark.parametrize("lower", [True, False])
def test_the_case_may_be_told(tmp_path: Path, lower: bool) -> None:
    save_tiny("BertModel", tmp_path)
    checkpoint = _read(tmp_path, (*LOWER, *CASED))
    settled, assumptions = settle(checkpoint, CheckpointOptions(lower_case=lower))
    assert assumptions == ()
    assert settled.tokenizer.do_lower_case is lower
    original = transformers.BertTokenizerFast.from_pretrained(tmp_path, do_lower_case=lower)
    for text in ("The Cat", "École sat"):
        assert _tokens(settled, text) == original.tokenize(text)


@pytest.mark.parametrize(
    ("vocabulary", "google", "lower", "said"),
    [
        (LOWER, True, True, "has no capitals; --cased"),
        (CASED, True, False, "has capitals; --uncased"),
        (LOWER, False, True, None),
        (CASED, False, True, "yet the vocabulary has capitals; --cased"),
    ],
)
def test_a_case_that_nothing_tells_is_said(
    tmp_path: Path, vocabulary: tuple[str, ...], google: bool, lower: bool, said: str | None
) -> None:
    save_tiny("BertModel", tmp_path)
    checkpoint = replace(_read(tmp_path, vocabulary), is_of_google=google)
    settled, assumptions = settle(checkpoint, CheckpointOptions(gelu="erf"))
    assert settled.tokenizer.do_lower_case is lower
    assert len(assumptions) == (said is not None)
    assert said is None or said in assumptions[0].text


@pytest.mark.parametrize("stated", [True, False])
def test_a_stated_case_stays(tmp_path: Path, stated: bool) -> None:
    save_tiny("BertModel", tmp_path)
    _read(tmp_path, CASED)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": stated}))
    checkpoint = load_checkpoint(tmp_path)
    assert settle(checkpoint, NOTHING) == (checkpoint, ())
    assert settle(checkpoint, CheckpointOptions(lower_case=stated)) == (checkpoint, ())
    with pytest.raises(TokenizerError, match=r"contradicts --(un)?cased"):
        settle(checkpoint, CheckpointOptions(lower_case=not stated))


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"AutoModel": "modeling.Model"}, True),
        ({"AutoModelForSequenceClassification": "modeling.Model"}, True),
        ({"AutoConfig": "configuration.Config"}, False),
        ({"AutoTokenizer": ["tokenization.Tokenizer", None]}, False),
        (None, False),
        ("modeling.Model", False),
    ],
)
def test_code_that_is_not_run_is_said(silent: Checkpoint, named: object, said: bool) -> None:
    checkpoint = replace(silent, config=silent.config | {"auto_map": named})
    texts = [assumed.text for assumed in settle(checkpoint, NOTHING)[1]]
    assert any("is not run" in text for text in texts) is said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("▁the", "▁cat", "s"), True),
        (("▁the", "▁cat", "##s"), False),
        (("the", "cat", "s"), False),
    ],
)
def test_a_vocabulary_of_sentencepiece_is_said(
    tmp_path: Path, words: tuple[str, ...], said: bool
) -> None:
    save_tiny("BertModel", tmp_path)
    texts = [assumed.text for assumed in settle(_read(tmp_path, words), NOTHING)[1]]
    assert any("SentencePiece" in text for text in texts) is said


def test_the_head_computes_the_form_that_was_told(silent: Checkpoint) -> None:
    from bert_export.models import load_head

    google, _ = settle(silent, CheckpointOptions(gelu="tanh"))
    ids = torch.tensor([[2, 5, 6, 3]])
    ones = torch.ones_like(ids)
    exact = load_head("BertForSequenceClassification", silent)(ids, ones, ones * 0)
    approximate = load_head("BertForSequenceClassification", google)(ids, ones, ones * 0)
    assert 0 < (exact - approximate).abs().max() < 1e-2
